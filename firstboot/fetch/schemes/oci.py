"""Artifacts in a registry: ``oci://HOST/NAME@sha256:DIGEST`` or ``:TAG`` (the OCI distribution specification).

An artifact is a manifest with one layer, or with several that have titles, of which ``#TITLE`` chooses one; of an index
the manifest for this machine is taken. Everything is verified from the digest down, so where there is one it does not
matter who the registry is; what a tag means is the registry's word.
"""

from __future__ import annotations

import hashlib
import json
import platform
from typing import Any
from urllib.parse import unquote, urlencode

from firstboot.config.artifact import FORM, find_parts
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.oci.challenge import (
    BadChallenge,
    check_realm,
    choose_challenge,
    list_token_fields,
    make_scope,
    parse_challenges,
)
from firstboot.config.oci.manifests import (
    ACCEPT,
    EMPTY,
    INDEXES,
    MAX_MANIFEST,
    TITLE,
    BadManifest,
    Descriptor,
    Platform,
    find_for_platform,
    find_media_type,
    list_descriptors,
    parse_document,
)
from firstboot.fetch.clock import Deadline
from firstboot.fetch.download import Download
from firstboot.fetch.errors import FetchError
from firstboot.fetch.targets import is_link_local, parse_url
from firstboot.fetch.unpack import Sink
from firstboot.fetch.web import Request, Web, make_web

_TOKEN_BYTES = 1 << 20
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Artifact(NamedTuple):
    """Where it is.

    Attributes:
        base: of the registry's API for this repository.
        reference: the digest of the manifest, ``sha256:`` and 64 hexadecimal digits, or a tag.
        title: of the layer, where there are several.
    """

    base: str
    name: str
    reference: str
    title: str | None = None


class _Checked:
    """A sink that also hashes, and takes no more than there should be."""

    def __init__(self, sink: Sink, size: int, url: str) -> None:
        self._sink = sink
        self._size = size
        self._url = url
        self.restart()

    def restart(self) -> None:
        """Forget what was written."""
        self._sink.restart()
        self._hash = hashlib.sha256()
        self._left = self._size

    def write(self, data: bytes) -> None:
        """Take some more.

        Raises:
            FetchError: it is more than the manifest says.
        """
        self._left -= len(data)
        if self._left < 0:
            raise FetchError(f"{self._url}: the registry sent more than the {self._size} bytes that the manifest says")
        self._hash.update(data)
        self._sink.write(data)

    @property
    def has_too_little(self) -> bool:
        """Whether the manifest says that there is more."""
        return self._left > 0

    @property
    def hexdigest(self) -> str:
        """Of all of it."""
        return self._hash.hexdigest()


def parse(url: str) -> Artifact:
    """The artifact that a URL names.

    Raises:
        FetchError: it names none.
    """
    parts = find_parts(url)
    if parts is None:
        raise FetchError(f"{url} names no artifact", f"one is {FORM}")
    scheme = "https" if parts["scheme"] == "oci" else "http"
    title = parts["title"] and unquote(parts["title"])
    reference = parts["digest"] or parts["tag"] or ""
    return Artifact(f"{scheme}://{parts['host']}/v2/{parts['name']}", parts["name"] or "", reference, title)


def download(download: Download, sink: Sink) -> None:
    """Put the artifact's one layer, or the one that is named, into ``sink``.

    A header ``Authorization`` of the config, ``Basic ...`` or ``Bearer ...``, is what is logged in with.

    Raises:
        NotFound, FetchError
    """
    url, deadline, web = download.url, download.deadline, make_web(download)
    authorization = next(
        (header.value for header in download.headers if header.name.casefold() == "authorization"), None
    )
    artifact = parse(url)
    headers = _log_in(artifact, web, deadline, authorization)
    manifest, is_index = _manifest(artifact, artifact.reference, web, deadline, headers)
    if is_index:
        manifest, _ = _manifest(artifact, _for_this_machine(manifest, url), web, deadline, headers)
    layer = _layer(manifest, artifact.title, url)
    checked = _Checked(sink, layer.size, url)
    web.ask(Request(f"{artifact.base}/blobs/{layer.digest}", headers), checked, deadline)
    if checked.hexdigest != layer.hex or checked.has_too_little:
        raise FetchError(f"{url}: the registry sent another layer than the manifest names")


def _log_in(artifact: Artifact, web: Web, deadline: Deadline, authorization: str | None) -> dict[str, str]:
    """The headers of all further requests. A registry says by itself whether and where it wants a token."""
    own = {} if authorization is None else {"Authorization": authorization}
    request = Request(
        f"{artifact.base}/manifests/{artifact.reference}", {**own, **_ACCEPT}, method="HEAD", answers=(401,)
    )
    answer = web.ask(request, _Nothing(), deadline)
    header = answer.get("www-authenticate", "")
    if not header:
        return own
    try:
        challenge = choose_challenge(parse_challenges(header))
        if challenge.scheme != "bearer":
            raise BadChallenge("it wants a name and a password")
        realm = check_realm(challenge.parameters["realm"], secure=artifact.base.startswith("https://"))
    except BadChallenge as error:
        hint = "give http_headers an Authorization"
        raise FetchError(
            f"the registry wants a login for {artifact.name} that cannot be given: {error}", hint
        ) from None
    if is_link_local(parse_url(realm).host):
        raise FetchError(f"the registry wants to log us in to {artifact.name} at the metadata service")
    fields = urlencode(list_token_fields(challenge, [make_scope(artifact.name, "pull")]))
    asked = f"{realm}{'&' if '?' in realm else '?'}{fields}"
    try:
        token = json.loads(web.read(Request(asked, own), _TOKEN_BYTES, deadline))
        return {"Authorization": f"Bearer {token.get('token') or token['access_token']!s}"}
    except (ValueError, KeyError, AttributeError):
        raise FetchError(f"the registry gives no usable token for {artifact.name}") from None


class _Nothing:
    def restart(self) -> None:
        """Nothing to forget."""

    def write(self, data: bytes) -> None:
        """Not wanted."""


_ACCEPT = {"Accept": ACCEPT}


def _manifest(
    artifact: Artifact, reference: str, web: Web, deadline: Deadline, headers: dict[str, str]
) -> tuple[dict[str, Any], bool]:
    """A manifest, and whether it is an index."""
    url = f"{artifact.base}/manifests/{reference}"
    data = web.read(Request(url, {**headers, **_ACCEPT}), MAX_MANIFEST, deadline)
    if reference.startswith("sha256:") and f"sha256:{hashlib.sha256(data).hexdigest()}" != reference:
        raise FetchError(f"{artifact.name}: the registry sent another manifest than {reference}")
    try:
        document = parse_document(data)
        return document, find_media_type(document) in INDEXES
    except BadManifest as error:
        raise FetchError(f"{artifact.name}: the manifest {error}") from None


def _list(manifest: dict[str, Any], key: str, url: str) -> list[Descriptor]:
    try:
        return list_descriptors(manifest, key)
    except BadManifest as error:
        raise FetchError(f"{url}: the manifest {error}") from None


def _for_this_machine(index: dict[str, Any], url: str) -> str:
    wanted = Platform("linux", _ARCHITECTURES.get(platform.machine(), platform.machine()))
    descriptor = find_for_platform(_list(index, "manifests", url), wanted)
    if descriptor is None:
        raise FetchError(f"{url} has nothing for {wanted}")
    return _check_digest(descriptor, url).digest


def _layer(manifest: dict[str, Any], title: str | None, url: str) -> Descriptor:
    """The layer with a title, or the only one."""
    layers = [layer for layer in _list(manifest, "layers", url) if layer.media_type != EMPTY]
    titles = [layer.annotations.get(TITLE, "") for layer in layers]
    there = ", ".join(sorted(title for title in titles if title)) or "no titles"
    if title is None:
        if len(layers) != 1:
            hint = f"choose one with #TITLE at the end: there are {there}" if layers else "oras push HOST/NAME FILE"
            raise FetchError(f"{url} has {len(layers)} layers; an artifact that is one file has one", hint)
        return _check_digest(layers[0], url)
    if titles.count(title) != 1:
        how = "no layer" if title not in titles else "several layers"
        raise FetchError(f"{url.partition('#')[0]} has {how} with the title '{title}'", f"there are {there}")
    return _check_digest(layers[titles.index(title)], url)


def _check_digest(descriptor: Descriptor, url: str) -> Descriptor:
    if not descriptor.digest.startswith("sha256:"):
        raise FetchError(f"{url}: a digest in the manifest is none that is supported")
    return descriptor

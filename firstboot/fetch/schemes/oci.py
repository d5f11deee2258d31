"""Artifacts in a registry: ``oci://HOST/NAME@sha256:DIGEST`` or ``:TAG`` (the OCI distribution specification).

An artifact is a manifest with one layer, or with several that have titles, of which ``#TITLE`` chooses one; of an index
the manifest for this machine is taken. Everything is verified from the digest down, so where there is one it does not
matter who the registry is; what a tag means is the registry's word.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from typing import Any
from urllib.parse import unquote, urlencode

from firstboot.config.artifact import FORM, find_parts
from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.clock import Deadline
from firstboot.fetch.download import Download
from firstboot.fetch.errors import FetchError
from firstboot.fetch.targets import is_link_local, parse_url
from firstboot.fetch.unpack import Sink
from firstboot.fetch.web import Request, Web, make_web

_MANIFEST_BYTES = 4 << 20  # what a registry has to accept at most
_TOKEN_BYTES = 1 << 20
_TITLE = "org.opencontainers.image.title"  # what oras and others call a file in an artifact
_EMPTY = "application/vnd.oci.empty.v1+json"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
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
    """A sink that also hashes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.restart()

    def restart(self) -> None:
        """Forget what was written."""
        self._sink.restart()
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Take some more."""
        self._hash.update(data)
        self._sink.write(data)

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
    authorization = next((each.value for each in download.headers if each.name.casefold() == "authorization"), None)
    artifact = parse(url)
    headers = _log_in(artifact, web, deadline, authorization)
    manifest = _manifest(artifact, artifact.reference, web, deadline, headers)
    if "manifests" in manifest:
        manifest = _manifest(artifact, f"sha256:{_for_this_machine(manifest, url)}", web, deadline, headers)
    digest = _layer(manifest, artifact.title, url)
    checked = _Checked(sink)
    web.ask(Request(f"{artifact.base}/blobs/sha256:{digest}", headers), checked, deadline)
    if checked.hexdigest != digest:
        raise FetchError(f"{url}: the registry sent another layer than the manifest names")


def _log_in(artifact: Artifact, web: Web, deadline: Deadline, authorization: str | None) -> dict[str, str]:
    """The headers of all further requests. A registry says by itself whether and where it wants a token."""
    own = {} if authorization is None else {"Authorization": authorization}
    request = Request(
        f"{artifact.base}/manifests/{artifact.reference}", {**own, **_ACCEPT}, method="HEAD", answers=(401,)
    )
    answer = web.ask(request, _Nothing(), deadline)
    challenge = answer.get("www-authenticate", "")
    if not challenge:
        return own
    kind, _, rest = challenge.partition(" ")
    values = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    if kind.casefold() != "bearer" or not values.get("realm", "").startswith(("https://", "http://")):
        raise FetchError(f"the registry wants a login for {artifact.name}", "give http_headers an Authorization")
    if values["realm"].startswith("http://") and not artifact.base.startswith("http://"):
        raise FetchError(f"the registry wants to log us in to {artifact.name} over plain HTTP")
    if is_link_local(parse_url(values["realm"]).host):
        raise FetchError(f"the registry wants to log us in to {artifact.name} at the metadata service")
    query = {"service": values.get("service", ""), "scope": f"repository:{artifact.name}:pull"}
    asked = f"{values['realm']}?{urlencode({key: value for key, value in query.items() if value})}"
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


_ACCEPT = {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))}


def _manifest(
    artifact: Artifact, reference: str, web: Web, deadline: Deadline, headers: dict[str, str]
) -> dict[str, Any]:
    url = f"{artifact.base}/manifests/{reference}"
    data = web.read(Request(url, {**headers, **_ACCEPT}), _MANIFEST_BYTES, deadline)
    if reference.startswith("sha256:") and f"sha256:{hashlib.sha256(data).hexdigest()}" != reference:
        raise FetchError(f"{artifact.name}: the registry sent another manifest than {reference}")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FetchError(f"{artifact.name}: the manifest is not what a manifest is")
    return found


def _for_this_machine(index: dict[str, Any], url: str) -> str:
    machine = _ARCHITECTURES.get(platform.machine(), platform.machine())
    for each in _list(index.get("manifests")):
        where = each.get("platform")
        if isinstance(where, dict) and (where.get("os"), where.get("architecture")) == ("linux", machine):
            return _digest(each, url)
    raise FetchError(f"{url} has nothing for linux/{machine}")


def _layer(manifest: dict[str, Any], title: str | None, url: str) -> str:
    """The digest of the layer with a title, or of the only one."""
    layers = [each for each in _list(manifest.get("layers")) if each.get("mediaType") != _EMPTY]
    titles = [_title(each) for each in layers]
    there = ", ".join(sorted(each for each in titles if each)) or "no titles"
    if title is None:
        if len(layers) != 1:
            hint = f"choose one with #TITLE at the end: there are {there}" if layers else "oras push HOST/NAME FILE"
            raise FetchError(f"{url} has {len(layers)} layers; an artifact that is one file has one", hint)
        return _digest(layers[0], url)
    if titles.count(title) != 1:
        how = "no layer" if title not in titles else "several layers"
        raise FetchError(f"{url.partition('#')[0]} has {how} with the title '{title}'", f"there are {there}")
    return _digest(layers[titles.index(title)], url)


def _title(layer: dict[str, Any]) -> str:
    annotations = layer.get("annotations")
    return str(annotations.get(_TITLE, "")) if isinstance(annotations, dict) else ""


def _list(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _digest(descriptor: dict[str, Any], url: str) -> str:
    match = re.fullmatch(r"sha256:([0-9a-f]{64})", str(descriptor.get("digest")))
    if match is None:
        raise FetchError(f"{url}: a digest in the manifest is none that is supported")
    return match[1]

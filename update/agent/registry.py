"""A repository of versions in a registry, by the OCI distribution-spec: how files are found there, who may read them.

What a registry says is not trusted: files of metadata are verified by TUF, all others by the hashes that it signed for.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.auth import AuthBase
from tuf.api.exceptions import DownloadError

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
    MAX_MANIFEST,
    TITLE,
    BadManifest,
    find_media_type,
    list_descriptors,
    parse_document,
)
from firstboot.config.oci.reference import find_server
from firstboot.config.update_words import find_registry
from update.agent.fetcher import CONNECT_SECONDS, METADATA_SECONDS, READ_SECONDS, Fetcher, Limits, read_pieces
from update.agent.host import Host
from update.errors import UpdateError
from update.registry import METADATA, TARGETS, find_digest, make_title

CREDENTIALS = "/etc/containers/auth.json"
"""Names and passwords, as containers-auth.json(5) has it; a machine without it asks as anybody may."""
_MAX_TOKEN = 1 << 20


class RegistryFetcher(Fetcher):
    """Gets the files of a repository of versions out of a repository of a registry.

    Args:
        url: ``oci://HOST/NAME``, or ``oci+http://`` where it speaks plain HTTP.
        credentials: name and password, where the registry wants some.
    """

    def __init__(self, url: str, credentials: str | None = None, limits: Limits | None = None) -> None:
        super().__init__(limits)
        place = find_registry(url)
        assert place is not None, "settings have been checked"
        scheme, host, name = place
        self._url = url
        self._base = f"{scheme}://{find_server(host)}/v2/{name}"
        self._session.auth = _Login(self._base, name, credentials)

    @contextmanager
    def _open(self, url: str, offset: int, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        kind, _, path = url.removeprefix(f"{self._url}/").partition("/")
        if kind == METADATA:
            digest = self._find_metadata(path)
        elif kind == TARGETS and (named := find_digest(path)) is not None:
            digest = named
        else:
            raise DownloadError(f"{url} is no file of a repository")
        with super()._open(f"{self._base}/blobs/{digest}", offset, headers) as response:
            yield response

    def _find_metadata(self, name: str) -> str:
        """The digest of a file of metadata, by the manifest that is tagged with its name."""
        url = f"{self._base}/manifests/{name}"
        until = self.limits.clock() + self.limits.metadata_seconds
        data = bytearray()
        with super()._open(url, 0, {"Accept": ACCEPT}) as response:
            for chunk in read_pieces(response):
                data += chunk
                if len(data) > MAX_MANIFEST:
                    raise DownloadError(f"{url}: a manifest has at most {MAX_MANIFEST} bytes")
                if self.limits.clock() > until:
                    raise DownloadError(f"{url}: longer than {self.limits.metadata_seconds:.0f} s")
        try:
            document = parse_document(bytes(data))
            find_media_type(document)
            layers = list_descriptors(document, "layers")
        except BadManifest as error:
            raise DownloadError(f"{url}: the manifest {error}") from None
        digests = [layer.digest for layer in layers if layer.annotations.get(TITLE) == make_title(name)]
        if len(digests) != 1:
            raise DownloadError(f"{url} has {len(digests)} files {make_title(name)}; is this a repository of versions?")
        return digests[0]


class _Login(AuthBase):
    """Answers a registry that wants a token, or a name and a password; it says so, and again when a token expires."""

    def __init__(self, base: str, name: str, credentials: str | None) -> None:
        self._base, self._name = base, name
        self._basic = None if credentials is None else f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self._shown: str | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._shown is not None:
            request.headers["Authorization"] = self._shown
        request.register_hook("response", self._answer)  # type: ignore[no-untyped-call]
        return request

    def _answer(self, response: requests.Response, **options: Any) -> requests.Response:
        asked = response.request
        # Where a registry has led us elsewhere, nobody gets to see what it gave us.
        if response.status_code != HTTPStatus.UNAUTHORIZED or not (asked.url or "").startswith(f"{self._base}/"):
            return response
        header = response.headers.get("www-authenticate", "")
        response.close()
        shown = self._log_in(header)
        if shown == asked.headers.get("Authorization"):
            return response
        self._shown = shown
        again = asked.copy()
        again.headers["Authorization"] = shown
        adapter: Any = getattr(response, "connection")  # noqa: B009 (requests has it, its types do not)
        answer: requests.Response = adapter.send(again, **options)
        answer.history.append(response)
        answer.request = again
        return answer

    def _log_in(self, header: str) -> str:
        """What is shown from now on."""
        try:
            challenge = choose_challenge(parse_challenges(header))
            if challenge.scheme == "basic":
                if self._basic is None:
                    raise BadChallenge("it wants a name and a password")
                return self._basic
            realm = check_realm(challenge.parameters["realm"], secure=self._base.startswith("https://"))
        except BadChallenge as error:
            raise DownloadError(
                f"the registry wants a login for {self._name} that cannot be given: {error}; {CREDENTIALS} has names "
                "and passwords"
            ) from None
        fields = urlencode(list_token_fields(challenge, [make_scope(self._name, "pull")]))
        try:
            token = json.loads(self._ask(f"{realm}{'&' if '?' in realm else '?'}{fields}"))
            return f"Bearer {token.get('token') or token['access_token']!s}"
        except (ValueError, KeyError, AttributeError):
            raise DownloadError(f"the registry gives no usable token for {self._name}") from None

    def _ask(self, url: str) -> bytes:
        headers = {} if self._basic is None else {"Authorization": self._basic}
        with requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False
        ) as response:
            if response.status_code != HTTPStatus.OK:
                raise DownloadError(
                    f"{urlsplit(url).netloc} gives no token for {self._name}: HTTP {response.status_code}"
                )
            data, until = bytearray(), time.monotonic() + METADATA_SECONDS
            for chunk in read_pieces(response):
                data += chunk
                if time.monotonic() > until:
                    raise DownloadError(f"{urlsplit(url).netloc} takes too long to give a token for {self._name}")
                if len(data) > _MAX_TOKEN:
                    raise DownloadError(f"{urlsplit(url).netloc} gives a token of more than {_MAX_TOKEN} bytes")
            return bytes(data)


def make_fetcher(host: Host, url: str, limits: Limits) -> Fetcher:
    """The way to the repository at a URL.

    Raises:
        UpdateError: the file of names and passwords makes no sense.
    """
    place = find_registry(url)
    if place is None:
        return Fetcher(limits)
    return RegistryFetcher(url, find_credentials(host, place[1], place[2]), limits)


def find_credentials(host: Host, registry: str, name: str) -> str | None:
    """``name:password`` of the longest entry that is about a repository (containers-auth.json(5)).

    Raises:
        UpdateError: the file makes no sense.
    """
    try:
        entries = json.loads(host.locate(CREDENTIALS).read_text(encoding="utf-8"))["auths"]
        parts = [registry, *name.split("/")]
        for count in range(len(parts), 0, -1):
            entry = entries.get("/".join(parts[:count]))
            if entry is not None:
                return base64.b64decode(entry["auth"], validate=True).decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UpdateError(f"{CREDENTIALS} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UpdateError(f"{CREDENTIALS} is not what containers-auth.json(5) describes") from None
    return None

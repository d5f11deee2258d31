"""Requests to one registry: encrypted, logged in, and never telling another host who we are."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from builder.core.http import (
    REDIRECTS,
    Patience,
    Stopped,
    TransferError,
    check_redirect,
    describe_failure,
    is_temporary_failure,
    is_temporary_status,
    read_pieces,
    read_retry_after,
)
from builder.oci.registry.certificates import ContextAdapter, has_tls, make_context
from builder.oci.registry.credentials import Credentials
from firstboot.config.oci.challenge import (
    BadChallenge,
    Challenge,
    check_realm,
    choose_challenge,
    list_token_fields,
    parse_challenges,
)
from firstboot.config.oci.reference import find_server

MAX_TOKEN = 1 << 20
MAX_ERROR = 1 << 16
CLIENT_ID = "build-os"
LOGINS = 2  # how often one request may be answered by 401 before it is given up
Body = bytes | Callable[[], Iterable[bytes]] | None


class RegistryError(TransferError):
    """A registry's answer that is not the wanted one.

    Attributes:
        status: of HTTP, 0 where there was no answer.
        code: of the distribution-spec, like ``BLOB_UNKNOWN``, or ``""``.
    """

    def __init__(self, reason: str, *, status: int = 0, code: str = "", after: float = 0.0, **how: bool) -> None:
        super().__init__(reason, after=after, **how)
        self.status = status
        self.code = code

    @property
    def is_denied(self) -> bool:
        """Whether credentials would help."""
        return self.status in (401, 403)


@dataclass(frozen=True)
class Server:
    """Where a registry answers, and what it is shown.

    Attributes:
        registry: host and port as in a reference.
        insecure: whether plain HTTP and any certificate will do.
        credentials: looked up when the registry asks.
        certificates: a directory like those of certs.d.
        strict: whether TLS must be there on this machine, too.
    """

    registry: str
    insecure: bool = False
    credentials: Callable[[], Credentials | None] = lambda: None
    certificates: Callable[[], Path | None] = lambda: None
    strict: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine: such a registry may be without TLS, as with Docker."""
        host = urlsplit(f"//{self.registry}").hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False


class _NoAuth(AuthBase):
    """Sends what the headers have: requests would look for passwords in ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@dataclass
class _Login:
    """What is sent as Authorization, and how often that has changed."""

    header: str | None = None
    count: int = 0
    scopes: set[str] = field(default_factory=set)


class Connection:
    """One registry; safe to share between threads, each of which has connections of its own."""

    def __init__(self, server: Server, patience: Patience, stop: threading.Event) -> None:
        self.server = server
        self.patience = patience
        self.stop = stop
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._lock = threading.Lock()
        self._base: str | None = None
        self._login = _Login()
        self._found: tuple[Credentials | None] | None = None

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for session in self._sessions:
                session.close()
            self._sessions.clear()
        self._local = threading.local()

    @property
    def base(self) -> str:
        """The URL of the registry's root.

        Raises:
            TransferError: it does not answer, so that nobody knows.
        """
        with self._lock:
            if self._base is None:
                self._base = self._find_base()
            return self._base

    def _find_base(self) -> str:
        host = find_server(self.server.registry)
        if not self.server.insecure and (self.server.strict or not self.server.is_loopback):
            return f"https://{host}"
        if self.server.is_loopback:
            parts = urlsplit(f"//{host}")
            tls = has_tls(parts.hostname or "", parts.port or 443, self.patience.connect)
            if tls is not None:
                return f"https://{host}" if tls else f"http://{host}"
        try:
            self._send("GET", f"https://{host}/v2/", {}, None).close()
        except TransferError as error:
            if "certificate" in str(error):
                raise  # it has TLS, and not the right one
            self._send("GET", f"http://{host}/v2/", {}, None).close()
            return f"http://{host}"
        return f"https://{host}"

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return make_context(self.server.certificates(), verify=not self.server.insecure)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.auth = _NoAuth()
            # Content is compressed already, and a second layer would make sizes and ranges lie.
            session.headers.update({"Accept-Encoding": "identity", "User-Agent": "build-os"})
            if self.server.insecure:
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the user said so
            self._local.session = session
            self._sessions.append(session)
        return session

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> requests.Response:
        """One request and its answer, whatever that is.

        Raises:
            TransferError: there was none.
            Stopped
        """
        if self.stop.is_set():
            raise Stopped
        try:
            session = self._session()
            if url.startswith("https:") and not isinstance(session.adapters["https://"], ContextAdapter):
                session.mount("https://", ContextAdapter(self._context))
            return session.request(
                method,
                url,
                headers=dict(headers),
                data=body() if callable(body) else body,
                stream=True,
                allow_redirects=False,
                verify=not self.server.insecure,
                timeout=(self.patience.connect, self.patience.read),
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise RegistryError(describe_failure(error), temporary=is_temporary_failure(error)) from error

    @contextmanager
    def ask(
        self,
        method: str,
        path: str,
        *,
        scopes: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        accept: Sequence[int] = (200,),
        follow: bool = True,
    ) -> Iterator[requests.Response]:
        """A request and its answer, whose body is not read yet.

        Args:
            path: below the registry's root, or a whole URL that the registry gave.
            scopes: what the token must allow (:func:`firstboot.config.oci.challenge.make_scope`).
            body: bytes, or what makes an iterator of them anew each time.
            accept: the statuses that are no error.
            follow: whether redirects are followed.

        Raises:
            RegistryError: another status, or none.
            Stopped
        """
        response = self._exchange(method, path, scopes, dict(headers or {}), body, follow)
        try:
            if response.status_code not in accept:
                raise make_error(response, self.patience, self.stop)
            yield response
        finally:
            response.close()

    def _exchange(
        self, method: str, path: str, scopes: Sequence[str], headers: dict[str, str], body: Body, follow: bool
    ) -> requests.Response:
        url = urljoin(self.base, path)
        logins = redirects = 0
        while True:
            with self._lock:
                missing = not self._login.scopes.issuperset(scopes)
                seen, header = self._login.count, self._login.header
            ours = is_same_origin(url, self.base)
            if missing and header is not None and header.startswith("Bearer") and ours:
                header = None  # it does not allow this: the answer says where another is given
            extra = {"Authorization": header} if header is not None and ours else {}
            response = self._send(method, url, {**headers, **extra}, body)
            if response.status_code == 401 and ours and logins < LOGINS:
                logins += 1
                challenge = response.headers.get("WWW-Authenticate", "")
                refused = make_error(response, self.patience, self.stop)
                response.close()
                self._log_in(challenge, scopes, seen, refused)
                continue
            if follow and response.status_code in REDIRECTS and "Location" in response.headers:
                redirects += 1
                if redirects > self.patience.redirects:
                    response.close()
                    raise RegistryError(f"more than {self.patience.redirects} redirects")
                target = urljoin(url, response.headers["Location"])
                response.close()
                if not self.server.insecure:
                    check_redirect(url, target)
                url = target
                continue
            return response

    def _log_in(self, header: str, scopes: Sequence[str], seen: int, refused: RegistryError) -> None:
        """Do what a 401 asks for, unless another thread has done so since the request was made."""
        with self._lock:
            if seen != self._login.count and self._login.scopes.issuperset(scopes):
                return
            try:
                challenge = choose_challenge(parse_challenges(header))
                credentials = self._find_credentials()
                wanted = self._login.scopes.union(scopes)
                if challenge.scheme == "basic":
                    if credentials is None or not (credentials.username or credentials.password):
                        raise refused
                    value = credentials.encode_basic()
                    if value == self._login.header:
                        raise refused  # it has seen it
                else:
                    value = "Bearer " + self._fetch_token(challenge, sorted(wanted), credentials)
            except BadChallenge as error:
                raise RegistryError(f"cannot log in: {error}", status=401) from None
            self._login.header = value
            self._login.scopes = wanted
            self._login.count += 1

    def _find_credentials(self) -> Credentials | None:
        if self._found is None:
            self._found = (self.server.credentials(),)
        return self._found[0]

    def _fetch_token(self, challenge: Challenge, scopes: Sequence[str], credentials: Credentials | None) -> str:
        """A token of the place that the registry names.

        Raises:
            RegistryError: it gives none.
            BadChallenge: it cannot be asked.
        """
        if credentials is not None and credentials.registry_token:
            return credentials.registry_token
        assert self._base is not None
        realm = check_realm(challenge.parameters["realm"], secure=self._base.startswith("https:"))
        if _is_link_local(realm):
            raise BadChallenge("it wants to log us in at a metadata service")
        fields = list_token_fields(challenge, scopes)
        if not scopes and challenge.parameters.get("scope"):
            fields.append(("scope", challenge.parameters["scope"]))
        if credentials is not None and credentials.identity_token:
            form = [*(field for field in fields if field[0] != "scope"), ("scope", " ".join(scopes))]
            form += [("grant_type", "refresh_token"), ("refresh_token", credentials.identity_token)]
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._send("POST", realm, kind, urlencode([*form, ("client_id", CLIENT_ID)]).encode())
        else:
            headers = {}
            if credentials is not None:
                headers["Authorization"] = credentials.encode_basic()
                fields = [("account", credentials.username), *fields]
            url = requests.Request("GET", realm, params=fields).prepare().url
            assert url is not None
            response = self._send("GET", url, headers, None)
        with response:
            if response.status_code != 200:
                raise make_error(response, self.patience, self.stop, "no token: ")
            return _parse_token(b"".join(read_pieces(response, MAX_TOKEN, self.patience, self.stop)))


def _parse_token(data: bytes) -> str:
    try:
        answer = json.loads(data)
        token = answer.get("token") or answer["access_token"]
    except (ValueError, RecursionError, KeyError, AttributeError):
        token = None
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{1,65536}", token):
        raise RegistryError("the registry gives no usable token")
    return token


def make_error(
    response: requests.Response, patience: Patience, stop: threading.Event, before: str = ""
) -> RegistryError:
    """What an answer says that is none that was wanted; its body may say why (distribution-spec, "Error Codes")."""
    status = response.status_code
    reason = f"{before}{status} {_clean(response.reason or '')}".strip()
    code = ""
    try:
        data = b"".join(read_pieces(response, MAX_ERROR, patience, stop))
        first = json.loads(data)["errors"][0]
        code = str(first.get("code", ""))[:60]
        said = _clean(str(first.get("message") or ""))
        reason += f" ({_clean(code)}{': ' if code and said else ''}{said})" if code or said else ""
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError, TransferError):
        pass
    return RegistryError(
        reason,
        status=status,
        code=code,
        after=read_retry_after(response),
        temporary=is_temporary_status(status),
        missing=status == 404,
    )


def is_same_origin(one: str, other: str) -> bool:
    """Whether two URLs lead to the same server: scheme, host and port (RFC 6454)."""
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _is_link_local(url: str) -> bool:
    try:
        return ip_address(urlsplit(url).hostname or "").is_link_local
    except ValueError:
        return False


def _clean(text: str) -> str:
    """What a server says, for a terminal: nothing that could move its cursor."""
    return "".join(char if char.isprintable() else "?" for char in text[:200])

"""HTTP and HTTPS as Ignition speaks them: its headers, redirects, retries; with limits on everything.

The standard library's http.client, because importing ``requests`` takes five times as long, and on an emulated
processor that is most of a second more for every machine that fetches anything.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.clock import Deadline
from firstboot.fetch.connector import Connector, Judge
from firstboot.fetch.download import Download
from firstboot.fetch.errors import FetchError, Temporary
from firstboot.fetch.http_exchange import check_status, encode_basic, make_request_headers, receive, send
from firstboot.fetch.proxy import find_proxy
from firstboot.fetch.retry import try_again
from firstboot.fetch.settings import (
    CONNECT_SECONDS,
    HANDSHAKE_SECONDS,
    MAX_REDIRECTS,
    USER_AGENT,
    Settings,
)
from firstboot.fetch.targets import Target, follow_redirect, is_link_local, parse_url, refuse_link_local
from firstboot.fetch.timed_socket import ReadTimer, TimedSocket
from firstboot.fetch.tls import explain_refusal, make_client_context
from firstboot.fetch.unpack import Sink

if TYPE_CHECKING:
    import socket

_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16

Connect = Callable[[float], "socket.socket"]
"""Opens a connection within some seconds, where it is not to the URL's host: a vsock, a certain source port."""


class Buffer:
    """A sink in memory with a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.data = bytearray()

    def restart(self) -> None:
        """Forget what was written."""
        self.data.clear()

    def write(self, data: bytes) -> None:
        """Take some more."""
        if len(self.data) + len(data) > self._limit:
            raise FetchError(f"the answer is longer than the {self._limit} bytes that are read")
        self.data += data


class Request(NamedTuple):
    """What to ask for.

    Attributes:
        headers: besides Ignition's own or instead of them; gone after a redirect.
        retried: statuses worth another try besides 429 and all from 500.
        answers: statuses that are an answer although they are errors or redirects; their body is not read.
        connect: how to connect, if not to the URL's host.
    """

    url: str
    headers: Mapping[str, str] = {}
    method: str = "GET"
    body: bytes | None = None
    retried: tuple[int, ...] = ()
    answers: tuple[int, ...] = ()
    connect: Connect | None = None


class Web:
    """Asks servers."""

    def __init__(self, connector: Connector, settings: Settings, say: Callable[[str], None]) -> None:
        self._connector = connector
        self._settings = settings
        self._say = say
        self._contexts: list[ssl.SSLContext] = []

    def read(self, request: Request, limit: int, deadline: Deadline | None = None) -> bytes:
        """A whole answer of at most ``limit`` bytes; see :meth:`ask`."""
        buffer = Buffer(limit)
        self.ask(request, buffer, deadline)
        return bytes(buffer.data)

    def ask(self, request: Request, sink: Sink, deadline: Deadline | None = None) -> Mapping[str, str]:
        """Send a request until it is answered, put the body into ``sink`` and return the headers.

        Args:
            deadline: for all attempts; otherwise the settings' total time begins now.

        Raises:
            NotFound: 404 and no ``retried`` status.
            FetchError: it cannot be had.
        """
        until = Deadline(self._connector.clock, self._settings.total_seconds) if deadline is None else deadline
        target = parse_url(request.url)

        def attempt() -> Mapping[str, str]:
            sink.restart()
            return self._attempt(request, target, sink, until)

        return try_again(f"{request.method} {target.shown}", attempt, self._connector.clock, until, self._say)

    def _attempt(self, request: Request, target: Target, sink: Sink, until: Deadline) -> Mapping[str, str]:
        guarded = not is_link_local(target.host)
        judge: Judge | None = None  # where the user's own URL leads is the user's decision
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._once(request, target, sink, until, judge)
            if not isinstance(answer, str):
                return answer
            target = follow_redirect(target, answer, guarded=guarded)
            request = Request(target.url)
            judge = refuse_link_local if guarded else None
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    def _once(
        self, request: Request, target: Target, sink: Sink, until: Deadline, judge: Judge | None
    ) -> Mapping[str, str] | str:
        """One request: the headers of the answer, or where it redirects to."""
        url = find_proxy(target.scheme, target.host, target.port, self._settings.proxies)
        proxy = None if url is None or request.connect is not None else parse_url(url)
        headers = make_request_headers(target, request.headers, request.body)
        where = target.path
        if proxy is not None and target.scheme == "http":
            where = target.url
            if proxy.userinfo:
                headers["Proxy-Authorization"] = encode_basic(proxy.userinfo)
        with closing(self._connect(request, target, proxy, until, judge)) as connection:
            timer = ReadTimer(self._connector.clock, self._settings.header_seconds, until)
            timed = TimedSocket(connection, timer, self._connector.clock)
            try:
                send(timed, f"{request.method} {where} HTTP/1.1", headers, request.body)
                with receive(timed, request.method) as response:
                    answer = {name.lower(): value for name, value in response.headers.items()}
                    if response.status in request.answers:
                        return answer
                    location = answer.get("location")
                    if response.status in _REDIRECTS and location:
                        return location
                    check_status(response, request.retried)
                    timer.expect_body()
                    _copy(response, sink)
                    return answer
            except (http.client.HTTPException, OSError) as error:
                raise Temporary(f"the connection broke: {_reason(error)}") from None

    def _connect(
        self, request: Request, target: Target, proxy: Target | None, until: Deadline, judge: Judge | None
    ) -> socket.socket:
        """A connection, encrypted if the URL wants that, through the proxy if there is one."""
        seconds = min(CONNECT_SECONDS, until.left)
        if request.connect is not None:
            return request.connect(seconds)
        first = target if proxy is None else proxy
        connection = self._connector.connect_tcp(
            first.host, first.port, seconds, judge=judge if proxy is None else None
        )
        try:
            if proxy is not None and proxy.scheme == "https":
                if target.scheme == "https":
                    what = f"the proxy {proxy.authority} is an https proxy, and those are for http URLs only"
                    raise FetchError(what, "https inside of https is not implemented: use an http:// proxy")
                connection = self._encrypt(connection, proxy.host)
            if proxy is not None and target.scheme == "https":
                self._tunnel(connection, target, proxy, until)
            if target.scheme == "https":
                connection = self._encrypt(connection, target.host)
        except BaseException:
            connection.close()
            raise
        return connection

    def _encrypt(self, connection: socket.socket, host: str) -> socket.socket:
        if not self._contexts:  # loading the system's authorities takes a while
            self._contexts.append(make_client_context(self._settings.authorities))
        connection.settimeout(self._connector.clock.convert_to_real(HANDSHAKE_SECONDS))
        try:
            return self._contexts[0].wrap_socket(connection, server_hostname=host)
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise explain_refusal(host, error) from None
        except OSError as error:
            raise Temporary(f"the TLS handshake with {host} failed: {error.strerror or error}") from None

    def _tunnel(self, connection: socket.socket, target: Target, proxy: Target, until: Deadline) -> None:
        """Have the proxy connect us to the target (RFC 9110, CONNECT)."""
        timer = ReadTimer(self._connector.clock, self._settings.header_seconds, until)
        timed = TimedSocket(connection, timer, self._connector.clock)
        host = f"[{target.host}]" if ":" in target.host else target.host
        authority = f"{host}:{target.port}"
        headers = {"Host": authority, "User-Agent": USER_AGENT}
        if proxy.userinfo:
            headers["Proxy-Authorization"] = encode_basic(proxy.userinfo)
        try:
            send(timed, f"CONNECT {authority} HTTP/1.1", headers)
            response = receive(timed, "CONNECT")
        except (http.client.HTTPException, OSError) as error:
            raise Temporary(f"the proxy {proxy.authority} broke the connection: {_reason(error)}") from None
        if response.status != 200:
            what = f"the proxy {proxy.authority} does not connect to {authority}: {response.status} {response.reason}"
            raise Temporary(what) if response.status >= 500 else FetchError(what)


def _copy(response: http.client.HTTPResponse, sink: Sink) -> None:
    """The whole body.

    Raises:
        http.client.IncompleteRead: it is cut short.
    """
    while data := response.read1(_CHUNK):
        sink.write(data)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def make_web(download: Download) -> Web:
    """HTTP with the settings of a download."""
    return Web(download.connector, download.settings, download.say)

"""The world outside of a machine, on the loopback interface: servers under any name, and a clock that runs fast."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from firstboot.config.models import HttpHeader, Resource, Verification
from firstboot.fetch.clock import Clock
from firstboot.fetch.connector import Connector
from firstboot.fetch.errors import Temporary
from firstboot.fetch.fetcher import Fetcher
from firstboot.fetch.settings import Settings

CERTIFICATES = Path(__file__).with_name("certificates")
SPEED = 20.0


@dataclass(frozen=True)
class Asked:
    """A request as a server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client_port: int

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)


@dataclass(frozen=True)
class Answer:
    """A response. A body in pieces has no length; it ends when the connection does."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


Handler = Callable[[Asked], Answer | bytes | int]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: Handler, certificate: str | None) -> None:
        self.asked: list[Asked] = []
        self.answer = handler
        self.tls: ssl.SSLContext | None = None
        if certificate is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(CERTIFICATES / f"{certificate}.pem", CERTIFICATES / "server.key")
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        with self.tls.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, dict(self.headers.items()), body, self.client_address[1])
        self.server.asked.append(asked)
        answer = self.server.answer(asked)
        if isinstance(answer, bytes):
            answer = Answer(200, answer)
        if isinstance(answer, int):
            answer = Answer(answer, b"no\n")
        self.close_connection = True
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        pieces = [answer.body] if isinstance(answer.body, bytes) else answer.body
        if isinstance(answer.body, bytes):
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        self.end_headers()
        if self.command != "HEAD":
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()

    do_GET = do_PUT = do_POST = do_PATCH = do_HEAD = _serve

    def do_CONNECT(self) -> None:
        """As a proxy: what is asked decides where to."""
        asked = Asked("CONNECT", self.path, dict(self.headers.items()), b"", self.client_address[1])
        self.server.asked.append(asked)
        answer = self.server.answer(asked)
        self.close_connection = True
        if not isinstance(answer, int) or answer < 1024:
            self.send_response(answer if isinstance(answer, int) else 502)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        with socket.create_connection(("127.0.0.1", answer)) as other:
            back = threading.Thread(target=_copy, args=(other, self.connection), daemon=True)
            back.start()
            _copy(self.connection, other)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Outside(Connector):
    """The way out, which ends at servers of the test. Names that nobody serves do not resolve."""

    def __init__(self, speed: float = SPEED) -> None:
        super().__init__(Clock(speed))
        self.ports: dict[tuple[str, int], int] = {}
        self.known: dict[str, str] = {}
        self.said: list[str] = []
        self._servers: list[_Server] = []

    def serve(self, url: str, handler: Handler, certificate: str | None = None) -> list[Asked]:
        """A server at ``http://HOST[:PORT]``; the list grows with what it is asked."""
        scheme, _, authority = url.partition("://")
        host, _, port = authority.rpartition(":") if authority.rpartition(":")[2].isdigit() else (authority, "", "")
        certificate = "good" if certificate is None and scheme == "https" else certificate
        server = _Server(handler, certificate)
        self._servers.append(server)
        self.ports[host, int(port or {"http": 80, "https": 443}[scheme])] = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server.asked

    def find_addresses(self, host: str, port: int, seconds: float, *, datagram: bool = False) -> list[tuple[int, Any]]:
        if host in self.known:
            return [(socket.AF_INET, (self.known[host], port))]
        if (host, port) not in self.ports:
            raise Temporary(f"the name {host} cannot be resolved: Name or service not known")
        return [(socket.AF_INET, ("127.0.0.1", self.ports[host, port]))]

    def connect_vsock(self, cid: int, port: int, seconds: float, *, source_ports: Iterable[int] = ()) -> socket.socket:
        return self.connect_tcp(f"vsock:{cid}", port, seconds)

    def fetcher(self, platform: str = "metal", **settings: Any) -> Fetcher:
        return Fetcher(self, platform, self.said.append, Settings(**settings))

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def outside() -> Iterator[Outside]:
    """Nothing is there until a test serves it."""
    world = Outside()
    yield world
    world.close()


@pytest.fixture(scope="session")
def authority() -> str:
    """The PEM of who signed the certificate ``good``."""
    return (CERTIFICATES / "ca.pem").read_text()


@pytest.fixture(scope="session")
def resource() -> Callable[..., Resource]:
    """A resource of a config: ``resource(url, compression="gzip", hash="sha256-...", headers={...})``."""

    def make(
        source: str,
        compression: str | None = None,
        hash: str | None = None,
        headers: dict[str, str | None] | None = None,
    ) -> Resource:
        pairs = tuple(HttpHeader(name=name, value=value) for name, value in (headers or {}).items())
        return Resource(
            source=source,
            compression=compression,
            http_headers=pairs,
            verification=Verification(hash=hash),
        )

    return make


@pytest.fixture(scope="session")
def answer() -> type[Answer]:
    """A response of a server."""
    return Answer

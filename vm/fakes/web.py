"""A web server that does what a test says."""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from vm.fakes.authority import Certificate
from vm.fakes.loopback import LoopbackServer


@dataclass(frozen=True)
class HttpRequest:
    """What was asked. ``path`` with its query; names of ``headers`` in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """What is answered, and how badly.

    Attributes:
        slow: seconds to wait before it.
        cut: so many bytes of the body, and then the connection ends; the announced length is the whole one's.
        stall: so many bytes of the body, and then nothing more: the connection stays.
        endless: the body is repeated until the client has had enough.
        drip: seconds between the bytes of the body.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    slow: float = 0.0
    cut: int | None = None
    stall: int | None = None
    endless: bool = False
    drip: float = 0.0


Answer = Reply | Callable[[HttpRequest], Reply]


class _Server(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is none, and standard error may be the next test's by now."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class WebServer(LoopbackServer):
    """HTTP or HTTPS on a port of its own. Used as a block."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.requests: list[HttpRequest] = []
        self.fallback: Answer = Reply(status=404)
        self._answers: dict[str, Answer] = {}
        self._dead = threading.Event()
        self._certificate = certificate
        server = self

        class Handler(BaseHTTPRequestHandler):
            """One connection."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Every method is answered alike."""
                server._serve(self)

            do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Requests are in ``requests``."""

        http = _Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.path, certificate.key)
            http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        super().__init__(http)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._dead.set()  # whoever is being slow, or endless, has an end
        super().__exit__(kind, error, traceback)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Where a path is; a guest calls this host :data:`vm.fakes.HOST`."""
        return f"{'http' if self._certificate is None else 'https'}://{host}:{self.port}{path}"

    def put(self, path: str, answer: Answer | bytes) -> None:
        """Answer a path, query included if there is one, so from now on."""
        self._answers[path] = Reply(answer) if isinstance(answer, bytes) else answer

    def asked(self, path: str) -> list[HttpRequest]:
        """The requests for a path."""
        return [request for request in self.requests if request.path.partition("?")[0] == path or request.path == path]

    def die(self) -> None:
        """Accept connections, and say nothing any more."""
        self._dead.set()

    def revive(self) -> None:
        """Answer again."""
        self._dead.clear()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = HttpRequest(handler.command, handler.path, headers, handler.rfile.read(length))
        self.requests.append(request)
        answer = self._answers.get(request.path) or self._answers.get(request.path.partition("?")[0]) or self.fallback
        reply = answer if isinstance(answer, Reply) else answer(request)
        if self._dead.is_set() or (reply.slow and self._dead.wait(reply.slow)):
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if not reply.endless:
            handler.send_header("Content-Length", str(len(reply.body)))
        if reply.endless or reply.cut is not None:
            handler.send_header("Connection", "close")
        handler.end_headers()
        if request.method == "HEAD":
            return
        try:
            if reply.drip:
                for byte in reply.body:
                    handler.wfile.write(bytes([byte]))
                    if self._dead.wait(reply.drip):
                        break
                return
            handler.wfile.write(reply.body[: reply.cut if reply.stall is None else reply.stall])
            if reply.stall is not None:
                self._dead.wait()
                handler.close_connection = True
            while reply.endless and not self._dead.is_set():
                handler.wfile.write(reply.body)
        except OSError:
            handler.close_connection = True  # the client has had enough

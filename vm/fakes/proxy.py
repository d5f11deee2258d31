"""An HTTP proxy (RFC 9110, "CONNECT" and requests in absolute form) that leads nowhere but to loopback."""

from __future__ import annotations

import select
import socket
import socketserver
from contextlib import suppress
from urllib.parse import urlsplit

from vm.fakes.loopback import LoopbackServer

HEAD = 64 << 10
SECONDS = 30.0


class Proxy(LoopbackServer):
    """Used as a block. ``asked`` has the first line of each request; with ``refuse`` set, that status is the answer.

    Every host is taken for this one, so that a guest may be told any name: only the port counts.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuse: int | None = None
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            """One connection."""

            def handle(self) -> None:
                """Serve one request."""
                with suppress(OSError):
                    proxy._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            """Forgets its connections when it ends."""

            daemon_threads = True
            block_on_close = False

        super().__init__(Server(("127.0.0.1", 0), Handler))

    def url(self, host: str = "127.0.0.1") -> str:
        """What ``http_proxy`` is to be."""
        return f"http://{host}:{self.port}"

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(SECONDS)
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD:
            piece = client.recv(4096)
            if not piece:
                return
            head += piece
        line, _, rest = head.partition(b"\r\n")
        self.asked.append(line.decode("latin-1"))
        method, target, version = [*line.split(b" "), b"", b"", b""][:3]
        if self.refuse is not None:
            client.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.refuse)
            return
        if method == b"CONNECT":
            port = int(target.rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port), SECONDS) as server:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                _join(client, server)
            return
        url = urlsplit(target.decode("latin-1"))
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        with socket.create_connection(("127.0.0.1", url.port or 80), SECONDS) as server:
            server.sendall(b" ".join((method, path.encode("latin-1"), version)) + b"\r\n" + rest)
            _join(client, server)


def _join(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either says until one is silent for good."""
    peers = {one: other, other: one}
    while True:
        ready, _, _ = select.select(list(peers), [], [], SECONDS)
        if not ready:
            return
        for sock in ready:
            data = sock.recv(1 << 16)
            if not data:
                return
            peers[sock].sendall(data)

"""Small servers over UDP: names (RFC 1035), time (RFC 5905), files (RFC 1350)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from socketserver import BaseRequestHandler, UDPServer

from vm.fakes.loopback import LoopbackServer
from vm.network.dns import answer_query

ERA = 2208988800  # seconds from 1900, where NTP begins, to 1970
READ, DATA, ACKNOWLEDGE, ERROR = 1, 3, 4, 5
BLOCK = 512
PATIENCE = 5.0


class DatagramServer(LoopbackServer):
    """Answers datagrams on a port of 127.0.0.1. Used as a block. ``slow`` is in seconds; ``dead`` says nothing."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.asked: list[bytes] = []
        self.slow = 0.0
        self.dead = False
        self._answer = answer
        server = self

        class Handler(BaseRequestHandler):
            """One datagram."""

            def handle(self) -> None:
                """Remember and answer it."""
                data: bytes = self.request[0]
                server.asked.append(data)
                if server.slow:
                    time.sleep(server.slow)
                if not server.dead:
                    server.serve(data, self.client_address)

        super().__init__(UDPServer(("127.0.0.1", 0), Handler))

    def serve(self, data: bytes, client: tuple[str, int]) -> None:
        """Answer one datagram."""
        if (answer := self._answer(data)) is not None:
            self._server.socket.sendto(answer, client)


class DnsServer(DatagramServer):
    """Knows the IPv4 addresses of some names, and that there are no others."""

    def __init__(self, names: dict[str, str]) -> None:
        self.list_names = {name.lower().rstrip("."): address for name, address in names.items()}
        super().__init__(self._resolve)

    def _resolve(self, query: bytes) -> bytes | None:
        try:
            return answer_query(query, self._address)
        except (IndexError, struct.error):
            return None

    def _address(self, name: str) -> IPv4Address | None:
        return IPv4Address(self.list_names[name]) if name in self.list_names else None


class NtpServer(DatagramServer):
    """Tells the time, ``offset`` seconds fast."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        super().__init__(self._tell)

    def _tell(self, request: bytes) -> bytes | None:
        if len(request) < 48:
            return None
        now = time.time() + self.offset + ERA
        stamp = struct.pack("!II", int(now), int(now % 1 * (1 << 32)))
        version = request[0] & 0x38
        # No leap second, a server, stratum 1, of a clock that is nowhere.
        head = struct.pack("!BBbbII4s", version | 4, 1, 6, -20, 0, 0, b"LOCL")
        return head + stamp + request[40:48] + stamp + stamp


class TftpServer(DatagramServer):
    """Sends files in blocks, each after the last was acknowledged."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        super().__init__(lambda _: None)

    def serve(self, data: bytes, client: tuple[str, int]) -> None:
        """One transfer, from a port of its own."""
        if int.from_bytes(data[:2]) != READ:
            return
        name = data[2:].split(b"\0")[0].decode("utf-8", errors="replace")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(PATIENCE)
            content = self.files.get(name, self.files.get(name.lstrip("/")))
            if content is None:
                sock.sendto(struct.pack("!HH", ERROR, 1) + b"File not found\0", client)
                return
            for number in range(len(content) // BLOCK + 1):
                block = struct.pack("!HH", DATA, (number + 1) & 0xFFFF)
                sock.sendto(block + content[number * BLOCK :][:BLOCK], client)
                try:
                    reply = sock.recv(1 << 10)
                except TimeoutError:
                    return
                if reply[:4] != struct.pack("!HH", ACKNOWLEDGE, (number + 1) & 0xFFFF):
                    return

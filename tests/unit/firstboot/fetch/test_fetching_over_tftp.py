"""TFTP against servers of every age, and a network that loses what it likes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from firstboot.config.models import Resource
from firstboot.fetch.errors import FetchError, NotFound

pytestmark = pytest.mark.unit

Make = Callable[..., Resource]
URL = "tftp://boot.example.org/dir/config"


class TftpServer:
    """RFC 1350, with or without options; loses the packets a test names."""

    def __init__(self, content: bytes, *, knows: str = "options", block_bytes: int = 1428) -> None:
        self.content = content
        self.knows = knows
        self.block_bytes = block_bytes
        self.lost: set[int] = set()
        self.requests: list[bytes] = []
        self.stranger: bytes | None = None
        self._main = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._main.bind(("127.0.0.1", 0))
        self.port = self._main.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._main.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                packet, client = self._main.recvfrom(2048)
                self.requests.append(packet)
                self._answer(packet, client)

    def _answer(self, packet: bytes, client: Any) -> None:
        name, mode, *options = packet[2:-1].split(b"\0")
        assert mode == b"octet"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as transfer:
            transfer.bind(("127.0.0.1", 0))
            transfer.settimeout(2)
            if name != b"dir/config":
                transfer.sendto(struct.pack("!HH", 5, 1) + b"no such file\0", client)
                return
            if options and self.knows == "errors":
                transfer.sendto(struct.pack("!HH", 5, 8) + b"options?\0", client)
                return
            size = 512
            if options and self.knows == "options":
                size = self.block_bytes
                transfer.sendto(struct.pack("!H", 6) + b"blksize\0%d\0" % size, client)
                transfer.recvfrom(2048)
            with contextlib.suppress(TimeoutError):
                self._send(transfer, client, size)

    def _send(self, transfer: socket.socket, client: Any, size: int) -> None:
        blocks = [self.content[at : at + size] for at in range(0, len(self.content) + 1, size)]
        for number, block in enumerate(blocks, start=1):
            packet = struct.pack("!HH", 3, number & 0xFFFF) + block
            if self.stranger is not None:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    other.sendto(struct.pack("!HH", 3, number & 0xFFFF) + self.stranger, client)
            if number in self.lost:
                self.lost.remove(number)
            else:
                transfer.sendto(packet, client)
            while struct.unpack("!HH", transfer.recvfrom(2048)[0]) != (4, number & 0xFFFF):
                transfer.sendto(packet, client)


Serve = Callable[..., TftpServer]


@pytest.fixture
def serve(outside: Any) -> Iterator[Serve]:
    servers: list[TftpServer] = []

    def start(content: bytes, **options: Any) -> TftpServer:
        servers.append(TftpServer(content, **options))
        outside.ports["boot.example.org", 69] = servers[-1].port
        return servers[-1]

    yield start
    for each in servers:
        each.close()


@pytest.mark.parametrize("knows", ["options", "nothing", "errors"])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1428, 5000])
def test_a_file_of_any_size_comes_from_a_server_of_any_age(
    outside: Any, resource: Make, serve: Serve, knows: str, size: int
) -> None:
    content = bytes(number % 251 for number in range(size))
    serve(content, knows=knows)
    assert outside.fetcher().fetch(resource(URL)) == content


def test_block_numbers_start_over_in_large_files(outside: Any, resource: Make, serve: Serve) -> None:
    content = bytes(range(256)) * 2060  # 65920 blocks of 8 bytes
    serve(content, block_bytes=8)
    assert outside.fetcher().fetch(resource(URL)) == content


def test_lost_packets_are_asked_for_again(outside: Any, resource: Make, serve: Serve) -> None:
    content = b"x" * 3000
    server = serve(content, knows="nothing")
    server.lost = {2, 5}
    assert outside.fetcher().fetch(resource(URL)) == content


def test_packets_of_strangers_are_ignored(outside: Any, resource: Make, serve: Serve) -> None:
    server = serve(b"true" * 400)
    server.stranger = b"false"
    assert outside.fetcher().fetch(resource(URL)) == b"true" * 400


def test_a_missing_file_fails_at_once(outside: Any, resource: Make, serve: Serve) -> None:
    server = serve(b"")
    with pytest.raises(NotFound, match="no such file"):
        outside.fetcher().fetch(resource("tftp://boot.example.org/other"))
    assert len(server.requests) == 1


def test_a_silent_server_ends_with_a_reason(outside: Any, resource: Make) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        outside.ports["boot.example.org", 69] = silent.getsockname()[1]
        with pytest.raises(FetchError, match="given up after 20 s: the TFTP server does not answer"):
            outside.fetcher(total_seconds=20).fetch(resource(URL))


def test_a_file_without_end_ends_at_the_limit(outside: Any, resource: Make, serve: Serve) -> None:
    serve(b"x" * 100_000)
    with pytest.raises(FetchError, match="larger than 50000 bytes"):
        outside.fetcher().fetch(resource(URL), limit=50_000)

"""TFTP (RFC 1350) in octet mode, with larger blocks where the server offers them (RFC 2347, RFC 2348)."""

from __future__ import annotations

import struct
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from firstboot.fetch.clock import Deadline
from firstboot.fetch.connector import Connector
from firstboot.fetch.download import Download
from firstboot.fetch.errors import FetchError, NotFound, Temporary
from firstboot.fetch.retry import try_again
from firstboot.fetch.targets import split_url
from firstboot.fetch.unpack import Sink

if TYPE_CHECKING:
    import socket

PORT = 69
_READ, _DATA, _ACK, _ERROR, _OPTIONS = 1, 3, 4, 5, 6
_BLOCK_BYTES, _WANTED_BLOCK_BYTES = 512, 1428  # the second fits into an Ethernet frame
_NOT_FOUND, _BAD_OPTION = 1, 8
_RESEND_SECONDS, _RESENDS = 1.0, 6


def download(download: Download, sink: Sink) -> None:
    """Put a file into ``sink``.

    Raises:
        NotFound, FetchError
    """

    def attempt() -> None:
        sink.restart()
        read_file(download.url, sink, download.connector, download.deadline)

    try_again(f"read {download.url}", attempt, download.connector.clock, download.deadline, download.say)


def read_file(url: str, sink: Sink, connector: Connector, deadline: Deadline) -> None:
    """One attempt to read a file.

    Args:
        url: ``tftp://HOST[:PORT]/NAME``; the name begins after the slash.

    Raises:
        NotFound: there is no such file.
        Temporary: the server does not answer, or stops.
        FetchError: any other error that the server reports.
    """
    parts = split_url(url)
    name = unquote(parts.path).lstrip("/")
    if not parts.hostname or not name:
        raise FetchError("a TFTP URL is tftp://HOST/NAME")
    connection, address = connector.open_udp(parts.hostname, parts.port or PORT, deadline.left)
    with closing(connection):
        transfer = _Transfer(connection, connector, deadline)
        try:
            transfer.run(name, address, sink, options=True)
        except _OptionsRefused:  # a server from before RFC 2347 that says so instead of ignoring them
            sink.restart()
            transfer.run(name, address, sink, options=False)


class _OptionsRefused(Exception):
    """The server does not know options."""


class _Transfer:
    def __init__(self, connection: socket.socket, connector: Connector, deadline: Deadline) -> None:
        self._connection = connection
        self._clock = connector.clock
        self._deadline = deadline

    def run(self, name: str, server: Any, sink: Sink, *, options: bool) -> None:
        """Ask for a file and acknowledge its blocks until a short one ends it."""
        fields = [name.encode("utf-8"), b"octet"]
        if options:
            fields += [b"blksize", str(_WANTED_BLOCK_BYTES).encode()]
        packet = struct.pack("!H", _READ) + b"\0".join(fields) + b"\0"
        block_bytes, expected = _BLOCK_BYTES, 1
        peer: Any = None  # the server answers from another port, which names the transfer
        to = server
        while True:
            kind, body, peer = self._exchange(packet, to, peer, expected, has_options=options)
            to = peer
            if kind == _OPTIONS:
                block_bytes = _block_size(body)
                packet = struct.pack("!HH", _ACK, 0)
                continue
            sink.write(body)
            packet = struct.pack("!HH", _ACK, expected)
            if len(body) < block_bytes:
                self._connection.sendto(packet, to)
                return
            expected = (expected + 1) & 0xFFFF  # servers of large files start over at 0

    def _exchange(
        self, packet: bytes, to: Any, peer: Any, expected: int, *, has_options: bool
    ) -> tuple[int, bytes, Any]:
        """Send until what is expected comes: its kind, its content and who sent it."""
        for _ in range(_RESENDS):
            self._connection.sendto(packet, to)
            until = Deadline(self._clock, min(_RESEND_SECONDS, self._deadline.left))
            while (left := until.left) > 0:
                self._connection.settimeout(self._clock.convert_to_real(left))
                try:
                    answer, sender = self._connection.recvfrom(65536)
                except TimeoutError:
                    break
                except OSError as error:
                    raise Temporary(f"the TFTP server does not answer: {error.strerror}") from None
                if len(answer) < 4 or (sender != peer if peer is not None else sender[0] != to[0]):
                    continue
                kind, number = struct.unpack_from("!HH", answer)
                if kind == _ERROR:
                    raise _server_error(number, answer[4:], has_options=has_options and peer is None)
                if kind == _DATA and number == expected:
                    return kind, answer[4:], sender
                if kind == _OPTIONS and has_options and peer is None:
                    return kind, answer[2:], sender
        raise Temporary("the TFTP server does not answer")


def _block_size(body: bytes) -> int:
    """The block size that a server agrees to."""
    fields = body.split(b"\0")
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name.lower() == b"blksize" and value.isdigit() and 8 <= int(value) <= _WANTED_BLOCK_BYTES:
            return int(value)
    return _BLOCK_BYTES


def _server_error(number: int, text: bytes, *, has_options: bool) -> Exception:
    shown = text.split(b"\0")[0].decode("utf-8", "replace")
    if number == _NOT_FOUND:
        return NotFound(f"the TFTP server says: {shown or 'file not found'}")
    if has_options and number == _BAD_OPTION:
        return _OptionsRefused()
    return FetchError(f"the TFTP server says: error {number} {shown}".rstrip())

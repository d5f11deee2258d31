"""``unshare --mount stand_in_systemd.py COMMAND...``: run a command with a systemd that says every device is there.

That is the part of systemd that Ignition waits for, on ``/run/systemd/private``; Debian's cannot be told to do without.
D-Bus as the specification has it: authentication, ``StartUnit``, and the signal ``JobRemoved``. Everything else gets an
empty answer.
"""

from __future__ import annotations

import contextlib
import os
import socketserver
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO, NamedTuple

MANAGER = "org.freedesktop.systemd1.Manager"
PATH = "/org/freedesktop/systemd1"
JOB = "/org/freedesktop/systemd1/job/1"
SOCKET = Path("/run/systemd/private")
CALL, ANSWER, SIGNAL = 1, 2, 4


class Call(NamedTuple):
    """A message, as far as it matters."""

    kind: int
    serial: int
    member: str
    body: bytes


def padded(data: bytes, to: int) -> bytes:
    """Up to the next multiple."""
    return data + b"\0" * (-len(data) % to)


def text(value: str) -> bytes:
    """A string or an object path."""
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def field(code: int, signature: str, value: bytes) -> bytes:
    """One of a header's fields, without padding."""
    return bytes([code, 1]) + signature.encode() + b"\0" + value


def message(kind: int, fields: list[bytes], body: bytes = b"") -> bytes:
    """A whole one."""
    header = b""
    for each in fields:
        header = padded(header, 8) + each
    start = struct.pack("<cBBBIII", b"l", kind, 1, 1, len(body), 1, len(header))
    return padded(start + header, 8) + body


def read_message(stream: BinaryIO) -> Call | None:
    """The next one; ``None`` when the other side has gone."""
    start = stream.read(16)
    if len(start) < 16:
        return None
    _, kind, _, _, size, serial, length = struct.unpack("<cBBBIII", start)
    header = stream.read(length + -length % 8)
    member = ""
    for position in range(0, length, 8):  # each field begins at a multiple of eight
        if header[position : position + 4] == b"\x03\x01s\0":
            (count,) = struct.unpack_from("<I", header, position + 4)
            member = header[position + 8 : position + 8 + count].decode()
    return Call(kind, serial, member, stream.read(size))


class Systemd(socketserver.ThreadingUnixStreamServer):
    """The socket, and all who listen."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Client)
        self.listeners: list[Client] = []
        self.lock = threading.Lock()

    def job_is_done(self, unit: str) -> None:
        """Tell everybody."""
        signal = [field(1, "o", text(PATH)), field(2, "s", text(MANAGER)), field(3, "s", text("JobRemoved"))]
        body = b""
        for each in (struct.pack("<I", 1), text(JOB), text(unit), text("done")):
            body = padded(body, 4) + each
        sent = message(SIGNAL, [*signal, field(8, "g", b"\x04uoss\0")], body)
        with self.lock:
            for each in self.listeners:
                each.send(sent)


class Client(socketserver.StreamRequestHandler):
    """One connection."""

    server: Systemd

    def send(self, data: bytes) -> None:
        """It may have gone."""
        with contextlib.suppress(OSError):
            self.connection.sendall(data)

    def handle(self) -> None:
        """Authenticate, then answer."""
        for line in self.rfile:
            words = line.strip(b"\0\r\n").split()
            if words == [b"BEGIN"]:
                break
            answers = {(b"AUTH",): b"REJECTED EXTERNAL", (b"AUTH", b"EXTERNAL"): b"OK 0123456789abcdef0123456789abcdef"}
            self.send(answers.get((*words[:2],), b"ERROR") + b"\r\n")
        with self.server.lock:
            self.server.listeners.append(self)
        while (call := read_message(self.rfile)) is not None:
            if call.kind == CALL:
                self._answer(call)
        with self.server.lock:
            self.server.listeners.remove(self)

    def _answer(self, call: Call) -> None:
        reply = field(5, "u", struct.pack("<I", call.serial))
        if call.member != "StartUnit":
            self.send(message(ANSWER, [reply]))
            return
        (count,) = struct.unpack_from("<I", call.body)
        self.send(message(ANSWER, [reply, field(8, "g", b"\x01o\0")], text(JOB)))
        self.server.job_is_done(call.body[4 : 4 + count].decode())


def main(command: list[str]) -> int:
    """The command's exit status. The mount namespace has to be our own."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    SOCKET.parent.mkdir(parents=True)
    with Systemd(str(SOCKET)) as systemd:
        threading.Thread(target=systemd.serve_forever, daemon=True).start()
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))

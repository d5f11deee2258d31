"""A signed archive in memory, and a mirror of it on loopback that can be told to misbehave."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pysequoia

from builder.debian.trust import Trust
from tests.support.debs import COMPRESSIONS, Deb, stanza_text

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@dataclass
class SignedArchive:
    """Files below ``dists/`` and ``pool/`` as a mirror has them, in memory."""

    key: pysequoia.Tsk
    keyring: Path
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def trust(self) -> Trust:
        certificate = self.key.extract_certificate()
        self.keyring.write_bytes(bytes(certificate))
        return Trust({certificate.fingerprint: None}, (self.keyring,))

    def publish(
        self,
        *debs: Deb,
        suite: str = "trixie",
        codename: str | None = None,
        arch: str = "amd64",
        date: datetime = NOW,
        valid_until: datetime | None = None,
        by_hash: bool = True,
        signer: pysequoia.Tsk | None = None,
        lists: tuple[str, ...] = ("xz",),
        contents: str | None = None,
        change: Callable[[str], str] = lambda text: text,
    ) -> None:
        packages = "".join(stanza_text(deb.stanza) for deb in debs).encode()
        base = f"main/binary-{arch}/Packages"
        listed = {base: packages}
        for ending in lists:
            listed[f"{base}.{ending}" if ending else base] = COMPRESSIONS[ending](packages)
        if contents is not None:
            listed[f"main/Contents-{arch}.gz"] = COMPRESSIONS["gz"](contents.encode())
        sums = "".join(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}\n" for path, data in listed.items())
        text = (
            f"Origin: Test\nSuite: stable\nCodename: {codename or suite}\nDate: {_date(date)}\n"
            + (f"Valid-Until: {_date(valid_until)}\n" if valid_until else "")
            + ("Acquire-By-Hash: yes\n" if by_hash else "")
            + f"Architectures: {arch}\nComponents: main\nSHA256:\n{sums}"
        )
        mode = pysequoia.SignatureMode.CLEAR
        signed = pysequoia.sign((signer or self.key).signer(), change(text).encode(), mode=mode)
        self.files[f"dists/{suite}/InRelease"] = signed
        for path, data in listed.items():
            if path == base and "" not in lists:
                continue
            self.files[f"dists/{suite}/{path}"] = data
            if by_hash:
                digest = hashlib.sha256(data).hexdigest()
                self.files[f"dists/{suite}/{path.rpartition('/')[0]}/by-hash/SHA256/{digest}"] = data
        for deb in debs:
            self.files[deb.path] = deb.data


def _date(date: datetime) -> str:
    return format_datetime(date.astimezone(UTC), usegmt=True).replace("GMT", "UTC")


Rule = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Serves the server's ``files``; a rule for a path may do something else instead."""

    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        self.server.requests.append((path, self.headers.get("Range", "")))
        rule = self.server.rules.get(path)
        if rule is not None:
            rule(self)
        elif path in self.server.files:
            self.send_file(self.server.files[path])
        else:
            self.answer(404)

    def send_file(self, data: bytes) -> None:
        """The file, or the part of it that was asked for."""
        wanted = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if not wanted:
            self.answer(200, data)
        elif int(wanted) >= len(data):
            self.answer(416)
        else:
            begin = int(wanted)
            place = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            self.answer(206, data[begin:], {"Content-Range": place})

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def cut(self, data: bytes, count: int) -> None:
        """Promise all of ``data``, send ``count`` bytes of it, hang up."""
        self.answer(200, data[:count], {"Content-Length": str(len(data))})
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Silence."""


class FileServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.rules: dict[str, Rule] = {}
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up on purpose here."""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FileServer]:
    """A server for these files, stopped at the end of the block."""
    server = FileServer(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

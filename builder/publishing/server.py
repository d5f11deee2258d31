"""A web server for a fleet: the repository of versions, and the locks that machines share.

It is small, for trying things out and for fleets of a size that one machine serves. It speaks no TLS: what it serves is
signed, and locks belong into a network of one's own, or behind a proxy.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from builder.core.errors import BuildError
from builder.publishing.reboot_locks import RebootLocks, Refused
from firstboot.config.update_words import FLEET_LOCK_HEADER

IDLE_SECONDS = 60.0  # that a connection may say nothing
MAX_BODY = 64 << 10  # bytes of a request
_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_ASKED = {"/v1/pre-reboot": True, "/v1/steady-state": False}
_TEXT = "text/plain; charset=utf-8"


class FleetServer(ThreadingHTTPServer):
    """Serves a directory, locks, or both. :meth:`serve_forever` serves; ``server_port`` says where.

    Args:
        address: where it listens, and on which port; 0 for any.
        directory: the repository, or ``None``.
        locks: the locks, or ``None``.
        say: is told of each lock that changes hands, and of what goes wrong.

    Raises:
        OSError: nothing can listen there.
    """

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        directory: Path | None,
        locks: RebootLocks | None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.directory = directory
        self.locks = locks
        self.say = say
        self.saying = threading.Lock()
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are usual, and no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "build-os"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: FleetServer

    def log_message(self, format: str, *args: Any) -> None:
        """Only locks are news."""

    def _answer_post(self) -> None:
        locks, path = self.server.locks, urlsplit(self.path).path
        # What has not been read would be taken for the next request.
        self.close_connection = True
        if locks is None or path not in _ASKED:
            self._send(HTTPStatus.NOT_FOUND, b"there is nothing here\n", _TEXT)
            return
        try:
            self._change_lock(locks, take=_ASKED[path])
        except Refused as refused:
            self._send_json(refused.status, {"kind": refused.kind, "value": str(refused)})
        except (BuildError, OSError) as error:
            self._say(str(error))
            self._send_json(
                HTTPStatus.SERVICE_UNAVAILABLE, {"kind": "internal", "value": "who holds locks cannot be read"}
            )

    def _change_lock(self, locks: RebootLocks, *, take: bool) -> None:
        if self.headers.get(FLEET_LOCK_HEADER) != "true":
            raise Refused(400, "bad_request", f"the header {FLEET_LOCK_HEADER} is not there")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            raise Refused(400, "bad_request", "the request has no body of a known length")
        try:
            client = json.loads(self.rfile.read(int(length)))["client_params"]
            machine, group = client["id"], client["group"]
        except (ValueError, KeyError, TypeError, RecursionError):
            machine = group = None
        if not isinstance(machine, str) or not isinstance(group, str):
            raise Refused(400, "bad_request", "the body has no client_params with id and group")
        if take:
            locks.claim(group, machine, int(time.time()))
            self._say(f"{machine} of the group {group} may reboot")
        elif locks.release(group, machine):
            self._say(f"{machine} of the group {group} has given its lock back")
        self._send(HTTPStatus.OK, b"", _TEXT)

    def _send_file(self) -> None:
        with_body = self.command == "GET"
        path = self._find_file()
        if path is None:
            self._send(HTTPStatus.NOT_FOUND, b"there is nothing here\n" if with_body else b"", _TEXT)
            return
        with path.open("rb") as file:
            size = file.seek(0, 2)
            span = _RANGE.fullmatch(self.headers.get("Range", ""))
            begin, end = (0, size) if span is None else (int(span[1]), min(size, int(span[2] or size) + 1))
            if span is not None and begin >= end:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(HTTPStatus.OK if span is None else HTTPStatus.PARTIAL_CONTENT)
            if span is not None:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            if with_body:
                file.seek(begin)
                self._copy(file, end - begin)

    do_GET = do_HEAD = _send_file
    do_POST = _answer_post

    def _copy(self, file: Any, left: int) -> None:
        while left and (chunk := file.read(min(left, _CHUNK))):
            self.wfile.write(chunk)
            left -= len(chunk)
        # A file that became shorter meanwhile: the client must not wait for the rest.
        self.close_connection = self.close_connection or left > 0

    def _find_file(self) -> Path | None:
        """The file of the repository that is asked for; nothing outside of it, and nothing hidden."""
        root = self.server.directory
        parts = unquote(urlsplit(self.path).path).lstrip("/").split("/")
        if root is None or any(not part or part.startswith(".") or "\0" in part for part in parts):
            return None
        with suppress(OSError):
            path = root.joinpath(*parts).resolve()
            if path.is_relative_to(root.resolve()) and path.is_file():
                return path
        return None

    def _send_json(self, status: int, data: Any) -> None:
        self._send(status, json.dumps(data).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _say(self, text: str) -> None:
        with self.server.saying:
            self.server.say(text)

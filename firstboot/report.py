"""How a first boot ends, for everyone who wants to know: the console, the host, the journal, the next boot."""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from firstboot.apply.root import Root
from firstboot.config.lazy import import_lazily
from firstboot.places import (
    ATTEMPT,
    FAILURE,
    KEPT_HASH,
    KEPT_RESULT,
    MARKER,
    RESULT,
    RUN_DIRECTORY,
    SHELL_ALLOWED,
    STATE_VAR,
    WITNESS,
    Places,
    has_own_var,
)

if TYPE_CHECKING:
    import socket
else:
    socket = import_lazily("socket")

PORT_NAME = "org.buildos.firstboot.0"
FAILED_MESSAGE_ID = "42dd22d2dc2e454093124a2f222b3ab0"
JOURNAL_BYTES = 32 << 10  # of one field: an entry is one datagram
SCREEN_LINES = 14  # of a console of 25, so that heading and advice stay visible
_PORT_SECONDS = 2.0
_RULE = "=" * 72


FAILED = "build-os first boot failed"
STOPPED = "build-os stopped this machine before its root was started"


def render_screen(problem: str, advice: Sequence[str], heading: str = FAILED) -> str:
    """The one screen that a failed first boot shows: what is wrong and where, and what to do."""
    lines = problem.splitlines()
    if len(lines) > SCREEN_LINES:
        more = len(lines) - SCREEN_LINES
        lines = [*lines[:SCREEN_LINES], f"... and {more} more lines; 'build-os check --config FILE' shows them all"]
    return "\n".join([_RULE, heading, "", *lines, "", *advice, _RULE, ""])


class Port:
    """The virtio-serial port on which a host may listen. Nobody has to; it never holds up the boot."""

    def __init__(self, places: Places) -> None:
        self._fd: int | None = None
        for entry in sorted(places.sys.glob("class/virtio-ports/*/name")):
            with contextlib.suppress(OSError):
                if entry.read_text(encoding="ascii", errors="replace").strip() == PORT_NAME:
                    device = places.dev / entry.parent.name
                    self._fd = os.open(device, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                    return

    def send(self, event: dict[str, Any]) -> None:
        """One JSON object on one line."""
        if self._fd is None:
            return
        data = json.dumps(event, ensure_ascii=True).encode("ascii") + b"\n"
        deadline = time.monotonic() + _PORT_SECONDS
        while data and time.monotonic() < deadline:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                select.select([], [self._fd], [], 0.1)
            except OSError:
                return


def show_on_console(places: Places, text: str) -> None:
    """Write to the console, if there is one that takes it."""
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(places.dev / "console", flags)
        try:
            os.write(fd, ("\n" + text).encode("utf-8", "replace"))
        finally:
            os.close(fd)


def send_to_journal(places: Places, fields: Mapping[str, str]) -> None:
    """One entry, if there is a journal (systemd's JOURNAL_NATIVE_PROTOCOL)."""
    entry = b""
    for name, value in fields.items():
        data = value.encode("utf-8", "replace")[:JOURNAL_BYTES]
        # A value of several lines has its length before it.
        entry += name.encode("ascii") + (b"\n" + struct.pack("<Q", len(data)) if b"\n" in data else b"=") + data + b"\n"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        to.settimeout(_PORT_SECONDS)
        to.sendto(entry, str(places.locate("/run/systemd/journal/socket")))


def write_failure(root: Root, text: str, result: dict[str, Any], *, shell: bool) -> None:
    """Keep what is known where an emergency shell finds it; ``shell`` lets the initrd start one."""
    with contextlib.suppress(OSError):
        root.make_directory(RUN_DIRECTORY, 0o700)
        root.write(FAILURE, text.encode("utf-8", "replace"), mode=0o600)
        root.write(RESULT, _document(result), mode=0o600)
        if shell:
            root.write(SHELL_ALLOWED, b"", mode=0o600)


def write_result(root: Root, result: dict[str, Any]) -> None:
    """For this boot and for later ones. Only root may read it: it names what the machine is made of."""
    for path in (FAILURE, SHELL_ALLOWED):  # of an earlier attempt in this boot
        root.remove(path)
    for path in (RESULT, KEPT_RESULT):
        root.make_directory(path.rpartition("/")[0], 0o700)
        root.write(path, _document(result), mode=0o600)


def write_hash(root: Root, sha256: str, path: str) -> None:
    """What a config was that can be seen at later boots as well, as sha256sum(1) checks it."""
    root.write(KEPT_HASH, f"{sha256}  {path}\n".encode(), mode=0o600)


def _document(result: dict[str, Any]) -> bytes:
    return json.dumps(result, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def is_complete(root: Root) -> bool:
    """Whether a first boot has come to its end here.

    Raises:
        OSError: that cannot be seen.
    """
    return root.see(MARKER).stat is not None


def write_marker(root: Root, content: dict[str, Any]) -> None:
    """The last thing that is written: with it on the disk, everything before it is.

    What an attempt was is complete by a rename; then comes the second witness (:mod:`firstboot.prepare`).
    """
    root.make_directory(MARKER.rpartition("/")[0], 0o700)
    if has_own_var(root):
        # A later boot without this directory goes on if it sees that unit: nothing may take its place unseen.
        root.remove_durably(STATE_VAR)
    data = json.dumps(content).encode() + b"\n"
    root.write_durably(ATTEMPT, data, mode=0o600)
    root.rename_durably(ATTEMPT, MARKER.rpartition("/")[2])
    root.write_durably(WITNESS, data, mode=0o600)

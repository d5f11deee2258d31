"""Locks between processes, on files: whoever waits is told for whom."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from builder.core.console import Console

MOMENT = 0.2  # seconds that a lock may be somebody's before we say so


@contextmanager
def hold_lock(path: Path, console: Console, what: str, *, shared: bool = False) -> Iterator[None]:
    """Hold ``path`` exclusively, or with others who share it. Waits for another holder and says so, naming its process.

    The kernel drops the lock with the process, so a killed build leaves nothing to clean up.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8", errors="replace") as file:
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if not _lock_at_once(file, how):
            console.note(f"waiting for {_holder(file, what)}")
            fcntl.flock(file, how)
        _write_holder(file)
        try:
            yield
        finally:
            if not shared:  # those who share it with us are still to be named
                _truncate(file)


@contextmanager
def hold_lock_if_free(path: Path) -> Iterator[bool]:
    """Hold ``path`` exclusively if nobody else does; says whether it is ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _lock_at_once(file: TextIO, how: int) -> bool:
    """Whether the lock could be had. Who holds it needs a moment to write down who that is, and to go."""
    until = time.monotonic() + MOMENT
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)


def _write_holder(file: TextIO) -> None:
    """Write down who holds the lock: its process, since when, its command line."""
    _truncate(file)
    file.write(f"{os.getpid()}\t{time.time():.0f}\t{format_command_line(sys.argv)}\n")
    file.flush()


def format_command_line(argv: Sequence[str]) -> str:
    """A command line for people; a module that was started with ``python -m`` has its own name."""
    if not argv:
        return ""
    program = Path(argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *argv[1:]])[:200]


def _truncate(file: TextIO) -> None:
    file.seek(0)
    file.truncate()


def _holder(file: TextIO, what: str) -> str:
    """Who holds the lock, what it does, and since when; as much of it as is known."""
    file.seek(0)
    pid, _, rest = file.readline().rstrip("\n").partition("\t")
    since, _, command = rest.partition("\t")
    if not pid.isdigit() or not Path("/proc", pid).exists():
        return f"another process, which is {what}"  # one of several, and the one that was written down has gone
    when = f", since {time.strftime('%H:%M:%S', time.localtime(int(since)))}" if since.isdigit() else ""
    return f"process {pid}, which is {what}{when}{f' ({command})' if command else ''}"

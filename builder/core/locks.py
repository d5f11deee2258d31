"""Locks between processes, on files: whoever waits is told for whom."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from builder.core.console import Console

MOMENT = 0.2  # seconds that a lock may be somebody's before we say so


@contextmanager
def hold_lock(
    path: Path, console: Console, what: str, *, shared: bool = False, in_turn: bool = False
) -> Iterator[None]:
    """Hold ``path`` exclusively, or with others who share it. Waits for another holder and says so, naming its process.

    The kernel drops the lock with the process, so a killed build leaves nothing to clean up.

    Args:
        what: completes "process N, which is".
        in_turn: those who wait get it in the order in which they came. The kernel's choice is none that can be relied
            on: who asks anew at the right moment may be first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8", errors="replace") as file:
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        with wait_for_turn(path, console, lambda: _holder(file, what)) if in_turn else nullcontext():
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
def wait_for_turn(path: Path, console: Console, describe_holder: Callable[[], str]) -> Iterator[None]:
    """Wait until all who came before have the lock ``path`` or have given up; within the block we are next.

    Whoever waits holds a lock on a file of its own, its ticket, in ``path`` + ``.queue``, and waits for the locks of
    those before it. A process that is killed loses its lock, so that it holds up nobody; the next one that comes
    removes its file.
    """
    queue = path.with_name(f"{path.name}.queue")
    number, ticket = _take_ticket(queue)
    with ticket:
        try:
            before = _list_waiting(queue, number)
            if before:
                console.note(f"waiting for {describe_holder()}, and {len(before)} more who came before us")
            while before:
                with suppress(FileNotFoundError), before[-1].open("rb") as other:
                    fcntl.flock(other, fcntl.LOCK_SH)
                before = _list_waiting(queue, number)
            yield
        finally:
            _locate_ticket(queue, number).unlink(missing_ok=True)  # while it is locked: the number may be drawn again


def _locate_ticket(queue: Path, number: int) -> Path:
    return queue / f"{number:09}"


def _take_ticket(queue: Path) -> tuple[int, BinaryIO]:
    """A number after those of all who wait, and its file, locked before anybody else can draw."""
    queue.mkdir(exist_ok=True)
    with (queue / "lock").open("a") as drawing:
        fcntl.flock(drawing, fcntl.LOCK_EX)
        waiting = _list_waiting(queue)
        for path in set(_list_tickets(queue)) - set(waiting):
            path.unlink(missing_ok=True)
        number = int(waiting[-1].name) + 1 if waiting else 1
        ticket = _locate_ticket(queue, number).open("wb")
        fcntl.flock(ticket, fcntl.LOCK_EX)
        return number, ticket


def _list_tickets(queue: Path) -> list[Path]:
    return sorted(path for path in queue.iterdir() if path.name.isdigit())


def _list_waiting(queue: Path, before: int | None = None) -> list[Path]:
    """The tickets whose owners wait, of all or of those who came before, in order."""
    return [path for path in _list_tickets(queue) if (before is None or int(path.name) < before) and _is_locked(path)]


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


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

"""Progress: stages say ``with console.open_step("Sealing"):`` and nothing else; how it looks is decided here.

Progress goes to standard error, results to standard output, and everything at full detail to the build log.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol, TextIO

from builder.core.spans import Span


class Console(Protocol):
    """Where a build says what it is doing. Implementations are safe to call from several threads.

    Attributes:
        spans: the steps and programs that have ended.
    """

    spans: list[Span]

    def open_step(self, title: str) -> AbstractContextManager[None]:
        """Open a step; it closes with its elapsed time, or as failed when an exception passes through."""

    def note(self, text: str) -> None:
        """One line the user should see."""

    def warn(self, text: str) -> None:
        """One line the user should act on."""

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """How far the innermost step is; ``total`` 0 means unknown. Called often, drawn seldom."""

    def note_program(self, command: str) -> AbstractContextManager[None]:
        """A program runs, of this command line. For the log, and for who asks where the time went."""

    def log(self, line: str) -> None:
        """A line for the log only (a program's output)."""


def format_seconds(value: float) -> str:
    """``0.42 s`` or ``1 min 05 s``."""
    if value < 59.995:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def format_size(count: int) -> str:
    """``12.3 MB`` (decimal units, as mirrors and clouds count)."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


class _Logged:
    """The part all consoles share: the log file, opened on first use, one writer at a time."""

    def __init__(self, log_path: Path | None) -> None:
        self._log_path = log_path
        self._log_file: TextIO | None = None
        self._waiting: list[str] = []  # lines for a log that another build is writing
        self._lock = threading.RLock()
        # The steps that this line of work is inside of; work that runs beside has its own (core.beside).
        self._inside: ContextVar[tuple[str, ...]] = ContextVar("inside", default=())
        self.spans: list[Span] = []

    def log(self, line: str) -> None:
        with self._lock:
            if self._log_path is None:
                return
            self._waiting.append(line)
            if self._log_file is None:
                self._log_file = _take_log(self._log_path)
            if self._log_file is not None:
                self._log_file.write("".join(f"{line}\n" for line in self._waiting))
                self._log_file.flush()
                self._waiting.clear()

    @property
    def log_path(self) -> Path | None:
        """The log of this run, if anything was logged."""
        return self._log_path if self._log_file is not None else None

    def close(self) -> None:
        """End the log. Only needed where the process goes on."""
        with self._lock:
            if self._log_file is not None:
                self._log_file.close()

    @contextmanager
    def open_step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        self.log(f"== {title}")
        self._opened(title)
        outer = self._inside.set((*self._inside.get(), title))
        outcome = "failed"
        try:
            yield
            outcome = "done"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            elapsed = time.monotonic() - started
            self._inside.reset(outer)
            self._spent(title, started, outcome)
            self.log(f"== {title}: {outcome} in {format_seconds(elapsed)}")
            self._closed(title, outcome, elapsed)

    @contextmanager
    def note_program(self, command: str) -> Iterator[None]:
        started = time.monotonic()
        self.log(f"+ {command}")
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            self._spent(command, started, outcome, is_program=True)

    def _spent(self, title: str, started: float, outcome: str, *, is_program: bool = False) -> None:
        with self._lock:
            self.spans.append(Span(title, self._inside.get(), started, time.monotonic(), is_program, outcome))

    def note(self, text: str) -> None:
        self.log(text)

    def warn(self, text: str) -> None:
        self.log(f"warning: {text}")

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Nothing to draw."""

    def _indent(self) -> str:
        return "  " * len(self._inside.get())

    def _opened(self, title: str) -> None:
        """A step opened; drawn by subclasses."""

    def _closed(self, title: str, outcome: str, elapsed: float) -> None:
        """A step closed; drawn by subclasses."""


def _take_log(path: Path) -> TextIO | None:
    """The log, emptied, for this process alone; ``None`` while another build writes its own into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8", errors="replace")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file


class QuietConsole(_Logged):
    """Draws nothing. For tests and for callers that only want the log."""

    def __init__(self, log_path: Path | None = None) -> None:
        super().__init__(log_path)


class PlainConsole(_Logged):
    """For CI and pipes: one line when a step closes, nothing that moves the cursor."""

    def __init__(self, log_path: Path | None = None, stream: TextIO | None = None) -> None:
        super().__init__(log_path)
        self._stream = stream or sys.stderr

    def _say(self, text: str) -> None:
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()

    def note(self, text: str) -> None:
        super().note(text)
        self._say(self._indent() + text)

    def warn(self, text: str) -> None:
        super().warn(text)
        self._say(f"{self._indent()}warning: {text}")

    def _closed(self, title: str, outcome: str, elapsed: float) -> None:
        tail = "" if outcome == "done" else f" {outcome}"
        self._say(f"{self._indent()}{title}{tail} ({format_seconds(elapsed)})")


class TerminalConsole(_Logged):
    """For people: the running step with a live line, a tick and the time when it is done."""

    REDRAW_SECONDS = 0.1

    def __init__(self, log_path: Path | None = None, stream: TextIO | None = None) -> None:
        super().__init__(log_path)
        self._stream = stream or sys.stderr
        # Title, when it was opened, indentation; several lines of work may have steps open at the same time.
        self._open: list[tuple[str, float, str]] = []
        self._detail = ""
        self._drawn_at = 0.0
        self._colour = "NO_COLOR" not in os.environ

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def _line(self, text: str) -> None:
        with self._lock:
            self._stream.write(f"\r\033[K{text}\n")
            self._live()

    def _live(self) -> None:
        """Redraw the bottom line: the step opened last, how far it is, how long it has run."""
        with self._lock:
            if not self._open:
                return
            title, started, indent = self._open[-1]
            elapsed = self._paint("2", f"{time.monotonic() - started:.0f} s")
            width = self._width()
            text = f"{title} {self._detail}".rstrip()[: max(10, width - len(indent) - 12)]
            self._stream.write(f"\r\033[K{indent}{self._paint('36', '•')} {text} {elapsed}")
            self._stream.flush()
            self._drawn_at = time.monotonic()

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80  # 0 where nobody has said
        except (OSError, ValueError):
            return 80

    def note(self, text: str) -> None:
        super().note(text)
        self._line(self._indent() + text)

    def warn(self, text: str) -> None:
        super().warn(text)
        self._line(self._indent() + self._paint("33", "warning: ") + text)

    def report_progress(self, done: int, total: int, unit: str) -> None:
        if time.monotonic() - self._drawn_at < self.REDRAW_SECONDS:
            return
        if unit == "B":
            self._detail = f"{format_size(done)} of {format_size(total)}" if total else format_size(done)
        else:
            self._detail = f"{done}/{total} {unit}" if total else f"{done} {unit}"
        self._live()

    def _opened(self, title: str) -> None:
        with self._lock:
            self._open.append((title, time.monotonic(), self._indent()))
            self._detail = ""
            self._live()

    def _closed(self, title: str, outcome: str, elapsed: float) -> None:
        with self._lock:
            indent = self._indent()
            self._open.remove(next(step for step in reversed(self._open) if (step[0], step[2]) == (title, indent)))
            self._detail = ""
            mark = self._paint("32", "✓") if outcome == "done" else self._paint("31", "✗")
            tail = "" if outcome == "done" else f" {self._paint('31', outcome)}"
            self._line(f"{indent}{mark} {title}{tail} {self._paint('2', format_seconds(elapsed))}")


class JsonConsole(_Logged):
    """For programs: one JSON object a line on standard error."""

    def __init__(self, log_path: Path | None = None, stream: TextIO | None = None) -> None:
        super().__init__(log_path)
        self._stream = stream or sys.stderr
        self._drawn_at = 0.0

    def _event(self, **fields: object) -> None:
        with self._lock:
            self._stream.write(json.dumps(fields, ensure_ascii=False) + "\n")
            self._stream.flush()

    def note(self, text: str) -> None:
        super().note(text)
        self._event(event="note", text=text)

    def warn(self, text: str) -> None:
        super().warn(text)
        self._event(event="warning", text=text)

    def report_progress(self, done: int, total: int, unit: str) -> None:
        if time.monotonic() - self._drawn_at >= 0.2:
            self._drawn_at = time.monotonic()
            self._event(event="progress", done=done, total=total, unit=unit)

    def _opened(self, title: str) -> None:
        self._event(event="started", step=title)

    def _closed(self, title: str, outcome: str, elapsed: float) -> None:
        self._event(event="finished", step=title, outcome=outcome, seconds=round(elapsed, 3))


def make_console(kind: str, log_path: Path | None = None) -> PlainConsole | TerminalConsole | JsonConsole:
    """Choose a console: ``auto``, ``terminal``, ``plain`` or ``json``.

    Raises:
        ValueError: for any other kind.
    """
    if kind == "auto":
        fancy = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "CI" not in os.environ
        kind = "terminal" if fancy else "plain"
    match kind:
        case "terminal":
            return TerminalConsole(log_path)
        case "plain":
            return PlainConsole(log_path)
        case "json":
            return JsonConsole(log_path)
        case _:
            raise ValueError(kind)

"""The serial line, written down: what came, when, and whether it was a bad sign.

A guest may send anything: colours, half lines, or a hundred megabytes of one letter. Memory and log are bounded.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from vm.guest.bad_signs import BadSign, find_bad_sign
from vm.waiting.deadline import Clock, Deadline
from vm.waiting.wait import BadNews, Notifier, Wait, is_hidden

__tracebackhide__ = is_hidden
MAX_LINE = 8 << 10  # bytes; a longer line is cut into several
MAX_MEMORY = 8 << 20  # bytes, about, of lines kept for searching
LINE_COST = 200  # bytes that a line takes beside its text
MAX_LOG = 32 << 20  # characters written to the log
MAX_SIGHTINGS = 100
EVIDENCE_LINES = 15
# Of the kernel's ring, agetty's questions to the terminal, and systemd's colours: ECMA-48 control sequences,
# operating system commands, device control strings, and two-character escapes.
ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?"
)
CONTROLS = dict.fromkeys([*range(9), *range(10, 32), 127])


@dataclass(frozen=True)
class Line:
    """A line without colours; ``seconds`` since power-on, when its end (or, for the last one, its latest part) came."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Sighting:
    """A bad sign that was seen; ``seen`` in monotonic seconds."""

    line: Line
    sign: BadSign
    seen: float


def strip_controls(raw: bytes) -> str:
    """Text without escape sequences and control characters."""
    return ESCAPES.sub("", raw.decode("utf-8", errors="replace")).translate(CONTROLS)


class Transcript:
    """What the guest wrote to its serial line. Fed by one thread, read by any.

    Args:
        notifier: rung when there is something new.
        log: the file to write, one line each with its seconds since power-on.
        emulated: whether signs that only mean slowness are to be ignored.
        allow: lines that match one of these are not bad signs.
        echo: called with the raw bytes as they come, for a terminal.
    """

    def __init__(
        self,
        notifier: Notifier,
        log: Path | None = None,
        *,
        emulated: bool = False,
        allow: Sequence[re.Pattern[str]] = (),
        echo: Callable[[bytes], None] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._notifier = notifier
        self._log_path = log
        self._log: TextIO | None = None
        self._emulated = emulated
        self._allow = tuple(allow)
        self._echo = echo
        self._clock = clock
        self._zero = clock()
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque()
        self._first = 0  # the number of the oldest line still in memory
        self._kept = 0
        self._logged = 0
        self._pending = b""
        self._sightings: list[Sighting] = []
        self.received = 0
        self.ended = False
        self.log_error: str | None = None

    def expect(self, pattern: re.Pattern[str]) -> None:
        """From now on, lines like this are no bad signs."""
        with self._lock:
            self._allow = (*self._allow, pattern)

    def start_over(self, allow: Sequence[re.Pattern[str]]) -> None:
        """Another test takes the machine over: forget bad signs, and take what it allows instead."""
        with self._lock:
            self._allow = tuple(allow)
            self._sightings = []

    def take_journal(self, lines: Sequence[str]) -> None:
        """Look for bad signs in lines of the guest's journal, which the console need not show."""
        texts = [strip_controls(line.encode()) for line in lines]
        with self._lock:
            known = {sighting.line.text for sighting in self._sightings}
            for index, sign in find_bad_sign(texts, emulated=self._emulated, allow=self._allow):
                if len(self._sightings) < MAX_SIGHTINGS and not any(texts[index] in text for text in known):
                    self._sightings.append(Sighting(Line(round(self.seconds, 3), texts[index]), sign, self._clock()))

    def note(self, what: str) -> None:
        """Write into the log, between the guest's lines, what was done to it."""
        with self._lock:
            self._write(round(self.seconds, 3), [f"---- {what} ----"])

    def power_on(self) -> None:
        """Seconds count from here; the machine writes again."""
        with self._lock:
            if self.received:
                self._write(round(self.seconds, 3), ["---- power on ----"])
            self._zero = self._clock()
            self.ended = False

    @property
    def seconds(self) -> float:
        """Seconds since power-on."""
        return self._clock() - self._zero

    @property
    def position(self) -> int:
        """The number that the next complete line will have."""
        with self._lock:
            return self._first + len(self._lines)

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """The first bad signs, in order."""
        with self._lock:
            return tuple(self._sightings)

    def list_lines(self, since: int = 0) -> list[Line]:
        """Lines from number ``since`` on, as far as still in memory, with the one being written at the end."""
        return self._from(since)[1]

    def show_tail(self, count: int = EVIDENCE_LINES) -> tuple[str, ...]:
        """The last lines, for an error message."""
        return tuple(line.text for line in self.list_lines()[-count:])

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if self._echo is not None:
            self._echo(data)
        seconds = round(self.seconds, 3)
        with self._lock:
            self.received += len(data)
            # A bare carriage return ends a line too: that is how progress is drawn. Empty lines tell nothing.
            *whole, rest = (self._pending + data).replace(b"\r", b"\n").split(b"\n")
            while len(rest) > MAX_LINE:
                whole.append(rest[:MAX_LINE])
                rest = rest[MAX_LINE:]
            self._pending = rest
            self._keep(seconds, [text for raw in whole for piece in _pieces(raw) if (text := strip_controls(piece))])
        self._notifier.notify()

    def end(self) -> None:
        """The machine is off: an unfinished line is a line now."""
        with self._lock:
            if text := strip_controls(self._pending):
                self._keep(round(self.seconds, 3), [text])
            self._pending = b""
            self.ended = True
        self._notifier.notify()

    def close(self) -> None:
        """Finish the log: when it was too much to write, with the last lines, which tell most."""
        with self._lock:
            log, self._log, self._log_path = self._log, None, None
            if log is None:
                return
            with contextlib.suppress(OSError):
                if self._logged > MAX_LOG:
                    log.write(f"... {self._logged - MAX_LOG} characters left out; the last lines were:\n")
                    log.writelines(f"{line.seconds:9.3f} {line.text}\n" for line in list(self._lines)[-200:])
                log.close()

    def find(self, pattern: str | re.Pattern[str], since: int = 0) -> Line | None:
        """The first line from number ``since`` on in which the pattern is found."""
        regex = re.compile(pattern)
        return next((line for line in self.list_lines(since) if regex.search(line.text)), None)

    def wait_for(
        self,
        pattern: str | re.Pattern[str],
        deadline: Deadline,
        *,
        since: int = 0,
        bad_news: Callable[[], BadNews | None] | None = None,
    ) -> Line:
        """Wait until the pattern is found in a line from number ``since`` on, also in one not yet ended.

        Args:
            bad_news: what else ends the wait; by default :meth:`find_bad_news` alone.

        Raises:
            VmError: bad news, or the deadline.
        """
        regex = re.compile(pattern)
        seen = since

        def look() -> Line | None:
            nonlocal seen
            first, lines = self._from(seen)
            # The last line may still grow: look at it again next time.
            seen = first + max(0, len(lines) - 1)
            return next((line for line in lines if regex.search(line.text)), None)

        wait = Wait(f"/{regex.pattern}/ on the console", deadline, self.show_tail)
        return self._notifier.wait_until(look, wait, bad_news or self.find_bad_news)

    def find_bad_news(self, *, fatal: bool = False) -> BadNews | None:
        """The first bad sign, as a reason to stop waiting; with ``fatal``, the first that a machine cannot survive."""
        sighting = next((sighting for sighting in self.sightings if sighting.sign.fatal or not fatal), None)
        if sighting is None:
            return None
        return BadNews(f"the console shows {sighting.sign.name}: {sighting.line.text.strip()}", self.show_tail())

    def _from(self, since: int) -> tuple[int, list[Line]]:
        with self._lock:
            start = max(0, since - self._first)
            lines = list(self._lines)[start:]
            if pending := strip_controls(self._pending):
                lines.append(Line(round(self.seconds, 3), pending))
            return self._first + start, lines

    def _keep(self, seconds: float, texts: list[str]) -> None:
        for index, sign in find_bad_sign(texts, emulated=self._emulated, allow=self._allow):
            if len(self._sightings) < MAX_SIGHTINGS or sign.fatal:
                self._sightings.append(Sighting(Line(seconds, texts[index]), sign, self._clock()))
        for text in texts:
            self._lines.append(Line(seconds, text))
            self._kept += len(text) + LINE_COST
        while self._kept > MAX_MEMORY:
            self._kept -= len(self._lines.popleft().text) + LINE_COST
            self._first += 1
        self._write(seconds, texts)

    def _write(self, seconds: float, texts: list[str]) -> None:
        if self._log_path is None or not texts:
            return
        block = "".join(f"{seconds:9.3f} {text}\n" for text in texts)
        room = self._logged < MAX_LOG
        self._logged += len(block)
        if not room:
            return
        try:
            if self._log is None:
                self._log = self._log_path.open("a", encoding="utf-8")
            self._log.write(block)
            self._log.flush()
        except OSError as error:  # the host's disk is full: the machine is still worth watching
            self.log_error = f"the serial log is incomplete: {error.strerror}"
            if self._log is not None:
                with contextlib.suppress(OSError):
                    self._log.close()
            self._log = self._log_path = None


def _pieces(raw: bytes) -> list[bytes]:
    return [raw] if len(raw) <= MAX_LINE else [raw[at : at + MAX_LINE] for at in range(0, len(raw), MAX_LINE)]


class SerialReader(threading.Thread):
    """Moves bytes from a socket to a transcript until the other end closes."""

    def __init__(self, sock: socket.socket, transcript: Transcript) -> None:
        super().__init__(name="serial", daemon=True)
        self._socket = sock
        self._transcript = transcript

    def run(self) -> None:
        """Read to the end; always as fast as the guest writes, or it would stall."""
        try:
            while data := self._socket.recv(1 << 16):
                self._transcript.feed(data)
        except OSError:
            pass  # closed under us when the machine is put away
        finally:
            self._transcript.end()

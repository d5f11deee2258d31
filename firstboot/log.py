"""What first boot says while it works: one line when an operation starts and one when it ends, always paired.

Lines never hold file contents or password hashes; whoever describes an operation sees to that. What else looks like a
secret, in a URL or in what a program says, is left out here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from firstboot.config import redaction
else:
    redaction = import_lazily("firstboot.config.redaction")

# sd-daemon(3): journald takes these as the priority of a line on standard error.
_ERROR, _WARNING, _INFO = "<3>", "<4>", "<6>"
CONSOLE = Path("/dev/console")
# Seconds until a wait is told on the console, until it is told again, and after which it is another wait.
WAITS_AFTER, WAITS_EVERY, WAIT_ENDED = 10.0, 30.0, 60.0


class Log:
    """Writes lines to a stream."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        priorities: bool | None = None,
        console: Path = CONSOLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        # Where systemd reads the stream; anyone else would see the prefixes as text.
        self.current = ""  # the operation that was started last and has not ended
        self._priorities = "JOURNAL_STREAM" in os.environ if priorities is None else priorities
        self._console, self._clock = console, clock
        self._last_wait, self._next_wait = -WAIT_ENDED, 0.0

    def _line(self, priority: str, text: str) -> None:
        if "=" in text or "://" in text or "$" in text:
            text = redaction.conceal(text)
        for line in text.splitlines() or [""]:
            self._stream.write(f"{priority if self._priorities else ''}{line}\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Something that happened."""
        self._line(_INFO, text)

    def wait(self, text: str) -> None:
        """Something that was tried in vain and is tried again; now and then also on the machine's console, where
        somebody may wonder why nothing happens."""
        self.note(text)
        self.show_wait(text)

    def show_wait(self, text: str) -> None:
        """The same, on the console alone."""
        now = self._clock()
        if now - self._last_wait >= WAIT_ENDED:
            self._next_wait = now + WAITS_AFTER
        self._last_wait = now
        if not self._priorities or now < self._next_wait:
            return
        self._next_wait = now + WAITS_EVERY
        with suppress(OSError):  # a first boot does not fail because of that
            descriptor = os.open(self._console, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
            with os.fdopen(descriptor, "w", encoding="utf-8") as console:
                console.write(f"build-os: first boot waits: {redaction.conceal(text)}\n")

    def warn(self, text: str) -> None:
        """Something to look at."""
        self._line(_WARNING, text)

    def complain(self, text: str) -> None:
        """Something that stops it."""
        self._line(_ERROR, text)

    @contextmanager
    def follow_operation(self, what: str) -> Iterator[None]:
        """``started: WHAT``, then ``finished: WHAT`` or ``failed: WHAT: why``."""
        self.note(f"started: {what}")
        around, self.current = self.current, what
        try:
            yield
        except BaseException as error:
            reason = str(error).splitlines()
            self.complain(f"failed: {what}: {reason[0] if reason else type(error).__name__}")
            raise
        self.current = around
        self.note(f"finished: {what}")

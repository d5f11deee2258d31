"""A socket whose every read ends in time; a body that comes too slowly is given up."""

from __future__ import annotations

import io
import socket
from typing import Any

from firstboot.fetch.clock import FOREVER, Clock, Deadline
from firstboot.fetch.errors import Temporary, TimedOut
from firstboot.fetch.settings import SLOW_BODY_SECONDS, SLOWEST_BYTES_PER_SECOND


class ReadTimer:
    """How long the next read may take. First headers are awaited, then a body is."""

    def __init__(self, clock: Clock, header_seconds: float | None, total: Deadline) -> None:
        self._clock = clock
        self._total = total
        self._window = Deadline(clock, header_seconds)
        self._in_body = False
        self._count = 0

    def expect_body(self) -> None:
        """The headers are complete."""
        self._in_body = True
        self._next_window()

    def _next_window(self) -> None:
        self._window = Deadline(self._clock, SLOW_BODY_SECONDS)
        self._count = 0

    def get_seconds(self) -> float:
        """Seconds for the next read.

        Raises:
            Temporary: there are none left.
        """
        if self._window.left <= 0 and self._in_body and self._is_enough():
            self._next_window()
        left = min(
            self._window.left + (SLOW_BODY_SECONDS if self._in_body and self._is_enough() else 0), self._total.left
        )
        if left <= 0:
            raise self.make_error()
        return left

    def make_error(self) -> Temporary:
        """What happened when no data came in the time allowed."""
        if not self._in_body:
            return TimedOut(f"no response within {min(self._window.seconds, self._total.seconds):.0f} s")
        if self._total.left <= 0:
            return Temporary("the body was still coming")
        return Temporary(f"the body comes slower than {SLOWEST_BYTES_PER_SECOND} bytes/s")

    def count_bytes(self, count: int) -> None:
        """So many bytes have come."""
        self._count += count

    def _is_enough(self) -> bool:
        return self._count >= SLOWEST_BYTES_PER_SECOND * SLOW_BODY_SECONDS


class _TimedReads(io.RawIOBase):
    """Reads of a socket, each within what the timer allows."""

    def __init__(self, connection: socket.socket, timer: ReadTimer, clock: Clock) -> None:
        super().__init__()
        self._connection = connection
        self._timer = timer
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._timer.get_seconds()
        self._connection.settimeout(None if seconds == FOREVER else self._clock.convert_to_real(seconds))
        try:
            count = self._connection.recv_into(buffer)
        except TimeoutError:
            raise self._timer.make_error() from None
        self._timer.count_bytes(count)
        return count


class TimedSocket:
    """As much of a socket as http.client uses. It does not close the real one: whoever opened that does."""

    def __init__(self, connection: socket.socket, timer: ReadTimer, clock: Clock) -> None:
        self._connection = connection
        self._timer = timer
        self._clock = clock

    def sendall(self, data: bytes) -> None:
        """Send all of it, within what the timer allows."""
        seconds = self._timer.get_seconds()
        self._connection.settimeout(None if seconds == FOREVER else self._clock.convert_to_real(seconds))
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What comes, as a file."""
        return io.BufferedReader(_TimedReads(self._connection, self._timer, self._clock))

    def close(self) -> None:
        """Nothing: see the class."""

"""A socket's data at a pace: every read ends in time, and a body that only drips is given up."""

from __future__ import annotations

import io
import socket
from typing import Any

from firstboot.fetch.clock import FOREVER, Clock, Deadline
from firstboot.fetch.errors import Temporary, TimeOver
from firstboot.fetch.settings import PACE_SECONDS, SLOWEST_BYTES_PER_SECOND


class Pace:
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
        self._window = Deadline(self._clock, PACE_SECONDS)
        self._count = 0

    def allowed(self) -> float:
        """Seconds for the next read.

        Raises:
            Temporary: there are none left.
        """
        if self._window.left() <= 0 and self._in_body and self._is_enough():
            self._next_window()
        left = min(
            self._window.left() + (PACE_SECONDS if self._in_body and self._is_enough() else 0), self._total.left()
        )
        if left <= 0:
            raise self.too_slow()
        return left

    def too_slow(self) -> Temporary:
        """What happened when no data came in the time allowed."""
        if not self._in_body:
            return TimeOver(f"no response within {min(self._window.seconds, self._total.seconds):.0f} s")
        if self._total.left() <= 0:
            return Temporary("the body was still coming")
        return Temporary(f"the body comes slower than {SLOWEST_BYTES_PER_SECOND} bytes/s")

    def got(self, count: int) -> None:
        """So many bytes have come."""
        self._count += count

    def _is_enough(self) -> bool:
        return self._count >= SLOWEST_BYTES_PER_SECOND * PACE_SECONDS


class _PacedReads(io.RawIOBase):
    """Reads of a socket, each within what the pace allows."""

    def __init__(self, connection: socket.socket, pace: Pace, clock: Clock) -> None:
        super().__init__()
        self._connection = connection
        self._pace = pace
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._pace.allowed()
        self._connection.settimeout(None if seconds == FOREVER else self._clock.real(seconds))
        try:
            count = self._connection.recv_into(buffer)
        except TimeoutError:
            raise self._pace.too_slow() from None
        self._pace.got(count)
        return count


class PacedSocket:
    """As much of a socket as http.client uses. It does not close the real one: whoever opened that does."""

    def __init__(self, connection: socket.socket, pace: Pace, clock: Clock) -> None:
        self._connection = connection
        self._pace = pace
        self._clock = clock

    def sendall(self, data: bytes) -> None:
        """Send all of it, within what the pace allows."""
        seconds = self._pace.allowed()
        self._connection.settimeout(None if seconds == FOREVER else self._clock.real(seconds))
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What comes, as a file."""
        return io.BufferedReader(_PacedReads(self._connection, self._pace, self._clock))

    def close(self) -> None:
        """Nothing: see the class."""

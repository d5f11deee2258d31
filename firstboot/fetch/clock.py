"""Time in a first boot: a clock that a test can let run faster, and deadlines by it."""

from __future__ import annotations

import time

FOREVER = float("inf")


class Clock:
    """Time in seconds. With ``speed`` 60 a minute lasts a second."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def get_time(self) -> float:
        """Seconds since some moment; only differences mean something."""
        return time.monotonic() * self.speed

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(self.convert_to_real(seconds))

    def convert_to_real(self, seconds: float) -> float:
        """How long that is for the kernel."""
        return seconds / self.speed


class Deadline:
    """A moment by which something must be done; ``None`` seconds is never."""

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock = clock
        self.seconds = FOREVER if seconds is None else seconds
        self._end = clock.get_time() + self.seconds

    @property
    def left(self) -> float:
        """Seconds until then, below zero afterwards."""
        return self._end - self._clock.get_time()

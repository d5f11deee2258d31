"""What happened to a machine, and when: the few moments that a person wants to see of a test."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vm.waiting.deadline import Clock

MOST = 200  # moments that are kept of one test


@dataclass(frozen=True)
class Moment:
    """``seconds`` since the beginning of the timeline."""

    seconds: float
    what: str


class Timeline:
    """Moments in order. Filled by any thread."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.start_over()

    def start_over(self) -> None:
        """Another test begins."""
        self._zero = self._clock()
        self._moments: list[Moment] = []

    def add(self, what: str) -> None:
        """Something happened now."""
        if len(self._moments) < MOST:
            self._moments.append(Moment(round(self._clock() - self._zero, 3), what))

    @property
    def moments(self) -> tuple[Moment, ...]:
        """What happened so far."""
        return tuple(self._moments)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._zero

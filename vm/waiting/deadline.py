"""One deadline for a whole scenario, so that ten waits of a minute are not ten minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from builder.core.errors import InputError
from vm.spec import Accel

# Emulation makes a boot about five times as long as virtualisation does; an idle wait is not slower, a busy one more.
TCG_SCALE = 5.0
SCALE_VARIABLE = "BUILD_OS_TIMEOUT_SCALE"

Clock = Callable[[], float]


def choose_timeout_scale(accel: Accel, environment: Mapping[str, str]) -> float:
    """How much longer than written a deadline is: for emulation, and times ``$BUILD_OS_TIMEOUT_SCALE``.

    Raises:
        InputError: the variable is not a positive number.
    """
    scale = TCG_SCALE if accel is Accel.TCG else 1.0
    text = environment.get(SCALE_VARIABLE, "")
    if not text:
        return scale
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e6:
        raise InputError(f"{SCALE_VARIABLE}={text} is not a positive number", hint="for example 2, on a slow machine")
    return scale * factor


class Deadline:
    """A moment that all waits share. Starts to run when it is made.

    Args:
        seconds: as it would be on a machine with KVM.
        scale: what :func:`choose_timeout_scale` says.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, scale: float = 1.0, clock: Clock = time.monotonic) -> None:
        self.seconds = seconds
        self.scale = scale
        self._clock = clock
        self._end = clock() + seconds * scale

    @property
    def remaining(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self._end - self._clock())

    @property
    def expired(self) -> bool:
        """Whether nothing is left."""
        return self._clock() >= self._end

    def extend(self, seconds: float) -> None:
        """Move the end: time spent waiting for our turn is not the machine's fault. Real seconds, not scaled."""
        self._end += seconds

    def shorten(self, seconds: float) -> Deadline:
        """A deadline for one step, ``seconds`` (scaled) from now but never after this one."""
        step = Deadline(seconds, self.scale, self._clock)
        if step._end > self._end:
            step._end = self._end
            step.seconds = self.seconds
        return step

    def __str__(self) -> str:
        if self.scale == 1.0:
            return f"{self.seconds:g} s"
        return f"{self.seconds * self.scale:g} s ({self.seconds:g} s, stretched {self.scale:g} times)"

"""What a build did when, as values: for ``build-os build --timeline``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A step, or a program that a step ran.

    Attributes:
        inside: the steps it is inside of, the outermost first.
        started, ended: seconds, by the monotonic clock.
        outcome: ``done``, ``failed`` or ``interrupted``.
    """

    title: str
    inside: tuple[str, ...]
    started: float
    ended: float
    is_program: bool = False
    outcome: str = "done"

    @property
    def depth(self) -> int:
        """How many steps it is inside of."""
        return len(self.inside)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started

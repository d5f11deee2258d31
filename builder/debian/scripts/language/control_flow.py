"""How commands end, and what ends them early: POSIX.1-2024, "Shell Command Language" 2.8 and 2.15."""

from __future__ import annotations

Status = int | None  # None: not known


class Exit(Exception):
    """``exit``, or a failure under ``set -e``."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Return(Exit):
    """``return``."""


class Leave(Exception):
    """``break`` and ``continue``: out of ``levels`` loops."""

    def __init__(self, levels: int, *, again: bool) -> None:
        super().__init__(levels)
        self.levels = levels
        self.again = again


class TooLong(Exception):
    """The script did not come to an end."""

"""The errors that a config, a machine or a network may cause. Any other is a mistake of ours: it gets a traceback."""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.apply.programs import ProgramError
from firstboot.config.origins import Complaint, ConfigError
from firstboot.config.text import LocatedError
from firstboot.fetch.errors import FetchError


class ActionFailed(Exception):
    """An action could not be carried out; ``complaint`` points at what asked for it, if anything did."""

    def __init__(self, what: str, reason: str, complaint: Complaint | None) -> None:
        super().__init__(f"{what}: {reason}")
        self.complaint = complaint

    def __str__(self) -> str:
        return str(self.complaint) if self.complaint is not None else str(self.args[0])


WRONG_CONFIG = (LocatedError, ConfigError)
"""The config is to blame, and says at which line."""
FAILED = (ActionFailed, ProgramError, FetchError, OSError)
"""Something could not be done or had."""
EXPECTED = (*WRONG_CONFIG, *FAILED)


def describe(error: BaseException) -> str:
    """An expected error in the words of its reader: an ``OSError`` without the number that Python puts before it."""
    if not isinstance(error, OSError):
        return str(error)
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def list_complaints(error: BaseException) -> Iterator[Complaint]:
    """The places in configs that an error is about."""
    match error:
        case ConfigError():
            yield from error.complaints
        case LocatedError():
            yield from (Complaint(error.located, problem) for problem in error.problems)
        case ActionFailed() if error.complaint is not None:
            yield error.complaint
        case _:
            pass

"""Trying again: 0.2 s after the first failure, twice as long after each, never more than 5 s."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from firstboot.fetch.errors import FetchError, Temporary
from firstboot.fetch.reach import Clock, Deadline

FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
LONGEST_WAIT_ASKED_FOR = 30.0

T = TypeVar("T")


def with_retries(
    what: str, attempt: Callable[[], T], clock: Clock, deadline: Deadline, say: Callable[[str], None]
) -> T:
    """The first result of ``attempt`` that is no :class:`Temporary` error.

    Args:
        what: what is attempted, for messages.
        say: gets a line for each failure.

    Raises:
        FetchError: of an attempt, or the last one's reason when the time is over.
    """
    wait = FIRST_WAIT
    while True:
        try:
            return attempt()
        except Temporary as error:
            pause = max(wait, min(error.wait, LONGEST_WAIT_ASKED_FOR))
            reason = error.args[0]
            if deadline.left() <= pause:
                text = f"{what}: given up after {deadline.seconds:.0f} s: {reason}"
                raise FetchError(text, error.hint) from None
            say(f"{what}: {reason}; trying again in {pause:.1f} s")
        except FetchError as error:
            raise type(error)(f"{what}: {error.args[0]}", error.hint) from None
        clock.sleep(pause)
        wait = min(wait * 2, LONGEST_WAIT)

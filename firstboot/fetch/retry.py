"""Trying again: 0.2 s after the first failure, twice as long after each, never more than 5 s."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from firstboot.fetch.clock import Clock, Deadline
from firstboot.fetch.errors import FetchError, Temporary, TimedOut

FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
LONGEST_WAIT_ASKED_FOR = 30.0

T = TypeVar("T")


def try_again(what: str, attempt: Callable[[], T], clock: Clock, deadline: Deadline, say: Callable[[str], None]) -> T:
    """The first result of ``attempt`` that is no :class:`Temporary` error.

    Args:
        what: what is attempted, for messages.
        say: gets a line for each failure.

    Raises:
        FetchError: of an attempt, or the last one's reason when the time is over. An attempt that the deadline cut
            short gives no reason, unless it was the only one.
    """
    wait = FIRST_WAIT
    last: Temporary | None = None
    while last is None or deadline.left > 0:
        try:
            return attempt()
        except Temporary as error:
            is_cut_short = isinstance(error, TimedOut) and deadline.left <= 0
            last = error if last is None or not is_cut_short else last
            pause = max(wait, min(error.wait, LONGEST_WAIT_ASKED_FOR))
            if deadline.left <= pause:
                break
            say(f"{what}: {error.args[0]}; trying again in {pause:.1f} s")
        except FetchError as error:
            raise type(error)(f"{what}: {error.args[0]}", error.hint) from None
        clock.sleep(pause)
        wait = min(wait * 2, LONGEST_WAIT)
    raise FetchError(f"{what}: given up after {deadline.seconds:.0f} s: {last.args[0]}", last.hint) from None

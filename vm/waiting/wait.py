"""Every wait is a race of four outcomes: what was hoped for, bad news, the end of QEMU, the deadline.

Whichever comes first ends it, with a sentence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from builder.core.errors import VmError
from vm.waiting.deadline import Deadline

T = TypeVar("T")


def is_hidden(info: Any) -> bool:
    """Whether pytest leaves our functions out of a traceback: where the machine has failed, and not we.

    Set as ``__tracebackhide__`` in the modules that tests call (pytest, "Writing well integrated assertion helpers").
    """
    return isinstance(info.value, VmError)


__tracebackhide__ = is_hidden

# News rings the notifier at once; this is for what nobody rings for, such as a process that is gone.
LOOK_AGAIN_SECONDS = 0.25


@dataclass(frozen=True)
class BadNews:
    """Why waiting on is pointless: one clause, and the lines that show it."""

    what: str
    details: tuple[str, ...] = ()
    hint: str | None = None


@dataclass(frozen=True)
class Wait:
    """What is being waited for: ``what`` completes "while waiting for"; ``evidence`` gives the last lines seen."""

    what: str
    deadline: Deadline
    evidence: Callable[[], tuple[str, ...]] = tuple


class Notifier:
    """Rung by whoever has news (serial line, channels, QMP); all waits of a machine listen to one notifier."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    def notify(self) -> None:
        """There may be something new to see."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait_until(
        self,
        look: Callable[[], T | None],
        wait: Wait,
        bad_news: Callable[[], BadNews | None] = lambda: None,
    ) -> T:
        """Look until there is something to return.

        The outcome is looked for before the bad news: a machine that does what was asked and then dies has done it.

        Raises:
            VmError: bad news, or the deadline.
        """
        while True:
            heard = self._rings
            if (outcome := look()) is not None:
                return outcome
            if (news := bad_news()) is not None:
                # It may have been said with its last breath, after we looked.
                if (outcome := look()) is not None:
                    return outcome
                raise VmError(f"{news.what} (while waiting for {wait.what})", details=news.details, hint=news.hint)
            if wait.deadline.expired:
                raise VmError(f"{wait.what} did not come within {wait.deadline}", details=wait.evidence())
            with self._condition:
                if self._rings == heard:
                    self._condition.wait(min(LOOK_AGAIN_SECONDS, wait.deadline.remaining))

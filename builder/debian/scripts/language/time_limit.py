"""A bound for commands that match patterns: one like ``\\(a\\|a\\)*b`` takes a time that doubles with each letter.

The time is that of the processor, so a busy machine changes nothing. What is bounded takes milliseconds otherwise.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from builder.debian.scripts.target_system import NotModelled

SECONDS = 5.0


@contextmanager
def limit_time(name: str, seconds: float = SECONDS) -> Iterator[None]:
    """Let what is inside take so much of the processor's time. Without effect inside another limit, and in a thread
    that is not the main one, where signals cannot be had.

    Raises:
        NotModelled: it takes longer.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_VIRTUAL)[0]:
        yield
        return

    def expired(_number: int, _frame: FrameType | None) -> None:
        raise NotModelled(f"{name} takes longer for its pattern than {seconds:g} seconds")

    before = signal.signal(signal.SIGVTALRM, expired)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

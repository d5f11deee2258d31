"""A first boot that takes too long is told so by systemd (``TimeoutStartSec=``), and still says what it was doing."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from firstboot.fetch.errors import FetchError
from firstboot.log import Log

_HINT = "is something that it needs slow, or not there?"


class Stopped(FetchError):
    """Whoever started this first boot has had enough of it."""


@contextmanager
def raise_when_stopped(log: Log) -> Iterator[None]:
    """Let SIGTERM end what is in the block like an error does.

    Raises:
        Stopped
    """
    started = time.monotonic()

    def stop(*_: object) -> NoReturn:
        after = f"the first boot was stopped after {time.monotonic() - started:.0f} s"
        raise Stopped(f"{after}, before it could {log.current}" if log.current else after, _HINT)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: the signal is somebody else's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

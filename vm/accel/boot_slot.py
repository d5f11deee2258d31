"""Under emulation only one machine starts its kernel at a time on a host, in the order in which they ask.

Two kernels that start together on two processors miss timer interrupts while they calibrate clocks, and then stall.
Once the guest's programs run, in the initrd or later, any number of machines may go on.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

from builder.core.console import Console
from builder.core.store import Store
from vm.spec import Accel

LOCK = "vm-boot"
# A boot that takes longer is none any more: the guest has stopped, or waits for something, and so would everybody else.
MOST_SECONDS = 300.0


class BootSlot:
    """The right to boot. Taking it may wait; giving it back twice is allowed, and from any thread.

    It is given back by itself after ``most`` seconds.
    """

    def __init__(self, store: Store, console: Console, accel: Accel, most: float = MOST_SECONDS) -> None:
        self._store = store
        self._console = console
        self._needed = accel is Accel.TCG
        self._guard = threading.Lock()
        self._held = ExitStack()
        self._is_held = False
        self._most = most
        self._timer: threading.Timer | None = None

    def take(self) -> float:
        """Wait for our turn; returns the seconds that took."""
        if not self._needed:
            return 0.0
        started = time.monotonic()
        held = ExitStack()
        held.enter_context(
            self._store.lock(LOCK, self._console, "booting a virtual machine under emulation", in_turn=True)
        )
        with self._guard:
            self._held, self._is_held = held, True
            self._timer = threading.Timer(self._most, self.give_back)
            self._timer.daemon = True
            self._timer.start()
        return time.monotonic() - started

    @property
    def is_held(self) -> bool:
        """Whether others wait for us."""
        with self._guard:
            return self._is_held

    def give_back(self) -> None:
        """The machine's kernel has started, or never will."""
        with self._guard:
            held, self._held = self._held, ExitStack()
            self._is_held = False
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        held.close()

"""Start the machine again, in good order."""

from __future__ import annotations

import os
import signal

SECONDS = 60.0


class StartAgain(Exception):
    """The machine has to start again before it can go on; the message says why, for people."""


def restart() -> None:
    """Ask systemd to restart the machine, and wait to be told to go.

    Raises:
        OSError: it does not happen.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it is what systemd will say
    # systemd(1), "SIGNALS": starts reboot.target. No program is needed for it, and none of the initrd is in our root.
    os.kill(1, signal.SIGRTMIN + 5)
    if signal.sigtimedwait([signal.SIGTERM], SECONDS) is None:
        raise TimeoutError(f"the machine has not started again for {SECONDS:.0f} s after it was told to")

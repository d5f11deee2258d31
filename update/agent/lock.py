"""One update at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from update.agent.host import Host
from update.errors import UpdateError

LOCK = "/run/update/lock"


@contextmanager
def hold_lock(host: Host) -> Iterator[None]:
    """Nobody else changes slots or state meanwhile. It ends with the process, whatever becomes of that.

    Raises:
        UpdateError: somebody else holds it.
    """
    path = host.locate(LOCK)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise UpdateError(f"{LOCK} cannot be opened: {error.strerror}; root may update the machine") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UpdateError(
                "another update is running; 'journalctl -u os-update' says what it does, if its timer began it"
            ) from None
        yield

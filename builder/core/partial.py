"""Downloads in progress: ``partial/SHA256`` in the store.

The file is also the lock: whoever fetches it holds ``flock(2)`` on it, so two builds on one store fetch each file once,
and a killed build leaves something to go on from.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from builder.core.console import Console
from builder.core.http import Stopped
from builder.core.store import Store


@contextmanager
def claim_partial(
    store: Store, sha256: str, size: int | None, what: str, stop: threading.Event, console: Console
) -> Iterator[BinaryIO | None]:
    """The partial file, held exclusively; ``None`` if another build has completed it in the meantime.

    Raises:
        Stopped: ``stop`` was set while another build had it.
    """
    path = _locate_partial(store, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    said = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    said = True
                    console.note(f"another build is downloading {what}; waiting for it")
                if stop.wait(0.1):
                    raise Stopped from None
                continue
            if store.has_blob(sha256, size):
                _unlink_if_same(path, file)
                yield None
                return
            if not _is_same(path, file):  # renamed or removed between our open and our lock
                continue
            yield file
            return


def keep_partial(store: Store, sha256: str, file: BinaryIO) -> None:
    """Give a partial file that is whole, and was compared with its hash, its place among the blobs."""
    blob = store.locate_blob(sha256)
    blob.parent.mkdir(parents=True, exist_ok=True)
    os.fchmod(file.fileno(), 0o644)
    _locate_partial(store, sha256).rename(blob)


def measure_partial(store: Store, sha256: str) -> int:
    """How many bytes of a download an earlier run has left."""
    try:
        return _locate_partial(store, sha256).lstat().st_size
    except OSError:
        return 0


def _locate_partial(store: Store, sha256: str) -> Path:
    return store.root / "partial" / sha256


def _is_same(path: Path, file: BinaryIO) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    here = os.fstat(file.fileno())
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _unlink_if_same(path: Path, file: BinaryIO) -> None:
    if _is_same(path, file):
        path.unlink(missing_ok=True)

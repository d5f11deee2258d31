"""Directories that a build has for itself while it runs."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.core.console import Console
from builder.core.locks import hold_lock
from builder.core.store import Store


@contextmanager
def open_scratch(store: Store, console: Console) -> Iterator[Path]:
    """A directory on the store's file system, gone afterwards. Those of killed builds are swept here as well."""
    parent = store.root / "scratch"
    parent.mkdir(exist_ok=True)
    sweep_scratch(parent)
    with (
        tempfile.TemporaryDirectory(dir=parent, prefix="build-", ignore_cleanup_errors=True) as directory,
        hold_lock(Path(directory) / ".alive", console, "building"),
    ):
        yield Path(directory)


def sweep_scratch(parent: Path) -> None:
    """Remove scratch directories whose build is gone: nobody holds their lock any more."""
    for directory in parent.glob("build-*"):
        try:
            # Not made here: a directory without it belongs to a build that begins just now.
            with (directory / ".alive").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):
            continue

"""Room on a file system, asked for before anything is written to it."""

from __future__ import annotations

import os
from pathlib import Path

from update.errors import UpdateError


def require_space(path: Path, needed: int, what: str) -> None:
    """Whether so many bytes have room on the file system of a path.

    Args:
        what: what has no room, for the message.

    Raises:
        UpdateError: with the bytes that are needed and those that are free.
    """
    usage = os.statvfs(path)
    free = usage.f_bavail * usage.f_frsize
    if free < needed:
        raise UpdateError(f"{what} has no room: {needed} bytes are needed, and {free} are free")

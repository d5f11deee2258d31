"""Mounts for as long as a block: the EFI system partition, and the image's own root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from update.agent.host import Host


@contextmanager
def mount(host: Host, target: str, *arguments: str) -> Iterator[Path]:
    """Run ``mount ARGUMENTS TARGET``, and undo it at the end.

    Raises:
        UpdateError: it cannot be mounted, or is busy at the end.
    """
    path = host.locate(target)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.ismount(path):  # left behind by one that was killed
        host.run(["umount", str(path)])
    host.run(["mount", *arguments, str(path)])
    try:
        yield path
    finally:
        host.run(["umount", str(path)])
        with suppress(OSError):
            path.rmdir()

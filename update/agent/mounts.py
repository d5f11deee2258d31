"""Mounts for as long as a block: the EFI system partition, and the image's own root.

Each process has places of its own: a directory that is removed takes what is mounted on it in other mount namespaces
(``PrivateMounts=``) along, so that a look at the state would take the partition from an update that is being written.
"""

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
    shared = host.locate(target)
    path = shared.with_name(f"{shared.name}.{os.getpid()}")
    for left in shared.parent.glob(f"{shared.name}.*"):
        if left == path or not Path("/proc", left.suffix[1:]).exists():  # of a process that was killed
            _remove(host, left)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    host.run(["mount", *arguments, str(path)])
    try:
        yield path
    finally:
        host.run(["umount", str(path)])
        with suppress(OSError):
            path.rmdir()


def _remove(host: Host, path: Path) -> None:
    if os.path.ismount(path):
        host.run(["umount", str(path)])
    with suppress(OSError):
        path.rmdir()

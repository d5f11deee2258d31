"""See to it that what was written is on the disk, or say that it is not."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from firstboot.apply.action import Machine
from firstboot.apply.programs import ProgramError
from firstboot.places import STATE

_WRITTEN = ("/", "/etc", "/var", STATE)


def sync(machine: Machine, mount_points: Iterable[str] = ()) -> None:
    """Write out every file system that a config is carried out on. sync(2) would not tell of errors, syncfs(2) does.

    Args:
        mount_points: of further ones, as we see them.

    Raises:
        OSError (EIO): something could not be written, now or earlier.
    """
    top = machine.root.directory.rstrip("/")
    paths = [path for directory in _WRITTEN if os.path.isdir(path := top + directory)]  # noqa: PTH112 - the root may be "/"
    try:
        machine.programs.run(["sync", "--file-system", *paths, *mount_points])
    except ProgramError as error:
        what = "\n".join(["what was written did not reach the disk", *(f"  {line}" for line in error.details)])
        raise OSError(errno.EIO, what) from None

"""Subvolumes of a btrfs filesystem: made, or kept if they are there (btrfs(8))."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from firstboot.apply.action import Machine, Refused
from firstboot.apply.disks.devices import wait_for
from firstboot.apply.programs import Programs
from firstboot.config.devices import Filesystem, Subvolume
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path

_INODE = 256  # of the top of every subvolume; BTRFS_FIRST_FREE_OBJECTID


class MakeSubvolumes(NamedTuple):
    """Make those of one filesystem that are missing, and set what the config says of them."""

    filesystem: Filesystem
    at: Path

    def describe(self) -> str:
        names = ", ".join(subvolume.name for subvolume in self.filesystem.subvolumes)
        return f"make the subvolumes {names} on {self.filesystem.device}"

    def perform(self, machine: Machine) -> None:
        programs = machine.programs
        with mount_top(wait_for(self.filesystem.device), programs) as top:
            for subvolume in self.filesystem.subvolumes:
                make(subvolume, top, programs)


def make(wanted: Subvolume, top: str, programs: Programs) -> None:
    """Make one, below the mounted top of its filesystem.

    Raises:
        Refused: something else is where it or a directory above it would be. ProgramError, OSError.
    """
    *above, last = wanted.name.split("/")
    here = top
    for part in above:
        here = f"{here}/{part}"
        if _kind(here) is None:
            os.mkdir(here, 0o755)  # noqa: PTH102 - the mounted filesystem, not the root
        elif not stat.S_ISDIR(os.lstat(here).st_mode):
            raise Refused(f"the subvolume {wanted.name} cannot be made: {here.removeprefix(top)} is no directory")
    here = f"{here}/{last}"
    inode = _kind(here)
    if inode is None:
        programs.run(["btrfs", "subvolume", "create", here])
    elif inode != _INODE or not stat.S_ISDIR(os.lstat(here).st_mode):
        raise Refused(f"there is a '{wanted.name}' already, and it is no subvolume")
    if wanted.compression is not None:
        programs.run(["btrfs", "property", "set", "-t", "inode", here, "compression", wanted.compression])
    if wanted.default:
        programs.run(["btrfs", "subvolume", "set-default", here])


@contextmanager
def mount_top(device: str, programs: Programs) -> Iterator[str]:
    """The filesystem mounted by its top, whatever its default subvolume is."""
    with tempfile.TemporaryDirectory(dir="/run" if os.access("/run", os.W_OK) else None) as directory:
        programs.run(["mount", "-t", "btrfs", "-o", "subvolid=5", device, directory])
        try:
            yield directory
        finally:
            programs.run(["umount", directory])


def _kind(path: str) -> int | None:
    """The inode number of what is there, links not followed; ``None`` if nothing is."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None

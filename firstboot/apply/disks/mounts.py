"""Mount the config's filesystems below the root while files are written (mount(8))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from firstboot.apply.action import Machine, Refused
from firstboot.apply.disks.devices import wait_for
from firstboot.config.devices import Filesystem
from firstboot.config.models import Config
from firstboot.config.text import Path

UNMOUNTED = ("swap", "none")


class MountFilesystem(NamedTuple):
    """Mount one; directories on the way are made, and must be directories."""

    filesystem: Filesystem
    at: Path

    def describe(self) -> str:
        return f"mount {self.filesystem.device} at {self.filesystem.path}"

    def perform(self, machine: Machine) -> None:
        wanted = self.filesystem
        target = make_mount_point(str(wanted.path), machine)
        options = ["-o", ",".join(wanted.mount_options)] if wanted.mount_options else []
        device = wanted.device if wanted.format == "virtiofs" else wait_for(wanted.device)
        machine.programs.run(["mount", *options, "-t", str(wanted.format), device, target])


class UnmountFilesystem(NamedTuple):
    """Unmount one."""

    filesystem: Filesystem
    at: Path

    def describe(self) -> str:
        return f"unmount {self.filesystem.path}"

    def perform(self, machine: Machine) -> None:
        machine.programs.run(["umount", _outside(os.path.normpath(str(self.filesystem.path)), machine)])


def make_mount_point(path: str, machine: Machine) -> str:
    """Make the directories that are missing; returns the mount point as we see it.

    Raises:
        Refused: something on the way is a link or no directory. OSError.
    """
    target = os.path.normpath(path)
    for part in (*reversed(PurePosixPath(target).parents), PurePosixPath(target)):
        seen = machine.root.see(str(part))
        if seen.path != str(part) or (seen.stat is not None and not seen.is_directory):
            raise Refused(f"{path} cannot be a mount point: {part} is no directory")
        if seen.stat is None:
            machine.root.make_directory(str(part))
            machine.mount_points.append(str(part))
    return _outside(target, machine)


def depth(filesystem: Filesystem) -> tuple[int, str]:
    """What mounts are sorted by: the shallowest first."""
    path = os.path.normpath(str(filesystem.path))
    return len(PurePosixPath(path).parts), path


def mounted(config: Config) -> Iterator[tuple[Filesystem, Path]]:
    """What the config wants mounted while files are written, and where it says so."""
    return (each for each in with_a_place(config) if each[0].format not in UNMOUNTED)


def with_a_place(config: Config) -> Iterator[tuple[Filesystem, Path]]:
    """What has a mount point, a subvolume as a filesystem that shows it, and where the config says so."""
    for index, filesystem in enumerate(config.storage.filesystems):
        at: Path = ("storage", "filesystems", index)
        if filesystem.path:
            yield filesystem, at
        for position, subvolume in enumerate(filesystem.subvolumes):
            if subvolume.path:
                yield filesystem.showing(subvolume), (*at, "subvolumes", position)


def _outside(path: str, machine: Machine) -> str:
    return machine.root.directory.rstrip("/") + path

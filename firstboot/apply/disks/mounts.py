"""Mount the config's filesystems below the root while files are written (mount(8))."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from firstboot.apply.action import Machine, Refused
from firstboot.apply.disks.devices import wait_for
from firstboot.config.devices import Filesystem
from firstboot.config.models import Config
from firstboot.config.mount_points import UNMOUNTED, format_mount_point, list_mounted_filesystems
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path


class MountFilesystem(NamedTuple):
    """Mount one; directories on the way are made, and must be directories."""

    filesystem: Filesystem
    at: Path

    def describe(self) -> str:
        return f"mount {self.filesystem.device} at {self.filesystem.path}"

    def perform(self, machine: Machine) -> None:
        wanted = self.filesystem
        target = make_mount_point(format_mount_point(wanted), machine)
        options = ["-o", ",".join(wanted.mount_options)] if wanted.mount_options else []
        device = wanted.device if wanted.format == "virtiofs" else wait_for(wanted.device)
        machine.programs.run(["mount", *options, "-t", str(wanted.format), device, target])
        machine.mounted.append(target)


class UnmountFilesystem(NamedTuple):
    """Unmount one."""

    filesystem: Filesystem
    at: Path

    def describe(self) -> str:
        return f"unmount {self.filesystem.path}"

    def perform(self, machine: Machine) -> None:
        target = _outside(format_mount_point(self.filesystem), machine)
        machine.programs.run(["umount", target])
        if target in machine.mounted:  # not where each stage is a process of its own
            machine.mounted.remove(target)


def make_mount_point(path: str, machine: Machine) -> str:
    """Make the directories that are missing; returns the mount point as we see it.

    Raises:
        Refused: something on the way is a link or no directory. OSError.
    """
    for part in list_parts(path):
        seen = machine.root.see(part)
        if seen.path != part or (seen.stat is not None and not seen.is_directory):
            raise Refused(f"{path} cannot be a mount point: {part} is no directory")
        if seen.stat is None:
            machine.root.make_directory(part)
            machine.mount_points.append(part)
    return _outside(path, machine)


def list_parts(place: str) -> list[str]:
    """A path and all above it, from the top."""
    return [str(part) for part in (*reversed(PurePosixPath(place).parents), PurePosixPath(place))]


def measure_depth(filesystem: Filesystem) -> tuple[int, str]:
    """What mounts are sorted by: the shallowest first."""
    path = format_mount_point(filesystem)
    return len(PurePosixPath(path).parts), path


def list_to_mount(config: Config) -> Iterator[tuple[Filesystem, Path]]:
    """What the config wants mounted while files are written, and where it says so."""
    return (row for row in list_mounted_filesystems(config) if row[0].format not in UNMOUNTED)


def _outside(path: str, machine: Machine) -> str:
    return machine.root.directory.rstrip("/") + path

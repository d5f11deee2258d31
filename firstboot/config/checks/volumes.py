"""Volume groups (LVM) and subvolumes (btrfs), which only ``variant: buildos`` has."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from firstboot.config.checks.nodes import check_path
from firstboot.config.devices import Filesystem, LogicalVolume, Subvolume, VolumeGroup
from firstboot.config.models import Storage
from firstboot.config.text import Path, Problem

_NAME = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]*")  # lvm(8), "VALID NAMES"
NAMES_MAX = 125  # bytes; a mapped device's name has 127, and joins both names with a hyphen
# lvm(8): what LVM calls parts of its own.
_OWN_STARTS = ("snapshot", "pvmove")
_OWN_PARTS: tuple[str, ...] = (
    "_cdata",
    "_cmeta",
    "_corig",
    "_cpool",
    "_cvol",
    "_wcorig",
    "_iorig",
    "_mimage",
    "_mlog",
    "_pmspare",
)
_OWN_PARTS += ("_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_imeta")
# Directories of /dev that are not a volume group's.
_TAKEN = ("block", "bus", "char", "disk", "dri", "fd", "input", "mapper", "md", "mqueue", "net", "pts", "shm", "snd")

COMPRESSIONS = ("zlib", "lzo", "zstd")
SUBVOLUME_MAX = 255  # bytes of each part of its name; BTRFS_NAME_LEN
_UNFIT = re.compile(r"""[\s,%"'\\\x00-\x1f]""")  # in an option for mount, and in a unit
OWN_OPTIONS = ("subvol", "subvolid")


def check_volumes(storage: Storage) -> Iterator[Problem]:
    """Everything that is wrong with them."""
    for index, group in enumerate(storage.lvm):
        yield from _group(group, ("storage", "lvm", index))
    yield from _devices_twice(storage)
    for index, filesystem in enumerate(storage.filesystems):
        if filesystem.subvolumes:
            yield from _subvolumes(filesystem, ("storage", "filesystems", index))
    yield from _mount_points_twice(storage)


# --- LVM ---


def _group(group: VolumeGroup, path: Path) -> Iterator[Problem]:
    yield from _name(group.name, "a volume group", (*path, "name"))
    if group.name in _TAKEN:
        yield Problem((*path, "name"), f"/dev/{group.name} is a directory of its own", "give the group another name")
    if not group.devices:
        yield Problem((*path, "devices"), "the devices of a volume group are required")
    for index, device in enumerate(group.devices):
        yield from check_path(device, (*path, "devices", index))
    rest: LogicalVolume | None = None
    for index, volume in enumerate(group.volumes):
        here = (*path, "volumes", index)
        yield from _volume(volume, here)
        if len(f"{group.name}{volume.name}".encode()) > NAMES_MAX:
            yield Problem((*here, "name"), f"the names of group and volume have more than {NAMES_MAX} bytes together")
        if rest is not None:
            yield Problem(here, f"nothing is left for it: '{rest.name}' takes all that is free", "put that one last")
        if volume.size_percent == 100 or (volume.size_mib is None and volume.size_percent is None):
            rest = rest or volume


def _volume(volume: LogicalVolume, path: Path) -> Iterator[Problem]:
    yield from _name(volume.name, "a logical volume", (*path, "name"))
    if volume.name.startswith(_OWN_STARTS) or any(part in volume.name for part in _OWN_PARTS):
        yield Problem((*path, "name"), f"LVM keeps names like '{volume.name}' for itself")
    if volume.size_mib is not None and volume.size_percent is not None:
        yield Problem((*path, "sizePercent"), "give either a size in MiB or in percent, not both")
    if volume.size_mib is not None and volume.size_mib <= 0:
        yield Problem((*path, "sizeMiB"), "the size is at least 1 MiB", "without a size it takes all that is free")
    if volume.size_percent is not None and not 1 <= volume.size_percent <= 100:
        yield Problem((*path, "sizePercent"), "this is a percentage of what is free, from 1 to 100")


def _name(name: str, what: str, at: Path) -> Iterator[Problem]:
    if not name:
        yield Problem(at, f"the name of {what} is required")
    elif not _NAME.fullmatch(name) or name in (".", ".."):
        yield Problem(at, f"'{name}' cannot be the name of {what}", "letters, digits and + _ . -, the last not first")


def _devices_twice(storage: Storage) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for index, group in enumerate(storage.lvm):
        for position, device in enumerate(group.devices):
            other = first.setdefault(device, group.name)
            if other != group.name:
                at = ("storage", "lvm", index, "devices", position)
                yield Problem(at, f"{device} is a device of the volume group '{other}' already")


# --- btrfs ---


def _subvolumes(filesystem: Filesystem, path: Path) -> Iterator[Problem]:
    if filesystem.format != "btrfs":
        yield Problem((*path, "subvolumes"), "only a btrfs filesystem has subvolumes", "format: btrfs", on_key=True)
    default: Subvolume | None = None
    for index, subvolume in enumerate(filesystem.subvolumes):
        here = (*path, "subvolumes", index)
        parts = subvolume.name.split("/")
        if not subvolume.name:
            yield Problem((*here, "name"), "the name of a subvolume is required")
        elif any(name in ("", ".", "..") or len(name.encode()) > SUBVOLUME_MAX for name in parts) or _UNFIT.search(
            subvolume.name
        ):
            message = f"'{subvolume.name}' cannot be the name of a subvolume"
            hint = "a path without / at either end, without '..', spaces, quotes, commas, backslashes and %"
            yield Problem((*here, "name"), message, hint)
        if subvolume.path:
            yield from check_path(subvolume.path, (*here, "path"))
        elif subvolume.mount_options:
            yield Problem((*here, "mountOptions"), "options for mounting need a path to mount it at")
        if subvolume.compression is not None and subvolume.compression not in COMPRESSIONS:
            message = f"the compression '{subvolume.compression}' is not known"
            yield Problem((*here, "compression"), message, f"it is one of {', '.join(COMPRESSIONS)}")
        for position, option in enumerate(subvolume.mount_options):
            if option.partition("=")[0] in OWN_OPTIONS:
                yield Problem((*here, "mountOptions", position), "which subvolume is mounted is said by its name")
        if subvolume.default and default is not None:
            yield Problem((*here, "default"), f"the subvolume '{default.name}' is the default already")
        if subvolume.default:
            default = default or subvolume


def _mount_points_twice(storage: Storage) -> Iterator[Problem]:
    """Only where a subvolume is one of the two: what else is mounted twice, Ignition allows."""
    taken = {
        posixpath.normpath(str(filesystem.path)): str(filesystem.device)
        for filesystem in storage.filesystems
        if filesystem.path
    }
    for index, filesystem in enumerate(storage.filesystems):
        for position, subvolume in enumerate(filesystem.subvolumes):
            if not subvolume.path:
                continue
            other = taken.setdefault(posixpath.normpath(subvolume.path), mine := f"'{subvolume.name}'")
            if other is not mine:
                at = ("storage", "filesystems", index, "subvolumes", position, "path")
                yield Problem(at, f"{other} is mounted at {subvolume.path} already")

"""What Butane says about configs beyond Ignition's own rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from firstboot.config.butane.mounts import is_swap
from firstboot.config.butane.variants import Edition
from firstboot.config.devices import Filesystem
from firstboot.config.fields import list_fields
from firstboot.config.model import Model
from firstboot.config.models import Config, Directory, File
from firstboot.config.text import Path, Problem

BOOT_DISK = "/dev/disk/by-id/coreos-boot-disk"
ROOT_MIN_MIB = 8192
# Labels of Fedora CoreOS' own partitions, and their numbers.
_NUMBERS = {"BIOS-BOOT": 1, "PowerPC-PReP-boot": 1, "EFI-SYSTEM": 2, "boot": 3, "root": 4}
_MOUNT_POINTS = re.compile(r"/(etc|var)(/|$)")


def check_forbidden(config: Config, edition: Edition) -> Iterator[Problem]:
    """Settings that the variant does not have."""
    for setting in edition.without:
        yield from _forbidden(config, setting.split("."), ())


def _forbidden(part: object, names: list[str], path: Path) -> Iterator[Problem]:
    if isinstance(part, tuple):
        for index, element in enumerate(part):
            yield from _forbidden(element, names, (*path, index))
        return
    name, *rest = names
    assert isinstance(part, Model)
    inner = getattr(part, next(field.name for field in list_fields(type(part)).values() if field.alias == name))
    if rest:
        yield from _forbidden(inner, rest, (*path, name))
    elif inner not in (None, "", ()) and not (isinstance(inner, Model) and inner == type(inner)()):
        yield Problem((*path, name), f"'{name}' is not supported by this variant", on_key=True)


def check_modes(config: Config) -> Iterator[Problem]:
    """A mode that was meant in octal and is written in decimal."""
    lists: list[tuple[str, Sequence[File | Directory]]] = [
        ("files", config.storage.files),
        ("directories", config.storage.directories),
    ]
    for name, nodes in lists:
        for index, node in enumerate(nodes):
            if node.mode is not None and _looks_decimal(node.mode, directory=name == "directories"):
                hint = f"write it with a leading zero, like 0{node.mode}"
                where = ("storage", name, index, "mode")
                yield Problem(where, "this mode looks decimal", hint, "warning")


def _looks_decimal(mode: int, *, directory: bool) -> bool:
    if not re.fullmatch("[0-7]{1,4}", str(mode)):
        return False
    return is_typical(int(str(mode), 8), directory=directory) and not is_typical(mode, directory=directory)


def is_typical(mode: int, *, directory: bool) -> bool:
    """Whether people use such a mode: nobody may do what a closer class may not, or act without reading."""
    if mode == 0:
        return True
    classes = [mode & 0o7, mode >> 3 & 0o7, mode >> 6 & 0o7]  # others, group, user
    readers = 0
    for bits, closer in zip(classes, [*classes[1:], 0o7], strict=True):
        if bits & ~closer or (bits & 0o3 and not bits & 0o4):
            return False
        if readers & 0o4 and bits & 0o1 and not readers & 0o1:
            return False  # executable here, but readers further out may only read
        readers |= bits
    if not readers & 0o4:
        return False
    return _special_is_typical(mode, readers, directory=directory)


def _special_is_typical(mode: int, anyone: int, *, directory: bool) -> bool:
    if directory:
        shared = not mode & 0o3000 or bool(anyone & 0o2)
        return bool(anyone & 0o1) and not mode & 0o4000 and shared
    runs_as_another = mode & 0o6000
    if runs_as_another and (not anyone & 0o1 or mode & 0o2):
        return False
    return not mode & 0o1000


def check_mount_units(wanted: dict[Path, Filesystem], edition: Edition) -> Iterator[Problem]:
    """Filesystems that are to have a mount unit, by where they are."""
    for here, filesystem in wanted.items():
        if not filesystem.format:
            yield Problem((*here, "format"), "a filesystem with a mount unit needs a format")
        elif not filesystem.path and not is_swap(filesystem, edition.spec):
            yield Problem((*here, "path"), "a filesystem with a mount unit needs a path")
        strict = edition.coreos and edition.spec >= (3, 5)
        if strict and filesystem.path is not None and not _MOUNT_POINTS.match(filesystem.path):
            yield Problem((*here, "path"), "a mount unit's path must be under /etc or /var")


def check_reuse(config: Config, edition: Edition, mirrored: frozenset[object]) -> Iterator[Problem]:
    """Partitions that look as if they were found by their label, which they are not.

    Args:
        mirrored: disks of the boot device's mirror, whose partitions are overridden by their labels.
    """
    if not edition.coreos or edition.spec < (3, 5):
        return
    for index, disk in enumerate(config.storage.disks):
        if disk.device == BOOT_DISK or disk.wipe_table or disk.device in mirrored:
            continue
        for position, partition in enumerate(disk.partitions):
            if partition.number == 0 and partition.label is not None:
                where = ("storage", "disks", index, "partitions", position, "number")
                message = "a partition is not found by its label: this makes a new one"
                yield Problem(where, message, "give its number, or wipe the table", "warning")


def check_partitions(config: Config, edition: Edition) -> Iterator[Problem]:
    """The partitions of Fedora CoreOS' own, in the config with all its sugar made."""
    if not edition.coreos:
        return
    for index, disk in enumerate(config.storage.disks):
        for position, partition in enumerate(disk.partitions):
            here = ("storage", "disks", index, "partitions", position)
            if partition.label == "root" and edition.boot_device:
                following = disk.partitions[position + 1 :]
                if partition.size_mib and partition.size_mib < ROOT_MIN_MIB:
                    yield Problem((*here, "sizeMiB"), "the root partition should have 8 GiB", None, "warning")
                elif not partition.size_mib and any(not other.start_mib for other in following):
                    message = "the root partition cannot grow: one that follows takes the space after it"
                    yield Problem((*here, "label"), message, "give its size, or start that one later", "warning")
            number = _NUMBERS.get(partition.label or "")
            if not disk.wipe_table and number is not None and partition.number != number:
                message = f"this is not partition {number}, so it is a new one of the same name"
                yield Problem((*here, "label"), message, f"give it the number {number}", "warning")

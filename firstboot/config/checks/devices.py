"""Disks, RAID, encryption and filesystems. Apart, because few machines have any."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from firstboot.config.checks.nodes import check_path
from firstboot.config.checks.resources import check_resource
from firstboot.config.devices import Disk, Filesystem, Luks, Partition, Raid, Tang
from firstboot.config.models import Storage
from firstboot.config.text import Path, Problem
from firstboot.config.urls import BadUrl, check_url, parse_scheme

Version = tuple[int, int]

_GUID = re.compile(r"(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})?")
GPT_LABEL_MAX = 36  # bytes; the table has room for 36 UTF-16 code units
LUKS_LABEL_MAX = 47  # bytes; LUKS2_LABEL_L of cryptsetup less the NUL

STRIPED = ("linear", "raid0", "0", "stripe")
LEVELS = (*STRIPED, "raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6", "raid10", "10")

# format -> the spec version that knows it
FORMATS: dict[str, Version] = {
    "ext4": (3, 0),
    "btrfs": (3, 0),
    "xfs": (3, 0),
    "vfat": (3, 0),
    "swap": (3, 0),
    "none": (3, 3),
    "virtiofs": (3, 7),
}
LABEL_MAX = {"ext4": 16, "btrfs": 256, "xfs": 12, "swap": 15, "vfat": 11}  # bytes, as their mkfs accepts
VIRTIOFS_TAG_MAX = 36  # bytes; struct virtio_fs_config

PINS = ("tpm2", "tang", "sss")  # all that a custom Clevis pin could be before 3.6


def check_devices(storage: Storage, version: Version) -> Iterator[Problem]:
    """Everything that is wrong with the block devices of a config, and everything worth a warning."""
    for index, disk in enumerate(storage.disks):
        yield from _disk(disk, ("storage", "disks", index))
    for index, raid in enumerate(storage.raid):
        yield from _raid(raid, ("storage", "raid", index), version)
    for index, luks in enumerate(storage.luks):
        yield from _luks(luks, ("storage", "luks", index), version)
    disks = {disk.device: disk for disk in storage.disks}
    for index, filesystem in enumerate(storage.filesystems):
        path = ("storage", "filesystems", index)
        yield from _filesystem(filesystem, path, version)
        yield from _filesystem_on_disk(filesystem, disks.get(filesystem.device), path)


# --- disks ---


def _disk(disk: Disk, path: Path) -> Iterator[Problem]:
    if disk.device:
        yield from check_path(disk.device, (*path, "device"))
    else:
        yield Problem((*path, "device"), "the device of the disk is required")
    here = (*path, "partitions")
    for index, partition in enumerate(disk.partitions):
        yield from _partition(partition, (*here, index))
    yield from _numbers_and_labels(disk.partitions, here)
    overlapping = _find_overlap(disk.partitions)
    if overlapping is not None:
        one, other = overlapping
        yield Problem((*here, other), f"this partition overlaps partition {one + 1} of the list")
    # One that is named for wiping may go away: its number may be given to another.
    kept_away = any(
        partition.should_exist is False and not partition.wipe_partition_entry for partition in disk.partitions
    )
    if kept_away and any(
        partition.number == 0 and partition.should_exist is not False for partition in disk.partitions
    ):
        message = "a partition without a number cannot stand beside one that should not exist"
        yield Problem(here, message, "give every partition of this disk its number", on_key=True)


def _partition(partition: Partition, path: Path) -> Iterator[Problem]:
    if partition.should_exist is False:
        others = (partition.label, partition.start_mib, partition.size_mib)
        if any(other is not None for other in others) or partition.type_guid or partition.guid:
            message = "a partition that should not exist has nothing but a number"
            yield Problem(path, message, "leave out label, sizes and GUIDs, or shouldExist")
    if partition.number == 0 and partition.label is None:
        yield Problem(path, "a partition needs a number (from 1 on) or a label")
    label = partition.label or ""
    if len(label.encode()) > GPT_LABEL_MAX:
        yield Problem((*path, "label"), f"the label is longer than {GPT_LABEL_MAX} bytes")
    elif ":" in label:
        yield Problem((*path, "label"), "a partition's label cannot contain ':'")
    for name, guid in (("guid", partition.guid), ("typeGuid", partition.type_guid)):
        if guid is not None and not _GUID.fullmatch(guid):
            yield Problem((*path, name), "this is not a GUID", "write one like 01234567-89AB-CDEF-EDCB-A98765432101")


def _numbers_and_labels(partitions: Sequence[Partition], path: Path) -> Iterator[Problem]:
    """The first number and the first label that is used twice."""
    numbers = [partition.number or None for partition in partitions]
    labels = [partition.label for partition in partitions]
    values: Sequence[int | str | None]
    for what, values in (("number", numbers), ("label", labels)):
        first: dict[int | str, int] = {}
        for index, value in enumerate(values):
            if value is None or first.setdefault(value, index) == index:
                continue
            where = first[value] + 1
            yield Problem((*path, index), f"the {what} '{value}' is already that of partition {where} of the list")
            break


def _find_overlap(partitions: Sequence[Partition]) -> tuple[int, int] | None:
    """The first partition that overlaps another, and the first other. Only where start and size are given.

    A size of 0, all that is left, counts as one.
    """
    places = sorted(
        (partition.start_mib, partition.start_mib + max(partition.size_mib - 1, 0), index)
        for index, partition in enumerate(partitions)
        if partition.start_mib and partition.size_mib is not None
    )
    overlapping = []
    reached = -(2**63)
    for position, (start, end, index) in enumerate(places):
        following = places[position + 1][0] if position + 1 < len(places) else end + 1
        if start <= reached or following <= end:
            overlapping.append((index, start, end))
        reached = max(reached, end)
    if not overlapping:
        return None
    one, start, end = min(overlapping)
    return one, min(index for other, last, index in places if index != one and other <= end and start <= last)


# --- RAID ---


def _raid(raid: Raid, path: Path, version: Version) -> Iterator[Problem]:
    here = (*path, "level")
    if not raid.level and version >= (3, 3):
        yield Problem(here, "the level of a RAID is required")
    elif raid.level not in LEVELS:
        yield Problem(here, f"the RAID level '{raid.level or ''}' is not known", f"it is one of {', '.join(LEVELS)}")
    elif raid.level in STRIPED and raid.spares:
        yield Problem(here, f"a RAID of level {raid.level} cannot have spares")
    if not raid.devices:
        yield Problem((*path, "devices"), "the devices of a RAID are required")
    for index, device in enumerate(raid.devices):
        yield from check_path(device, (*path, "devices", index))


# --- encryption ---


def _luks(luks: Luks, path: Path, version: Version) -> Iterator[Problem]:
    if "/" in luks.name:
        yield Problem((*path, "name"), f"the name '{luks.name}' contains '/'")
    if len((luks.label or "").encode()) > LUKS_LABEL_MAX:
        yield Problem((*path, "label"), f"the label is longer than {LUKS_LABEL_MAX} bytes")
    if luks.device:
        yield from check_path(luks.device, (*path, "device"))
    else:
        yield Problem((*path, "device"), "the device to encrypt is required")
    yield from _clevis(luks, (*path, "clevis"), version)
    if luks.cex.enabled:
        if _has_clevis(luks):
            yield Problem((*path, "cex"), "give either cex or clevis, not both")
        if luks.key_file.source:
            yield Problem((*path, "cex"), "give either cex or a key file, not both")
    yield from check_resource(luks.key_file, (*path, "keyFile"), version)
    if luks.key_file.source:
        try:
            check_url(luks.key_file.source, version)
        except BadUrl:
            yield Problem((*path, "keys"), "without its key file this cannot be encrypted")


def _has_clevis(luks: Luks) -> bool:
    clevis = luks.clevis
    return bool(clevis.custom.pin or clevis.tang or clevis.tpm2 or clevis.threshold)


def _clevis(luks: Luks, path: Path, version: Version) -> Iterator[Problem]:
    clevis = luks.clevis
    custom = clevis.custom
    if custom.pin and (clevis.tang or clevis.tpm2 or clevis.threshold):
        yield Problem(path, "give either custom or tpm2, tang and threshold, not both")
    if custom.pin or custom.config or custom.needs_network:
        here = (*path, "custom")
        if not custom.pin:
            yield Problem((*here, "pin"), "the pin is required")
        elif custom.pin not in PINS and version < (3, 6):
            yield Problem((*here, "pin"), f"the pin '{custom.pin}' is not known", f"it is one of {', '.join(PINS)}")
        if not custom.config:
            yield Problem((*here, "config"), "the config of the pin is required")
    for index, tang in enumerate(clevis.tang):
        yield from _tang(tang, (*path, "tang", index))


def _tang(tang: Tang, path: Path) -> Iterator[Problem]:
    try:
        if parse_scheme(tang.url) not in ("http", "https"):
            yield Problem((*path, "url"), "the URL of a Tang server begins with http:// or https://")
    except BadUrl as error:
        yield Problem((*path, "url"), str(error))
    if not tang.thumbprint:
        yield Problem((*path, "thumbprint"), "the thumbprint of the server's key is required")
    if tang.advertisement:
        try:
            json.loads(tang.advertisement)
        except (ValueError, RecursionError):
            yield Problem((*path, "advertisement"), "the advertisement is not JSON")


# --- filesystems ---


def _filesystem(filesystem: Filesystem, path: Path, version: Version) -> Iterator[Problem]:
    if filesystem.path:
        yield from check_path(filesystem.path, (*path, "path"))
    is_virtiofs = filesystem.format == "virtiofs" and version >= FORMATS["virtiofs"]
    if is_virtiofs:
        yield from _virtiofs(filesystem, path)
    else:
        yield from check_path(filesystem.device, (*path, "device"))
    yield from _format(filesystem, (*path, "format"), version)
    label = filesystem.label or ""
    if label and not filesystem.format:
        yield Problem((*path, "label"), "a label needs a format")
    longest = LABEL_MAX.get(filesystem.format or "")
    if longest is not None and len(label.encode()) > longest:
        yield Problem((*path, "label"), f"a label on {filesystem.format} has at most {longest} bytes")


def _format(filesystem: Filesystem, path: Path, version: Version) -> Iterator[Problem]:
    if filesystem.format:
        if FORMATS.get(filesystem.format, (9, 9)) > version:
            known = ", ".join(name for name, since in FORMATS.items() if since <= version)
            yield Problem(path, f"the format '{filesystem.format}' is not known", f"it is one of {known}")
        return
    others = (
        *(filesystem.path, filesystem.label, filesystem.uuid, filesystem.wipe_filesystem),
        *(filesystem.options, filesystem.mount_options),
    )
    if any(others):
        yield Problem(path, "the format is required beside any other setting of a filesystem")


def _virtiofs(filesystem: Filesystem, path: Path) -> Iterator[Problem]:
    """A share of the host, which has a tag instead of a device and nothing to make."""
    here = (*path, "device")
    if not filesystem.device:
        yield Problem(here, "the tag of the share is required")
    elif len(filesystem.device.encode()) > VIRTIOFS_TAG_MAX:
        yield Problem(here, f"the tag of a share has at most {VIRTIOFS_TAG_MAX} bytes")
    for name, value in (
        ("label", filesystem.label),
        ("uuid", filesystem.uuid),
        ("wipeFilesystem", filesystem.wipe_filesystem),
        ("options", filesystem.options),
    ):
        if value:
            yield Problem((*path, name), f"'{name}' is of no use with virtiofs: there is nothing to format")


def _filesystem_on_disk(filesystem: Filesystem, disk: Disk | None, path: Path) -> Iterator[Problem]:
    if disk is None:
        return
    here = (*path, "device")
    if disk.partitions:
        yield Problem(here, "the filesystem overwrites the partitions of this disk", None, "warning")
    elif disk.wipe_table and not filesystem.wipe_filesystem:
        message = "this disk has wipeTable, so the filesystem is wiped as well"
        yield Problem(here, message, "say so with wipeFilesystem", "warning")

"""The disk that the machine runs from, and its two slots.

A slot is a partition for the root and one each for its hash tree and the hash tree's signature. Their labels say which
version is in them: ``NAME_VERSION``, or ``_empty``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from firstboot.config.named_tuple import NamedTuple
from update.agent.host import Host
from update.agent.identity import Identity
from update.documents import Release
from update.errors import UpdateError
from update.gpt import HEAD, SECTOR, Partition, parse_gpt

EMPTY = "_empty"
# Part of a version -> its partition's type, by the name that sysupdate.d(5) and repart.d(5) have for it.
TYPES = {"root": "root", "verity": "root-verity", "signature": "root-verity-sig"}
_CHUNK = 1 << 20


class Slot(NamedTuple):
    """The slot that does not run: the partitions by part."""

    disk: str
    partitions: Mapping[str, Partition]


def find_disk(host: Host) -> str:
    """The disk that the verified root is on, like ``/dev/vda``.

    Raises:
        UpdateError: there is no verified root.
    """
    for device in sorted(host.locate("/sys/class/block").glob("dm-*")):
        try:
            name = (device / "dm/name").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if name == "root":
            parents = {slave.resolve().parent.name for slave in (device / "slaves").iterdir()}
            if len(parents) != 1:
                raise UpdateError(
                    f"the root is on {len(parents)} disks, {' and '.join(sorted(parents))}; it must be on one"
                )
            return f"/dev/{parents.pop()}"
    raise UpdateError("this machine has no verified root: it was not started from a disk that build-os has made")


def find_node(host: Host, disk: str, number: int) -> str:
    """The device of a disk's partition, like ``/dev/vda1``.

    Raises:
        UpdateError: the kernel knows none.
    """
    for path in sorted(host.locate(f"/sys/class/block/{Path(disk).name}").glob("*/partition")):
        if path.read_text(encoding="ascii").strip() == str(number):
            return f"/dev/{path.parent.name}"
    raise UpdateError(f"{disk} has no partition {number}")


def list_partitions(host: Host, disk: str) -> list[Partition]:
    """The partitions, as the table on the disk says; the kernel's labels are those of when it started.

    Raises:
        UpdateError: the disk cannot be read, or has no table.
    """
    size = host.locate(f"/sys/class/block/{Path(disk).name}/queue/logical_block_size")
    try:
        block = int(size.read_text(encoding="ascii")) if size.exists() else SECTOR
        with host.locate(disk).open("rb") as file:
            return parse_gpt(file.read(HEAD), block)
    except (OSError, ValueError) as error:
        raise UpdateError(f"{disk}: {error}") from None


def choose_slot(partitions: list[Partition], disk: str, identity: Identity) -> Slot:
    """The slot that does not run.

    Raises:
        UpdateError: a part of it is not there.
    """
    running = f"{identity.name}_{identity.version}"
    chosen = {}
    for part, kind in TYPES.items():
        ours = [
            partition
            for partition in partitions
            if partition.type == kind and (partition.name == EMPTY or partition.name.startswith(f"{identity.name}_"))
        ]
        free = [partition for partition in ours if partition.name != running]
        if len(ours) == len(free) and part != "signature":
            raise UpdateError(f"{disk} has no partition of type {kind} labelled {running}, which runs")
        # An empty one before one that something is in: so does systemd-sysupdate.
        free.sort(key=lambda partition: partition.name != EMPTY)
        if not free:
            raise UpdateError(f"{disk} has one partition of type {kind}: an update needs a second one")
        chosen[part] = free[0]
    return Slot(disk, chosen)


def check_sizes(slot: Slot, release: Release) -> None:
    """Whether a version fits into the slot.

    Raises:
        UpdateError: with the bytes that are needed and those that there are.
    """
    for part, partition in slot.partitions.items():
        if part in release.parts and release.parts[part].size > partition.size:
            raise UpdateError(
                f"the slot is too small: {part} of version {release.version} has {release.parts[part].size} bytes, "
                f"and partition {partition.number} of {slot.disk} has {partition.size}"
            )


def check_written(host: Host, disk: str, release: Release) -> None:
    """Whether what the disk gives back is the version: read from it, not from memory.

    Raises:
        UpdateError: a part is not there, or is not what was written.
    """
    label = f"{release.name}_{release.version}"
    there = {partition.type: partition for partition in list_partitions(host, disk) if partition.name == label}
    for part, kind in TYPES.items():
        if part not in release.parts:
            continue
        if kind not in there:
            raise UpdateError(f"{disk}: no partition of type {kind} is labelled {label} after the update was written")
        digest = _hash(host.locate(disk), there[kind].start, release.parts[part].size)
        if digest != release.parts[part].sha256:
            raise UpdateError(
                f"{disk} does not give back what was written to it: {part} in partition {there[kind].number} "
                f"has the hash {digest}, not {release.parts[part].sha256}"
            )


def _hash(disk: Path, start: int, size: int) -> str:
    digest = hashlib.sha256()
    try:
        with disk.open("rb") as file:
            os.posix_fadvise(file.fileno(), start, size, os.POSIX_FADV_DONTNEED)
            file.seek(start)
            left = size
            while left and (chunk := file.read(min(left, _CHUNK))):
                digest.update(chunk)
                left -= len(chunk)
    except OSError as error:
        raise UpdateError(f"{disk} cannot be read: {error.strerror}") from None
    return digest.hexdigest()

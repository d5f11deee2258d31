"""Damage to a machine's disk, as a bad cell or an intruder would do it, while the machine is off."""

from __future__ import annotations

import tempfile
from pathlib import Path

from builder.core.errors import VmError
from builder.core.tools import Tools
from update.gpt import HEAD, SECTOR, Partition, parse_gpt
from vm.spec import Disk

UNUSED = "_empty"  # what systemd-sysupdate calls the slot that is not in use


def list_partitions(disk: Disk, tools: Tools) -> list[Partition]:
    """The partitions of a disk, as the machine that writes it sees them.

    Raises:
        VmError: it has none.
        ToolError: the disk cannot be read.
    """
    try:
        return parse_gpt(_read(disk, tools, 0, HEAD), disk.block_size)
    except ValueError as error:
        raise VmError(f"the machine's disk: {error}") from None


def find_partition(partitions: list[Partition], name: str) -> Partition:
    """The partition with this name, or of this type: ``root-verity`` is that of the slot in use.

    Raises:
        VmError: there is none, or there are several.
    """
    used = [partition for partition in partitions if partition.name != UNUSED]
    chosen = [partition for partition in used if name in (partition.name, partition.type)]
    if len(chosen) != 1:
        listed = [f"there is {partition.name} of type {partition.type}" for partition in partitions]
        raise VmError(f"{len(chosen)} partitions are named {name!r}", details=listed)
    return chosen[0]


def invert_bytes(disk: Disk, tools: Tools, partition: Partition, offset: int, length: int) -> None:
    """Invert every bit of some bytes of a partition. Done twice, it is undone.

    Raises:
        VmError: they are not within the partition.
        ToolError: the disk cannot be read or written.
    """
    if offset < 0 or length < 1 or offset + length > partition.size:
        raise VmError(f"{length} bytes at {offset} are not within {partition.name}, which has {partition.size}")
    place = partition.start + offset
    data = _read(disk, tools, place, length)
    with tempfile.NamedTemporaryFile(dir=disk.path.parent) as file:
        file.write(bytes(byte ^ 0xFF for byte in data))
        file.flush()
        tools.run("qemu-io", "-f", disk.format, "-c", f"write -s {file.name} {place} {length}", disk.path)


def _read(disk: Disk, tools: Tools, place: int, length: int) -> bytes:
    """Bytes of the disk, as the machine that writes it sees it."""
    first, last = place // SECTOR, (place + length - 1) // SECTOR
    with tempfile.TemporaryDirectory(dir=disk.path.parent) as scratch:
        out = Path(scratch, "sectors")
        where = (f"bs={SECTOR}", f"skip={first}", f"count={last + 1}", f"if={disk.path}", f"of={out}")
        # Its count is from the beginning, with what is skipped.
        tools.run("qemu-img", "dd", "-f", disk.format, "-O", "raw", *where)
        return out.read_bytes()[place % SECTOR :][:length]

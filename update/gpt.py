"""Partition tables (UEFI 2.10, section 5.3), read as a machine that boots from the disk reads them."""

from __future__ import annotations

import struct
from uuid import UUID

from firstboot.config.named_tuple import NamedTuple

HEAD = 1 << 20  # bytes at the beginning of a disk that hold its table, with room to spare
SECTOR = 512
SIGNATURE = b"EFI PART"
# Partition types (UAPI.2, Discoverable Partitions Specification) by the names that repart.d(5) has for them.
TYPES = {
    UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"): "esp",
    UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"): "root",  # of amd64; the second of each pair is that of arm64
    UUID("b921b045-1df0-41c3-af44-4c6f280d3fae"): "root",
    UUID("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"): "root-verity",
    UUID("df3300ce-d69f-4c92-978c-9bfb0f38d820"): "root-verity",
    UUID("41092b05-9fc8-4523-994f-2def0408b176"): "root-verity-sig",
    UUID("6db69de6-29f4-4758-a7a5-962190f00ce3"): "root-verity-sig",
}


class Partition(NamedTuple):
    """An entry: its number from 1, a name of :data:`TYPES` or a UUID, its own name; place and size in bytes."""

    number: int
    type: str
    name: str
    start: int
    size: int


def parse_gpt(head: bytes, block: int = SECTOR) -> list[Partition]:
    """The partitions that the primary table of a disk lists, in its order.

    Args:
        head: the beginning of the disk, :data:`HEAD` bytes of it.
        block: bytes of a logical block.

    Raises:
        ValueError: there is no table, or it is not whole.
    """
    if head[block : block + len(SIGNATURE)] != SIGNATURE:
        raise ValueError("there is no partition table")
    first, count, size = struct.unpack_from("<QII", head, block + 72)
    partitions = []
    for number in range(count):
        entry = head[first * block + number * size :][:size]
        if len(entry) < 128:
            raise ValueError("the partition table is not whole")
        if entry[:16] == bytes(16):
            continue
        kind = UUID(bytes_le=entry[:16])
        start, last = struct.unpack_from("<QQ", entry, 32)
        name = entry[56:128].decode("utf-16-le", errors="replace").rstrip("\0")
        partitions.append(
            Partition(number + 1, TYPES.get(kind, str(kind)), name, start * block, (last - start + 1) * block)
        )
    return partitions

"""What a machine wrote to a disk, in order, with its flushes: the log that QEMU's blklogwrites leaves.

A power cut leaves on a disk what was flushed, and perhaps some of what came after. With the log a disk can be brought
to the state after each flush, so that every moment at which the power may go is looked at, not only those that a test
happened to hit. The format is that of the kernel's dm-log-writes (admin-guide/device-mapper/log-writes.rst).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from enum import IntFlag
from pathlib import Path
from typing import BinaryIO, NamedTuple

from builder.core.errors import VmError

MAGIC = 0x6A736677736872
_PIECE = 1 << 20
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")


class Flag(IntFlag):
    """What an entry is; zero is a plain write."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8


class LoggedWrite(NamedTuple):
    """One request of the guest.

    Attributes:
        offset: on the disk, in bytes.
        size: in bytes.
        flags: with ``FLUSH``, everything before it is on the disk.
        data_at: where its data is in the log; a discard has none.
    """

    offset: int
    size: int
    flags: Flag
    data_at: int


def read_entries(log: BinaryIO) -> Iterator[LoggedWrite]:
    """All entries, in order.

    Raises:
        VmError: it is no such log.
    """
    header = log.read(_SUPER.size)
    if len(header) < _SUPER.size:
        raise VmError("the log of writes is empty")
    magic, version, count, sector = _SUPER.unpack(header)
    if magic != MAGIC or version != 1 or sector < 512:
        raise VmError(f"this is no log of writes (magic {magic:x}, version {version}, sectors of {sector} bytes)")
    position = sector
    for _ in range(count):
        log.seek(position)
        start, length, flags, _data_length = _ENTRY.unpack(log.read(_ENTRY.size))
        position += sector
        entry = LoggedWrite(start * sector, length * sector, Flag(flags), position)
        if not entry.flags & Flag.DISCARD:
            position += entry.size
        yield entry


def replay(log: Path, disk: BinaryIO) -> Iterator[int]:
    """Bring a copy of the disk, as it was before, to its state at each flush; yields how many writes were done by then.

    Raises:
        VmError: it is no such log.
    """
    writes = 0
    with log.open("rb") as file:
        for entry in read_entries(file):
            if entry.flags & Flag.FLUSH:
                disk.flush()
                yield writes
            if entry.size == 0:
                continue
            writes += 1
            if entry.flags & Flag.DISCARD:
                continue  # what is there then is undefined; that it stays is the simplest of what may be
            file.seek(entry.data_at)
            for at in range(entry.offset, entry.offset + entry.size, _PIECE):
                data = file.read(min(_PIECE, entry.offset + entry.size - at))
                # Gigabytes of zeros, which is how a guest discards, leave a sparse disk sparse.
                if any(data) or not _is_hole(disk, at, len(data)):
                    disk.seek(at)
                    disk.write(data)
    disk.flush()
    yield writes


def _is_hole(disk: BinaryIO, at: int, size: int) -> bool:
    """Whether nothing was ever written there."""
    disk.flush()
    try:
        return os.lseek(disk.fileno(), at, os.SEEK_DATA) >= at + size
    except OSError:  # there is nothing after it
        return at + size <= os.fstat(disk.fileno()).st_size

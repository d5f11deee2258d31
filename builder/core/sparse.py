"""Raw disks as sparse files: where their data is, and ways of copying them that keep the holes.

What counts as a hole is decided by content, in blocks of 64 KiB. What the file system reports only tells
where reading can be skipped: it differs between file systems, and the artifacts must not.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 16
CHUNK = 16 * BLOCK
_ZEROS = bytes(CHUNK)

Extent = tuple[int, int]
"""Offset and length in bytes."""


def find_extents(file: BinaryIO) -> list[Extent]:
    """The runs of blocks that are not all zeros, in order; the file's last block may be a short one."""
    extents: list[Extent] = []
    for start, data in _pieces(file.fileno()):
        if data == _ZEROS[: len(data)]:
            continue
        for inner in range(0, len(data), BLOCK):
            block = data[inner : inner + BLOCK]
            if block == _ZEROS[: len(block)]:
                continue
            offset = start + inner
            if extents and sum(extents[-1]) == offset:
                extents[-1] = (extents[-1][0], extents[-1][1] + len(block))
            else:
                extents.append((offset, len(block)))
    return extents


def _pieces(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """The content but for what the file system reports as holes, in whole blocks."""
    size = os.fstat(descriptor).st_size
    position = 0
    while position < size:
        try:
            data = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = os.lseek(descriptor, data, os.SEEK_HOLE)
        position = max(position, data // BLOCK * BLOCK)
        end = min(size, -(-end // BLOCK) * BLOCK)
        while position < end:
            piece = read_exactly(descriptor, min(CHUNK, end - position), position)
            yield position, piece
            position += len(piece)


def read_exactly(descriptor: int, count: int, offset: int) -> bytes:
    """``count`` bytes from ``offset``.

    Raises:
        OSError: the file ends before.
    """
    data = os.pread(descriptor, count, offset)
    while len(data) < count:
        more = os.pread(descriptor, count - len(data), offset + len(data))
        if not more:
            raise OSError("a disk got shorter while it was read")
        data += more
    return data


def read_extents(file: BinaryIO, extents: list[Extent]) -> Iterator[bytes]:
    """The data of the extents, one after the other, in pieces."""
    for offset, length in extents:
        for start in range(offset, offset + length, CHUNK):
            yield read_exactly(file.fileno(), min(CHUNK, offset + length - start), start)


def copy_sparse(source: Path, target: Path) -> None:
    """A copy with the same content, and holes wherever there is room for one.

    On file systems that can, the two share their blocks (``copy_file_range(2)``).
    """
    with source.open("rb") as reading, target.open("wb") as writing:
        os.truncate(writing.fileno(), os.fstat(reading.fileno()).st_size)
        for offset, length in find_extents(reading):
            copy_range(reading.fileno(), writing.fileno(), offset, offset, length)


def copy_blocks(source: Path, target: Path) -> None:
    """A copy of a file without holes; on file systems that can, the two share their blocks."""
    with source.open("rb") as reading, target.open("wb") as writing:
        copy_range(reading.fileno(), writing.fileno(), 0, 0, os.fstat(reading.fileno()).st_size)


def copy_range(reading: int, writing: int, offset: int, target: int, length: int) -> None:
    """Copy bytes from one descriptor to another; on file systems that can, the two share their blocks.

    Raises:
        OSError: the file ends before, or one of them cannot be used.
    """
    end = offset + length
    while offset < end:
        try:
            done = os.copy_file_range(reading, writing, end - offset, offset, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            done = os.pwrite(writing, read_exactly(reading, min(CHUNK, end - offset), offset), target)
        if done == 0:
            raise OSError("a disk got shorter while it was read")
        offset += done
        target += done

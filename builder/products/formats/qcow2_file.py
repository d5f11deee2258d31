"""qcow2 files, written from the pieces of a disk: byte for byte what ``qemu-img convert`` makes of the whole disk.

So a disk that nobody asks for as such is never put together, and what it consists of is read once. Source: QEMU's
``docs/interop/qcow2.rst``; clusters are taken one after the other, a table of the second level when it is first needed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.core.sparse import copy_range, find_extents
from builder.products.product import Piece

CLUSTER = 1 << 16
ENTRIES = CLUSTER // 8  # of a table of either level
COUNTS = CLUSTER // 2  # of a block of reference counts, 16 bits each
REFCOUNT_TABLE, REFCOUNT_BLOCK, FIRST_LEVEL, FIRST_FREE = 1, 2, 3, 4  # cluster numbers
COPIED = 1 << 63  # in an entry: its cluster has one owner
FEATURES = (
    (0, 0, b"dirty bit"),
    (0, 1, b"corrupt bit"),
    (0, 2, b"external data file"),
    (0, 3, b"compression type"),
    (0, 4, b"extended L2 entries"),
    (1, 0, b"lazy refcounts"),
    (2, 0, b"bitmaps"),
    (2, 1, b"raw external data"),
)
FEATURE_NAMES = 0x6803F857


def can_write(size: int, used: int) -> bool:
    """Whether a disk fits into one table of the first level and one block of reference counts. Larger ones qemu-img
    lays out in ways that we leave to it.

    Args:
        size: of the disk in bytes.
        used: how many of them are no holes, at most.
    """
    tables = -(-size // (CLUSTER * ENTRIES))
    return tables <= ENTRIES and FIRST_FREE + tables + used // CLUSTER + 2 < COUNTS


def write_qcow2(disk: Path, pieces: Sequence[Piece], out: Path) -> None:
    """Write a disk (compat 1.1, no compression).

    Args:
        disk: sparse, of the whole size; where the pieces belong it has holes.
        pieces: the rest, each from a cluster's beginning on.

    Raises:
        OSError: something cannot be read or written.
    """
    size = disk.stat().st_size
    runs = sorted([*_find_runs(disk, 0), *(run for piece in pieces for run in _find_runs(piece.path, piece.offset))])
    first_level = [0] * -(-size // (CLUSTER * ENTRIES))
    tables: dict[int, list[int]] = {}
    copies: list[tuple[Path, int, int, int]] = []  # from a file, where, to where, bytes
    free = FIRST_FREE
    for guest, count, path, offset, length in runs:
        begun = 0
        while begun < count:
            index, entry = divmod(guest + begun, ENTRIES)
            if index not in tables:
                tables[index] = [0] * ENTRIES
                first_level[index] = free
                free += 1
            taken = min(count - begun, ENTRIES - entry)
            tables[index][entry : entry + taken] = [(free + i) * CLUSTER | COPIED for i in range(taken)]
            end = min(length, (begun + taken) * CLUSTER)
            copies.append((path, offset + begun * CLUSTER, free * CLUSTER, end - begun * CLUSTER))
            free += taken
            begun += taken
    with out.open("wb") as file:
        file.truncate(free * CLUSTER)
        _put(file.fileno(), 0, _make_header(size, len(first_level)))
        _put(file.fileno(), REFCOUNT_TABLE, struct.pack(">Q", REFCOUNT_BLOCK * CLUSTER))
        _put(file.fileno(), REFCOUNT_BLOCK, struct.pack(f">{free}H", *[1] * free))
        entries = [number and number * CLUSTER | COPIED for number in first_level]
        _put(file.fileno(), FIRST_LEVEL, struct.pack(f">{len(entries)}Q", *entries))
        for index, table in tables.items():
            _put(file.fileno(), first_level[index], struct.pack(f">{ENTRIES}Q", *table))
        for path, where, target, length in copies:
            with path.open("rb") as source:
                copy_range(source.fileno(), file.fileno(), where, target, length)


def _find_runs(path: Path, start: int) -> Iterator[tuple[int, int, Path, int, int]]:
    """The runs of clusters that are not all zeros: the number of the first on the disk, how many, where they are in the
    file, and their bytes.

    Args:
        start: of the file on the disk.
    """
    if start % CLUSTER:
        raise AssertionError(f"{path.name} begins at {start}, in the middle of a cluster")
    with path.open("rb") as file:
        for offset, length in find_extents(file):
            yield (start + offset) // CLUSTER, -(-length // CLUSTER), path, offset, length


def _make_header(size: int, tables: int) -> bytes:
    names = b"".join(struct.pack("BB46s", *feature) for feature in FEATURES)
    head = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb", 3, 0, 0, CLUSTER.bit_length() - 1, size, 0, tables, FIRST_LEVEL * CLUSTER,
        REFCOUNT_TABLE * CLUSTER, 1, 0, 0, 0, 0, 0, 4, 112,
    )  # fmt: skip
    return head.ljust(112, b"\0") + struct.pack(">II", FEATURE_NAMES, len(names)) + names


def _put(descriptor: int, cluster: int, data: bytes) -> None:
    os.pwrite(descriptor, data, cluster * CLUSTER)

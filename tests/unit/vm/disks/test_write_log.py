"""The log of what a machine wrote is read, and a disk is brought to each state that a power cut may leave."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from builder.core.errors import VmError
from vm.disks.write_log import MAGIC, Flag, read_entries, replay

pytestmark = pytest.mark.unit


def log_of(*entries: tuple[int, int, bytes], sector: int = 512) -> bytes:
    """A log of (sector, flags, data); a discard's data only says how long it is."""
    parts = [struct.pack("<QQQI", MAGIC, 1, len(entries), sector).ljust(sector, b"\0")]
    for start, flags, data in entries:
        parts.append(struct.pack("<QQQQ", start, len(data) // sector, flags, 0).ljust(sector, b"\0"))
        if not flags & Flag.DISCARD:
            parts.append(data)
    return b"".join(parts)


def test_a_disk_is_brought_to_its_state_at_each_flush(tmp_path: Path) -> None:
    log, disk = tmp_path / "log", tmp_path / "disk"
    log.write_bytes(
        log_of(
            (0, 0, b"a" * 512),
            (1, 0, b"b" * 512),
            (0, Flag.FLUSH, b""),
            (0, Flag.DISCARD, b"x" * 1024),
            (2, 0, b"c" * 512),
            (0, Flag.FLUSH | Flag.FUA, b"d" * 512),
        )
    )
    disk.write_bytes(bytes(2048))
    seen = []
    with disk.open("r+b") as file:
        for writes in replay(log, file):
            seen.append((writes, disk.read_bytes()[::512]))
    assert seen == [(2, b"ab\0\0"), (4, b"abc\0"), (5, b"dbc\0")]


def test_sectors_may_be_larger(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(log_of((3, 0, b"a" * 4096), sector=4096))
    with log.open("rb") as file:
        (entry,) = read_entries(file)
    assert (entry.offset, entry.size, entry.data_at) == (3 * 4096, 4096, 2 * 4096)


@pytest.mark.parametrize("data", [b"", b"x" * 512, struct.pack("<QQQI", MAGIC, 2, 0, 512)])
def test_what_is_no_log_is_refused(tmp_path: Path, data: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(data)
    with log.open("rb") as file, pytest.raises(VmError, match="log of writes"):
        list(read_entries(file))

"""The pieces of an artifact, by name: partitions of a disk, sections of a PE file, members of a cpio archive.

Read by code of its own, so that what we write is compared as others read it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.core.files import CHUNK
from builder.core.pe import Section
from update.gpt import HEAD, TYPES, parse_gpt

TABLES = ("partition table", "backup partition table")


def read_partitions(disk: Path) -> list[Section]:
    """The partitions of a raw disk, and what is before the first and behind the last of them.

    Raises:
        ValueError: it has no GPT.
    """
    end = disk.stat().st_size
    with disk.open("rb") as file:
        try:
            entries = parse_gpt(file.read(HEAD))
        except ValueError as error:
            raise ValueError(f"{disk}: {error}") from None
    sections = []
    for entry in entries:
        kind = f" ({entry.type})" if entry.type in TYPES.values() else ""
        sections.append(Section(f"partition {entry.number}{kind}", entry.start, entry.size))
    sections.sort(key=lambda part: part.offset)
    start = sections[0].offset if sections else end
    tail = sections[-1].offset + sections[-1].size if sections else end
    return [Section(TABLES[0], 0, start), *sections, Section(TABLES[1], tail, end - tail)]


def read_members(archive: BinaryIO) -> Iterator[tuple[str, tuple[object, ...]]]:
    """(path, what it is and the hash of its content) of each member of ``newc`` cpio archives, one behind the other.

    Raises:
        ValueError: it is none, or ends too early.
    """
    at_end = False
    while True:
        header = archive.read(110)
        if at_end and not header:
            return
        if len(header) != 110 or header[:6] != b"070701":
            raise ValueError("this is no cpio archive")
        field = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        name = archive.read(field[11]).rstrip(b"\0").decode(errors="surrogateescape")
        archive.read(-(110 + field[11]) % 4)
        data = archive.read(field[6])
        archive.read(-field[6] % 4)
        at_end = name == "TRAILER!!!"
        if at_end:
            continue
        # Without the inode's number, which only counts the members before.
        _, mode, uid, gid, links, mtime = field[:6]
        yield name, (mode, uid, gid, links, mtime, *field[7:11], hashlib.sha256(data).hexdigest())


def hash_part(path: Path, part: Section) -> str:
    """A hash of a piece of a file. Zeros are not read where the file has holes, and count the same where it has none.

    Source: lseek(2), SEEK_DATA.
    """
    total = hashlib.sha256()
    end = part.offset + part.size
    with path.open("rb") as file:
        at = part.offset
        while at < end:
            try:
                data = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole is left
                break
            at = max(at, data - (data - part.offset) % CHUNK)  # in chunks counted from the piece's start
            if at >= end:
                break
            file.seek(at)
            chunk = file.read(min(CHUNK, end - at))
            if chunk.count(0) != len(chunk):
                total.update(b"%d %d\n" % (at - part.offset, len(chunk)))
                total.update(chunk)
            at += CHUNK
    return total.hexdigest()


def find_differing(one: Path, other: Path, parts: list[Section], others: list[Section]) -> list[Section]:
    """The pieces that are not the same in both, or only in one."""
    known = {part.name: part for part in others}
    differing = [p for p in parts if p.name not in known or hash_part(one, p) != hash_part(other, known[p.name])]
    names = {part.name for part in parts}
    return differing + [part for part in others if part.name not in names]

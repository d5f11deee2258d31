"""Sparse members of tar archives: which parts of a file are stored, and the file that they make.

Sources: GNU tar's manual, "Storing Sparse Files" (old GNU format, PAX formats 0.0, 0.1 and 1.0), as Go's archive/tar
reads them, which is what podman and Docker use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from builder.core.files import open_replacement
from builder.tree.node import EMPTY, Content, Slice
from builder.tree.tar_headers import BLOCK, TarError, read_decimal, read_number

PREFIX = b"GNU.sparse."
# Records that format 0.0 repeats, one pair a piece.
REPEATED = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
MAX_PIECES = 100_000
MAX_EXPANDED = 4 << 30  # bytes of all sparse files of a layer, holes included
_LINE = re.compile(rb"([0-9]{1,18})\n")

Pieces = Sequence[tuple[int, int]]  # (offset, size) in the file


@dataclass(frozen=True)
class SparseMap:
    """Which parts of a file the archive has, in order, from ``start`` bytes after the header on."""

    pieces: Pieces
    size: int
    start: int = 0


def parse_old_map(head: bytes, read_block: Callable[[], bytes]) -> SparseMap:
    """The map of an old GNU header (type ``S``), which goes on in the blocks after it.

    Raises:
        TarError: it is none.
    """
    pieces = _parse_entries(head[386:482])
    more = head[482]
    while more:
        block = read_block()
        pieces += _parse_entries(block[:504])
        more = block[504]
        if len(pieces) > MAX_PIECES:
            raise TarError(f"a sparse file of more than {MAX_PIECES} pieces")
    return _checked(pieces, read_number(head[483:495]))


def _parse_entries(data: bytes) -> list[tuple[int, int]]:
    entries = (data[start : start + 24] for start in range(0, len(data), 24))
    return [(read_number(entry[:12]), read_number(entry[12:])) for entry in entries if entry[0]]


def parse_pax_map(
    records: Mapping[bytes, bytes], repeated: Sequence[tuple[bytes, bytes]], data: Callable[[int, int], bytes]
) -> SparseMap:
    """The map of PAX records; of format 1.0 it stands before the data.

    Args:
        repeated: the records of :data:`REPEATED`, in order.
        data: what the member stores, by offset and length.

    Raises:
        TarError: it is none.
    """
    major = records.get(PREFIX + b"major", b"0"), records.get(PREFIX + b"minor", b"0")
    if major == (b"1", b"0"):
        return _parse_leading_map(read_decimal("sparse size", records.get(PREFIX + b"realsize", b"")), data)
    if major[0] != b"0":
        raise TarError(f"a sparse file of format {major[0].decode(errors='replace')[:20]!r}")
    size = read_decimal("sparse size", records.get(PREFIX + b"size", b""))
    if (text := records.get(PREFIX + b"map")) is not None:
        numbers = [read_decimal("sparse map", word) for word in text.split(b",") if text]
    else:
        if any(key != REPEATED[number % 2] for number, (key, _) in enumerate(repeated)):
            raise TarError("a sparse map whose offsets and sizes do not take turns")
        numbers = [read_decimal("sparse map", value) for _, value in repeated]
    return _checked(_make_pairs(numbers), size)


def _parse_leading_map(size: int, data: Callable[[int, int], bytes]) -> SparseMap:
    numbers: list[int] = []
    wanted, rest, offset = 1, b"", 0
    while len(numbers) < wanted:
        block = data(offset, BLOCK)
        if len(block) < BLOCK:
            raise TarError("a sparse map that is cut short")
        offset += BLOCK
        rest += block
        while len(numbers) < wanted and (match := _LINE.match(rest)):
            numbers.append(int(match[1]))
            rest = rest[match.end() :]
            if len(numbers) == 1:
                wanted = 1 + 2 * numbers[0]
                if numbers[0] > MAX_PIECES:
                    raise TarError(f"a sparse file of more than {MAX_PIECES} pieces")
        if len(numbers) < wanted and len(rest) > 20 and not _LINE.match(rest):
            raise TarError("a sparse map without numbers")
    return _checked(_make_pairs(numbers[1:]), size, start=offset)


def _make_pairs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_PIECES:
        raise TarError("a sparse map of an odd number of numbers, or of too many")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _checked(pieces: Pieces, size: int, start: int = 0) -> SparseMap:
    """Pieces in order that do not overlap and end before the file does."""
    end = 0
    for offset, length in pieces:
        if offset < end:
            raise TarError("a sparse map whose pieces overlap")
        end = offset + length
    if end > size:
        raise TarError("a sparse map that leads behind the end of its file")
    return SparseMap([piece for piece in pieces if piece[1]], size, start)


@dataclass
class SparseFiles:
    """The sparse files of a layer, with their holes, in one file beside it; made when the first one is met."""

    path: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _file: BinaryIO | None = None
    _end: int = 0

    def __enter__(self) -> SparseFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.__exit__(*exception)  # type: ignore[arg-type]  # what a with statement hands over

    def add(self, sparse_map: SparseMap, archive: int, offset: int) -> Content:
        """A file whose pieces lie in ``archive`` (a descriptor) from ``offset`` on.

        Raises:
            TarError: all of them would be larger than 4 GiB.
            OSError: it cannot be written.
        """
        if self._end + sparse_map.size > MAX_EXPANDED:
            raise TarError(f"sparse files of more than {MAX_EXPANDED} bytes")
        if not sparse_map.size:
            return EMPTY
        if self._file is None:
            self._file = self._stack.enter_context(open_replacement(self.path))
        start = self._end
        self._end += sparse_map.size + -sparse_map.size % 4096
        self._file.truncate(self._end)
        for where, length in sparse_map.pieces:
            while length:
                piece = os.pread(archive, min(length, 1 << 20), offset)
                if not piece:
                    raise TarError("a sparse file that is cut short")
                os.pwrite(self._file.fileno(), piece, start + where)
                where, offset, length = where + len(piece), offset + len(piece), length - len(piece)
        return Slice(str(self.path), start, sparse_map.size)

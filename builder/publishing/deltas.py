"""Deltas are made: blocks that the old part has are copied, the others are carried.

A block is found wherever it lies in the old part, at a multiple of the block's size. EROFS lays what is compressed on
4 KiB, and a file whose content is the same has the same blocks, so that a package that changed moves those behind it by
whole blocks. What ``zstd --patch-from`` saves beyond that is small, and whoever unpacks it needs as much memory as the
old part has bytes (docs/publishing.md has the numbers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.core.files import CHUNK
from builder.core.tools import Tools
from update.delta import COPY, END, LITERAL, MAGIC

# Bytes of a block, by part: EROFS aligns to 4 KiB, a hash tree is hashes of 32 bytes. What is in a UKI lies anywhere:
# its initrd is compressed as a whole, and one byte more or less moves all that follows.
BLOCKS = {"root": 4096, "verity": 32, "uki": 64}
UNALIGNED = ("uki",)
ZSTD = ("zstd", "--quiet", "--threads=4", "-12", "--zstd=windowLog=23")


def write_records(old: Path, new: Path, block: int, out: BinaryIO) -> None:
    """Write the records of a delta, not yet compressed, as :mod:`update.delta` reads them."""
    keys = [_make_key(data) for data in _read_blocks(old, block)]
    known: dict[bytes, int] = {}
    for number, key in enumerate(keys):
        known.setdefault(key, number * block)
    out.write(MAGIC)
    start = length = 0  # the copy that is being collected
    literal = bytearray()

    def put_literal() -> None:
        _write_literal(literal, out)
        literal.clear()

    for data in _read_blocks(new, block):
        key = _make_key(data)
        start_of_old = known.get(key)
        after = (start + length) // block
        if length and after < len(keys) and keys[after] == key and len(data) == block:
            length += block  # first of all what goes on with the copy: a block of zeros is in many places
            continue
        if start_of_old is None or len(data) < block:
            _write_copy(start, length, out)
            start = length = 0
            literal += data
            if len(literal) >= CHUNK:
                put_literal()
            continue
        put_literal()
        _write_copy(start, length, out)
        start, length = start_of_old, block
    _write_copy(start, length, out)
    put_literal()
    out.write(END)


def write_unaligned_records(old: bytes, new: bytes, block: int, out: BinaryIO) -> None:
    """The same, with blocks of the old part found at any byte of the new one: for parts that fit into memory."""
    known: dict[bytes, int] = {}
    for start in range(0, len(old) - block + 1, block):
        known.setdefault(old[start : start + block], start)
    out.write(MAGIC)
    done = position = 0
    while position + block <= len(new):
        start_of_old = known.get(new[position : position + block])
        if start_of_old is None:
            position += 1
            continue
        while position > done and start_of_old > 0 and old[start_of_old - 1] == new[position - 1]:
            position, start_of_old = position - 1, start_of_old - 1
        length = _count_same(old, start_of_old, new, position)
        _write_literal(new[done:position], out)
        _write_copy(start_of_old, length, out)
        done = position = position + length
    _write_literal(new[done:], out)
    out.write(END)


def _count_same(old: bytes, at: int, new: bytes, position: int) -> int:
    """How many bytes from there on are the same."""
    length, step = 0, 1 << 16
    while step:
        piece = new[position + length : position + length + step]
        if len(piece) == step and old[at + length : at + length + step] == piece:
            length += step
        else:
            step //= 2
    return length


def _write_copy(start: int, length: int, out: BinaryIO) -> None:
    if length:
        out.write(COPY + start.to_bytes(8, "big") + length.to_bytes(8, "big"))


def _write_literal(data: bytes | bytearray, out: BinaryIO) -> None:
    if data:
        out.write(LITERAL + len(data).to_bytes(8, "big") + data)


def make_delta(part: str, old: Path, new: Path, out: Path, tools: Tools) -> None:
    """Write a compressed delta; the same parts give the same bytes.

    Raises:
        CapabilityError: the tools tree has no zstd.
        ToolError: it failed.
        OSError: the parts cannot be read, or the disk is full.
    """
    records = out.with_name(f"{out.name}.records")
    with records.open("wb") as file:
        if part in UNALIGNED:
            write_unaligned_records(old.read_bytes(), new.read_bytes(), BLOCKS[part], file)
        else:
            write_records(old, new, BLOCKS[part], file)
    tools.run(*ZSTD, records, "-o", out)
    records.unlink()


def _read_blocks(path: Path, block: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            for start in range(0, len(piece), block):
                yield piece[start : start + block]


def _make_key(data: bytes) -> bytes:
    return data if len(data) <= 32 else hashlib.blake2b(data, digest_size=32).digest()

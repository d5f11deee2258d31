"""Deltas: a new part made of what the machine has of the old one, and of what the delta brings.

A delta is a zstd stream of records. After :data:`MAGIC` each begins with one byte:

``C``: copy; 8 bytes of offset in the old part, 8 bytes of length, both big endian.
``L``: literal; 8 bytes of length, then as many bytes.
``E``: the end.

No record needs more memory than :data:`CHUNK`, and zstd no more than its window, 8 MiB. Who applies one says how large
the result is and what its hash is: anything else is refused, and the full part is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, BinaryIO

from update.errors import UpdateError
from update.unpacking import ZSTD, open_zstd

METHOD = "blocks-zstd"
MAGIC = b"build-os delta 1\n"
COPY, LITERAL, END = b"C", b"L", b"E"
CHUNK = 1 << 20
# Frames that need more memory than this are refused.
MEMORY_MIB = 32


def apply_delta(old: Path, delta: Path, out: BinaryIO, *, size: int, sha256: str, zstd: Sequence[str] = ZSTD) -> None:
    """Write the new part to ``out``, from where it is now.

    Args:
        old: the old part: a file, or the device of a slot, which may be larger.
        delta: the delta as it was transferred.
        size: of the new part, in bytes.
        sha256: of the new part.
        zstd: the program, with words before its options.

    Raises:
        UpdateError: it is no such delta, or is for another old part, or zstd is not there; what was written then is to
            be thrown away.
        OSError: one of the files cannot be read or written.
    """
    with old.open("rb", buffering=0) as base, open_zstd(delta, MEMORY_MIB, zstd) as records:
        apply_records(records, base, out, size, sha256)


def apply_records(records: IO[bytes], old: IO[bytes], out: IO[bytes], size: int, sha256: str) -> None:
    """Carry out the records of a delta that is unpacked.

    Raises:
        UpdateError: as in :func:`apply_delta`.
    """
    if records.read(len(MAGIC)) != MAGIC:
        raise UpdateError("is no delta")
    digest, left = hashlib.sha256(), size

    def put(source: IO[bytes], length: int) -> None:
        nonlocal left
        if length > left:
            raise UpdateError(f"makes more than {size} bytes")
        left -= length
        while length:
            piece = source.read(min(length, CHUNK))
            if not piece:
                raise UpdateError("wants more of the old version than there is, or is cut off")
            digest.update(piece)
            out.write(piece)
            length -= len(piece)

    while (kind := records.read(1)) != END:
        if kind == COPY:
            offset, length = _read_number(records), _read_number(records)
            try:
                old.seek(offset)
            except (OverflowError, OSError):  # where no file can have anything
                raise UpdateError("wants more of the old version than there is") from None
            put(old, length)
        elif kind == LITERAL:
            put(records, _read_number(records))
        else:
            raise UpdateError("has a record of an unknown kind" if kind else "is cut off")
    if left:
        raise UpdateError(f"makes {size - left} bytes of {size}")
    if records.read(1):
        raise UpdateError("has something behind its end")
    if digest.hexdigest() != sha256:
        raise UpdateError("makes something else of this old version")


def _read_number(records: IO[bytes]) -> int:
    data = records.read(8)
    if len(data) != 8:
        raise UpdateError("is cut off")
    return int.from_bytes(data, "big")

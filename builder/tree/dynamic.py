"""The dynamic section of an ELF file, read with no more than :mod:`struct`: thousands of libraries in a second.

Source: System V ABI, chapter 5. Only 64-bit little-endian files are known, which is what images are made of.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

MAGIC = b"\x7fELF"
_64_LITTLE = b"\x7fELF\x02\x01"
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 14, 15, 29


@dataclass(frozen=True)
class Dynamic:
    """What the loader reads of a file.

    Attributes:
        machine: ``e_machine``; 0 of a file that is not 64-bit and little-endian.
        needed: names of libraries.
        runpath: directories that are searched first, as in the file.
    """

    machine: int
    soname: str = ""
    needed: Sequence[str] = ()
    runpath: Sequence[str] = ()


def read_dynamic(data: bytes) -> Dynamic | None:
    """What a shared object or program asks the loader for; ``None`` for what is none, or is damaged."""
    if not data.startswith(MAGIC):
        return None
    if not data.startswith(_64_LITTLE):
        return Dynamic(0)
    try:
        kind, machine = struct.unpack_from("<HH", data, 16)
        if kind not in (2, 3):  # ET_EXEC, ET_DYN
            return None
        (offset,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        headers = [struct.unpack_from("<IIQQQQ", data, offset + number * size) for number in range(count)]
        loaded = [(address, start, length) for what, _, start, address, _, length in headers if what == _PT_LOAD]
        place = next(((header[2], header[5]) for header in headers if header[0] == _PT_DYNAMIC), None)
        if place is None:
            return Dynamic(machine)
        entries = [struct.unpack_from("<QQ", data, at) for at in range(place[0], place[0] + place[1] - 15, 16)]
        entries = entries[: next((i for i, (tag, _) in enumerate(entries) if tag == 0), len(entries))]
        table = next((value for tag, value in entries if tag == _DT_STRTAB), 0)
        base = next((s + table - a for a, s, n in loaded if a <= table < a + n), None)

        def list_texts(*tags: int) -> list[str]:
            offsets = [value for tag, value in entries if tag in tags]
            if offsets and base is None:
                raise ValueError("no table of strings")
            return [data[base + at : data.index(b"\0", base + at)].decode() for at in offsets if base is not None]

        return Dynamic(
            machine,
            soname=next(iter(list_texts(_DT_SONAME)), ""),
            needed=tuple(list_texts(_DT_NEEDED)),
            runpath=tuple(part for text in list_texts(_DT_RPATH, _DT_RUNPATH) for part in text.split(":") if part),
        )
    except (struct.error, ValueError, OverflowError):
        return None

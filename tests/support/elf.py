"""ELF files made by hand, with just the parts that the dynamic loader and the build read."""

from __future__ import annotations

import json
import struct

from builder.tree.elf import DLOPEN_NOTE

DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 15, 29
SHT_STRTAB, SHT_DYNAMIC, SHT_NOTE = 3, 6, 7
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
BEFORE = 64 + 4 * 56  # the header, and those of four segments


def note(*entries: dict[str, object], kind: int = DLOPEN_NOTE, name: bytes = b"FDO\0") -> bytes:
    """A note as the UAPI group's ELF dlopen metadata has it."""
    data = json.dumps(entries).encode() + b"\0"
    return struct.pack("<III", len(name), len(data), kind) + name + data + bytes(-len(data) % 4)


def elf(
    needed: tuple[str, ...] = (),
    *,
    runpath: str = "",
    rpath: str = "",
    interpreter: str = "",
    notes: bytes = b"",
) -> bytes:
    """A 64-bit little-endian shared object with just these parts (System V ABI, chapters 4 and 5)."""
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    tags = [(DT_NEEDED, string(name)) for name in needed]
    if runpath:
        tags.append((DT_RUNPATH, string(runpath)))
    if rpath:
        tags.append((DT_RPATH, string(rpath)))
    names = b"\0.dynstr\0.dynamic\0.note.dlopen\0.shstrtab\0"
    body = bytearray()

    def place(data: bytes) -> int:
        body.extend(bytes(-len(body) % 8))
        at = BEFORE + len(body)
        body.extend(data)
        return at

    strings_at = place(bytes(strings))
    tags += [(DT_STRTAB, strings_at), (DT_STRSZ, len(strings)), (DT_NULL, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    dynamic_at, notes_at, names_at = place(dynamic), place(notes), place(names)
    interp = interpreter.encode() + b"\0"
    interp_at = place(interp)
    body.extend(bytes(-len(body) % 8))
    sections = [
        (0, 0, 0, 0, 0, 0),
        (1, SHT_STRTAB, strings_at, len(strings), 0, 0),
        (9, SHT_DYNAMIC, dynamic_at, len(dynamic), 1, 16),
        (18, SHT_NOTE, notes_at, len(notes), 0, 0),
        (31, SHT_STRTAB, names_at, len(names), 0, 0),
    ]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 2, at, at, size, link, 0, 8, entry)
        for name, kind, at, size, link, entry in sections
    )
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, BEFORE + len(body), 0, 64, 56, 4, 64, 5, 4)
    end = BEFORE + len(body)
    segments = [
        (PT_LOAD, 0, end),
        (PT_DYNAMIC, dynamic_at, len(dynamic)),
        (PT_INTERP if interpreter else 0, interp_at, len(interp)),
        (PT_NOTE, notes_at, len(notes)),
    ]
    program = b"".join(struct.pack("<IIQQQQQQ", kind, 4, at, at, at, size, size, 1) for kind, at, size in segments)
    return header + program + bytes(body) + table

"""The sections of programs for EFI firmware, which are PE files."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Section:
    """A piece of a file: where it begins and how long it is, in bytes."""

    name: str
    offset: int
    size: int


def read_sections(program: Path) -> list[Section]:
    """The sections of a PE file, and its headers. Source: the PE/COFF specification, section table.

    Raises:
        ValueError: it is no such file.
    """
    data = program.read_bytes()
    try:
        pe = struct.unpack_from("<I", data, 0x3C)[0]
        if data[pe : pe + 4] != b"PE\0\0":
            raise ValueError(f"{program} is no PE file")
        count, optional = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
        sections = []
        for index in range(count):
            entry = pe + 24 + optional + 40 * index
            name = data[entry : entry + 8].rstrip(b"\0").decode("ascii", errors="replace")
            virtual, _, raw, offset = struct.unpack_from("<IIII", data, entry + 8)
            sections.append(Section(name, offset, min(virtual, raw)))
    except struct.error as error:
        raise ValueError(f"{program} is no PE file") from error
    headers = min((part.offset for part in sections), default=len(data))
    return [Section("headers", 0, headers), *sections]


def hash_program(program: bytes) -> bytes:
    """What firmware measures of a program, and what is signed of it: all but its checksum and its signature.

    Source: "Windows Authenticode Portable Executable Signature Format", for SHA-256.
    """
    optional = struct.unpack_from("<I", program, 0x3C)[0] + 24
    checksum, entry = optional + 64, optional + 112 + 4 * 8  # PE32+; the fifth data directory
    start, size = struct.unpack_from("<II", program, entry)
    end = start if size else len(program)
    return hashlib.sha256(program[:checksum] + program[checksum + 4 : entry] + program[entry + 8 : end]).digest()

"""The sections of programs for EFI firmware, which are PE files."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from update.efi import find_signature_fields

_PE32_PLUS = 0x20B


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


def append_signature(program: bytes, signature: bytes) -> bytes:
    """A PE file with a signature (PKCS #7) at its end, where its fifth data directory says so.

    Args:
        program: it has none yet, and a size that 8 divides; :func:`fill_program`.

    Raises:
        ValueError: it is signed already.
    """
    checksum, entry = find_signature_fields(program)
    if struct.unpack_from("<II", program, entry) != (0, 0):
        raise ValueError("the program is signed already")
    size = _round_up(8 + len(signature))
    head = struct.pack("<IHH", size, 0x0200, 0x0002)  # WIN_CERT_REVISION_2_0, WIN_CERT_TYPE_PKCS_SIGNED_DATA
    signed = bytearray(program + (head + signature).ljust(size, b"\0"))
    struct.pack_into("<II", signed, entry, len(program), size)
    struct.pack_into("<I", signed, checksum, 0)
    # The sum of its 16-bit words, carries put back, is the number they form modulo 65,535.
    total = int.from_bytes(signed, "little") % 0xFFFF or 0xFFFF
    struct.pack_into("<I", signed, checksum, total + len(signed))
    return bytes(signed)


def fill_program(program: bytes) -> bytes:
    """The program as it is signed: so long that a signature can follow.

    Raises:
        ValueError: it is no program for 64-bit firmware.
    """
    try:
        (pe,) = struct.unpack_from("<I", program, 0x3C)
        (magic,) = struct.unpack_from("<H", program, pe + 24)
    except struct.error:
        raise ValueError("it is no EFI program") from None
    if program[pe : pe + 4] != b"PE\0\0" or magic != _PE32_PLUS:
        raise ValueError("it is no EFI program")
    return program.ljust(_round_up(len(program)), b"\0")


def _round_up(size: int) -> int:
    return -(-size // 8) * 8

"""What qemu-img stamps on an image at random or with the time, replaced by what we say.

Two conversions of one disk differ in nothing else, so after this they are the same bytes. Each function edits
the file in place and checks what it finds, because a newer qemu-img may lay things out differently.
"""

from __future__ import annotations

import re
import struct
import uuid
from pathlib import Path
from typing import BinaryIO

from builder.core.errors import ToolError

SECTOR = 512
VHD_EPOCH = 946684800  # 2000-01-01T00:00:00Z
KIB = 1 << 10


def _unexpected(path: Path, what: str) -> ToolError:
    return ToolError(f"qemu-img wrote {path.name} in a way we do not know: {what}")


# ---- VHD (Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format")


def stamp_vhd(path: Path, identity: uuid.UUID, created: int) -> None:
    """Set the unique ID and the time (seconds since 1970) of a fixed VHD.

    Raises:
        ToolError: it is no fixed VHD.
    """
    with path.open("r+b") as file:
        file.seek(-SECTOR, 2)
        footer = bytearray(file.read(SECTOR))
        if footer[:8] != b"conectix" or footer[60:64] != b"\0\0\0\2":
            raise _unexpected(path, "no footer of a fixed VHD")
        footer[24:28] = max(0, created - VHD_EPOCH).to_bytes(4, "big")
        footer[68:84] = identity.bytes
        footer[64:68] = bytes(4)
        footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
        file.seek(-SECTOR, 2)
        file.write(footer)


# ---- VMDK (Virtual Disk Format 5.0, "Hosted Sparse Extents")


def stamp_vmdk(path: Path, content_id: int, name: str) -> None:
    """Set the content ID and the name by which the descriptor calls this file.

    Raises:
        ToolError: there is no embedded descriptor, or no room for the new one.
    """
    with path.open("r+b") as file:
        head = file.read(SECTOR)
        magic, _, _, _, _, offset, sectors = struct.unpack_from("<4sIIQQQQ", head)
        if magic != b"KDMV" or not offset:
            raise _unexpected(path, "no embedded descriptor")
        file.seek(offset * SECTOR)
        room = sectors * SECTOR
        text = file.read(room).rstrip(b"\0")
        text, ids = re.subn(rb"(?m)^CID=[0-9a-f]{1,8}$", b"CID=%08x" % content_id, text)
        text, names = re.subn(rb'(?m)^(RW \d+ SPARSE) "[^"\n]*"$', rb'\1 "%b"' % name.encode(), text)
        if (ids, names) != (1, 1) or len(text) > room:
            raise _unexpected(path, "a descriptor with other lines")
        file.seek(offset * SECTOR)
        file.write(text.ljust(room, b"\0"))


# ---- VHDX ([MS-VHDX], sections 2.2 to 2.6)

HEADERS = (64 * KIB, 128 * KIB)
REGION_TABLE = 192 * KIB
HEADER_SIZE = 4 * KIB
METADATA_REGION = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
PAGE_83 = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")


def stamp_vhdx(path: Path, identity: uuid.UUID) -> None:
    """Set the GUIDs of a VHDX from one, and clear its log, which is empty but not blank after a clean close.

    Raises:
        ToolError: it is no VHDX, or one that was not closed.
    """
    with path.open("r+b") as file:
        if file.read(8) != b"vhdxfile":
            raise _unexpected(path, "no VHDX")
        headers = {offset: bytearray(_read(file, offset, HEADER_SIZE)) for offset in HEADERS}
        # The header with the greater number is the current one; qemu-img begins to count anywhere.
        order = sorted(HEADERS, key=lambda offset: bytes(headers[offset][8:16][::-1]))
        for offset, header in headers.items():
            if header[:4] != b"head" or any(header[48:64]):
                raise _unexpected(path, "a header that is missing, or whose log is in use")
            log_length, log_offset = struct.unpack_from("<IQ", header, 68)
            header[8:16] = (order.index(offset) + 1).to_bytes(8, "little")
            header[16:32] = uuid.uuid5(identity, "file write").bytes_le
            header[32:48] = uuid.uuid5(identity, "data write").bytes_le
            header[4:8] = bytes(4)
            header[4:8] = compute_crc32c(header).to_bytes(4, "little")
            _write(file, offset, bytes(header))
            _write(file, log_offset, bytes(log_length))
        _write(file, _find_page_83(path, file), identity.bytes_le)


def _find_page_83(path: Path, file: BinaryIO) -> int:
    """Where the virtual disk's ID is, through the region table and the metadata table."""
    table = _read(file, REGION_TABLE, 64 * KIB)
    for number in range(int.from_bytes(table[8:12], "little")):
        guid, region, _, _ = struct.unpack_from("<16sQII", table, 16 + 32 * number)
        if guid != METADATA_REGION.bytes_le:
            continue
        metadata = _read(file, region, 64 * KIB)
        for entry in range(int.from_bytes(metadata[10:12], "little")):
            item, offset, length = struct.unpack_from("<16sII", metadata, 32 + 32 * entry)
            if item == PAGE_83.bytes_le and length == 16:
                return int(region + offset)
    raise _unexpected(path, "no virtual disk ID")


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _write(file: BinaryIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    file.write(data)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def compute_crc32c(data: bytes | bytearray) -> int:
    """CRC-32C (Castagnoli), RFC 3720 appendix B.4."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF

"""VHDX, as Hyper-V takes it ([MS-VHDX], sections 2.2 to 2.6)."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path
from typing import BinaryIO

from builder.products.product import KIB, Conversion, Product, make_stamp_error

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
            raise make_stamp_error(path, "no VHDX")
        headers = {offset: bytearray(_read(file, offset, HEADER_SIZE)) for offset in HEADERS}
        # The header with the greater number is the current one; qemu-img begins to count anywhere.
        order = sorted(HEADERS, key=lambda offset: bytes(headers[offset][8:16][::-1]))
        for offset, header in headers.items():
            if header[:4] != b"head" or any(header[48:64]):
                raise make_stamp_error(path, "a header that is missing, or whose log is in use")
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
    raise make_stamp_error(path, "no virtual disk ID")


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


VHDX = Conversion(
    "vhdx",
    ("-O", "vhdx", "-o", "subformat=dynamic"),
    lambda path, identity: stamp_vhdx(path, identity.make_uuid("vhdx")),
)
PRODUCTS = (Product("hyperv", "Microsoft Hyper-V, generation 2", "VHDX, dynamic", ".vhdx", conversion=VHDX),)

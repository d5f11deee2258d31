"""VHD, as Azure takes it (Virtual Hard Disk Image Format Specification 1.0)."""

from __future__ import annotations

import uuid
from pathlib import Path

from builder.products.product import SECTOR, Conversion, Product, make_stamp_error

EPOCH = 946684800  # 2000-01-01T00:00:00Z


def stamp_vhd(path: Path, identity: uuid.UUID, created: int) -> None:
    """Set the unique ID and the time (seconds since 1970) of a fixed VHD ("Hard Disk Footer Format").

    Raises:
        ToolError: it is no fixed VHD.
    """
    with path.open("r+b") as file:
        file.seek(-SECTOR, 2)
        footer = bytearray(file.read(SECTOR))
        if footer[:8] != b"conectix" or footer[60:64] != b"\0\0\0\2":
            raise make_stamp_error(path, "no footer of a fixed VHD")
        footer[24:28] = max(0, created - EPOCH).to_bytes(4, "big")
        footer[68:84] = identity.bytes
        footer[64:68] = bytes(4)
        footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
        file.seek(-SECTOR, 2)
        file.write(footer)


VHD = Conversion(
    "vhd",
    ("-O", "vpc", "-o", "subformat=fixed,force_size=on"),
    lambda path, identity: stamp_vhd(path, identity.make_uuid("vhd"), identity.created),
)
PRODUCTS = (Product("azure", "Microsoft Azure, Azure Stack", "VHD, fixed, of whole MiB", ".vhd", conversion=VHD),)

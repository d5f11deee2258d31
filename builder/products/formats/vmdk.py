"""VMDK, as VMware and Amazon import it (Virtual Disk Format 5.0)."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from builder.products.product import SECTOR, Conversion, Identity, Product, make_stamp_error

# What the disk's own descriptor says that the file is called.
DISK_NAME = "disk.vmdk"


def stamp_vmdk(path: Path, content_id: int, name: str) -> None:
    """Set the content ID and the name by which the descriptor calls this file ("Hosted Sparse Extents").

    Raises:
        ToolError: there is no embedded descriptor, or no room for the new one.
    """
    with path.open("r+b") as file:
        head = file.read(SECTOR)
        magic, _, _, _, _, offset, sectors = struct.unpack_from("<4sIIQQQQ", head)
        if magic != b"KDMV" or not offset:
            raise make_stamp_error(path, "no embedded descriptor")
        file.seek(offset * SECTOR)
        room = sectors * SECTOR
        text = file.read(room).rstrip(b"\0")
        text, ids = re.subn(rb"(?m)^CID=[0-9a-f]{1,8}$", b"CID=%08x" % content_id, text)
        text, names = re.subn(rb'(?m)^(RW \d+ SPARSE) "[^"\n]*"$', rb'\1 "%b"' % name.encode(), text)
        if (ids, names) != (1, 1) or len(text) > room:
            raise make_stamp_error(path, "a descriptor with other lines")
        file.seek(offset * SECTOR)
        file.write(text.ljust(room, b"\0"))


def _stamp(path: Path, identity: Identity) -> None:
    # The top bit stays clear: ffffffff means "no parent".
    stamp_vmdk(path, identity.make_uuid("vmdk").int & 0x7FFFFFFF, DISK_NAME)


VMDK = Conversion("vmdk", ("-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic,compat6=on"), _stamp)
PRODUCTS = (Product("aws", "Amazon EC2", "VMDK streamOptimized, lsilogic, compat6", ".vmdk", conversion=VMDK),)

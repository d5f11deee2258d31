"""VMDK, as VMware and Amazon import it."""

from __future__ import annotations

from pathlib import Path

from builder.products.product import Conversion, Identity, Product
from builder.products.stamps import stamp_vmdk

# What the disk's own descriptor says that the file is called.
DISK_NAME = "disk.vmdk"


def _stamp(path: Path, identity: Identity) -> None:
    # The top bit stays clear: ffffffff means "no parent".
    stamp_vmdk(path, identity.make_uuid("vmdk").int & 0x7FFFFFFF, DISK_NAME)


VMDK = Conversion("vmdk", ("-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic,compat6=on"), _stamp)
PRODUCTS = (Product("aws", "Amazon EC2", "VMDK streamOptimized, lsilogic, compat6", ".vmdk", conversion=VMDK),)

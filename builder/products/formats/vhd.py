"""VHD and VHDX, as Microsoft's hypervisors take them."""

from __future__ import annotations

from builder.products.product import Conversion, Product
from builder.products.stamps import stamp_vhd, stamp_vhdx

VHD = Conversion(
    "vhd",
    ("-O", "vpc", "-o", "subformat=fixed,force_size=on"),
    lambda path, identity: stamp_vhd(path, identity.make_uuid("vhd"), identity.created),
)
VHDX = Conversion(
    "vhdx",
    ("-O", "vhdx", "-o", "subformat=dynamic"),
    lambda path, identity: stamp_vhdx(path, identity.make_uuid("vhdx")),
)
PRODUCTS = (
    Product("azure", "Microsoft Azure, Azure Stack", "VHD, fixed, of whole MiB", ".vhd", conversion=VHD),
    Product("hyperv", "Microsoft Hyper-V, generation 2", "VHDX, dynamic", ".vhdx", conversion=VHDX),
)

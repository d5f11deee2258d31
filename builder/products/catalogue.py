"""Every product there is. Definitions, their schema, builds and the tables of the documentation are made from it."""

from __future__ import annotations

from collections.abc import Mapping

from builder.products.formats import bundle, gce, kubevirt, oci, ova, qcow2, raw, update, vhd, vhdx, vmdk
from builder.products.product import CONTAINER_PARTS, SYSTEM_PARTS, Product

PRODUCTS: Mapping[str, Product] = {
    product.name: product
    for module in (qcow2, raw, vmdk, ova, vhd, vhdx, gce, kubevirt, update, oci, bundle)
    for product in module.PRODUCTS
}
DEFAULT = "qcow2"
# What the outputs of a system's definition can name: what needs nothing else than a system has.
SYSTEM_PRODUCTS: Mapping[str, Product] = {
    name: product for name, product in PRODUCTS.items() if product.needs <= SYSTEM_PARTS
}
# What those of a container's definition can name.
CONTAINER_DEFAULT = "oci"
CONTAINER_PRODUCTS: Mapping[str, Product] = {
    name: product for name, product in PRODUCTS.items() if product.needs <= CONTAINER_PARTS
}

"""qcow2, as QEMU and the clouds that are built on it take it."""

from __future__ import annotations

from builder.products.formats.qcow2_file import can_write, write_qcow2
from builder.products.formats.raw import finish_gzip
from builder.products.product import GIB, Conversion, Product, Writer

QCOW2 = Conversion("qcow2", ("-O", "qcow2", "-o", "compat=1.1"), writer=Writer(can_write, write_qcow2))
QCOW2_ZLIB = Conversion("qcow2-zlib", ("-O", "qcow2", "-o", "compat=1.1,compression_type=zlib", "-c"))
PLAIN = "qcow2, compat 1.1"

PRODUCTS = (
    Product("qcow2", "QEMU, libvirt, Proxmox VE", PLAIN, ".qcow2", conversion=QCOW2),
    Product("openstack", "OpenStack", PLAIN, ".qcow2", conversion=QCOW2),
    Product("alibaba", "Alibaba Cloud", PLAIN, ".qcow2", conversion=QCOW2),
    Product("oracle", "Oracle Cloud", PLAIN, ".qcow2", conversion=QCOW2),
    Product("exoscale", "Exoscale", PLAIN, ".qcow2", conversion=QCOW2, disk_size=10 * GIB),
    Product("nutanix", "Nutanix AHV", "qcow2 with zlib compression inside", ".qcow2", conversion=QCOW2_ZLIB),
    Product("digitalocean", "DigitalOcean", "gzip of the qcow2", ".qcow2.gz", finish=finish_gzip, conversion=QCOW2),
)

"""KubeVirt's containerDisk: a container image with nothing but a disk in it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.files import open_replacement
from builder.products.formats.qcow2 import QCOW2_ZLIB
from builder.products.product import Job, Product

if TYPE_CHECKING:
    from builder.tree.tree import Tree


def finish_container_disk(job: Job) -> None:
    """Write the image as an OCI archive."""
    from builder.oci.image import ImageConfig, write_archive, write_layout  # noqa: PLC0415 - see the catalogue

    identity = job.identity
    config = ImageConfig(identity.architecture, identity.name, identity.version, created=identity.created)
    with tempfile.TemporaryDirectory(dir=job.out.parent, prefix=".kubevirt-") as layout:
        write_layout(make_container_disk(job.disk, identity.name), config, Path(layout))
        with open_replacement(job.out) as archive:
            write_archive(Path(layout), archive, created=identity.created)


def make_container_disk(qcow2: Path, name: str) -> Tree:
    """A KubeVirt containerDisk: nothing but ``/disk/NAME.qcow2``, readable by the user QEMU runs as there."""
    from builder.tree.node import Slice, make_directory, make_file  # noqa: PLC0415 - see the catalogue
    from builder.tree.tree import Tree  # noqa: PLC0415

    tree = Tree()
    tree.put("/disk", make_directory(0o555, origin="output:kubevirt", uid=107, gid=107))
    disk = make_file(b"", 0o440, origin="output:kubevirt", uid=107, gid=107)
    tree.put(f"/disk/{name}.qcow2", disk.copy_with(content=Slice(str(qcow2), 0, qcow2.stat().st_size)))
    return tree


PRODUCTS = (
    Product(
        "kubevirt",
        "KubeVirt containerDisk",
        "OCI archive with a compressed qcow2 in `/disk`",
        ".oci.tar",
        finish=finish_container_disk,
        conversion=QCOW2_ZLIB,
    ),
)

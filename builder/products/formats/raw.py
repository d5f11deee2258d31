"""The disk itself, as it is or packed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from builder.core.files import open_replacement
from builder.products.product import MIB, Job, Product
from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from builder.core import pigz
else:
    pigz = import_lazily("builder.core.pigz")  # see gce.py


def finish_gzip(job: Job) -> None:
    """Compress the disk, at level 1: the root is compressed already, and zeros shrink at any level."""
    with (
        open_replacement(job.out) as file,
        pigz.open_gzip(job.tools, file, level=1) as packed,
        job.disk.open("rb") as source,
    ):
        shutil.copyfileobj(source, packed, MIB)


PRODUCTS = (
    Product("raw", "metal, Hetzner, Vultr", "the disk itself, sparse", ".raw"),
    Product("akamai", "Akamai (Linode)", "gzip of the disk", ".raw.gz", finish=finish_gzip),
)

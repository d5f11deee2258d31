"""What Google Compute Engine imports: a tar with one member, ``disk.raw``, in GNU's old sparse format.

Written here and not by GNU tar, because that asks the file system for the holes, and the bytes must not depend
on it. The format: GNU tar manual, "Old GNU Format" (``oldgnu_header``, ``sparse_header``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.files import open_replacement
from builder.core.sparse import Extent, find_extents, read_extents
from builder.products.product import GIB, Job, Part, Product
from builder.tree.tar_headers import BLOCK
from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from builder.core import pigz
    from builder.tree import tar
    from builder.tree.tar import Writer
else:
    # Every command that reads a definition imports this module, for the list of products.
    pigz, tar = import_lazily("builder.core.pigz"), import_lazily("builder.tree.tar")

MEMBER = b"disk.raw"
IN_HEADER = 4  # sparse entries in the header
IN_EXTENSION = 21  # and in each extension block
RECORD = 20 * BLOCK  # GNU tar fills up its last record; readers of the time insist on it


def write_disk_tar(raw: Path, out: Writer, *, created: int) -> None:
    """Write the disk as ``disk.raw``.

    Args:
        created: the member's time, in seconds since 1970.

    Raises:
        OSError: ``raw`` cannot be read.
    """
    with raw.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        extents = find_extents(file)
        head = make_sparse_headers(extents, size, created)
        out.write(head)
        stored = sum(length for _, length in extents)
        for piece in read_extents(file, extents):
            out.write(piece)
    total = len(head) + stored + -stored % BLOCK
    out.write(bytes(-stored % BLOCK + 2 * BLOCK + -(total + 2 * BLOCK) % RECORD))


def make_sparse_headers(extents: list[Extent], size: int, created: int) -> bytes:
    """The header of the member and the extension blocks with the rest of its map."""
    stored = sum(length for _, length in extents)
    # An empty entry at the end tells the size of a file that ends in a hole.
    ends_in_hole = not extents or sum(extents[-1]) < size
    entries = [_entry(*extent) for extent in [*extents, *([(size, 0)] if ends_in_hole else [])]]
    plain = tar.make_ustar_header(MEMBER, b"S", 0o644, 0, 0, 0, created)
    rest = entries[IN_HEADER:]
    head = b"".join(
        (
            plain[:124],
            format_number(stored),
            plain[136:148],
            b" " * 8,  # the checksum, for now
            plain[156:257],
            b"ustar  \0",
            bytes(32 + 32 + 8 + 8),  # names of owners, device
            bytes(12 + 12 + 12 + 4 + 1),  # atime, ctime, offset, longnames, unused
            b"".join(entries[:IN_HEADER]).ljust(IN_HEADER * 24, b"\0"),
            b"\1" if rest else b"\0",
            format_number(size),
            bytes(17),
        )
    )
    blocks = [tar.seal(head)]
    while rest:
        now, rest = rest[:IN_EXTENSION], rest[IN_EXTENSION:]
        block = b"".join(now).ljust(IN_EXTENSION * 24, b"\0") + (b"\1" if rest else b"\0")
        blocks.append(block.ljust(BLOCK, b"\0"))
    return b"".join(blocks)


def _entry(offset: int, length: int) -> bytes:
    return format_number(offset) + format_number(length)


def format_number(value: int) -> bytes:
    """A 12-byte field: octal, and GNU's base 256 from 8 GiB on."""
    return b"%011o\0" % value if value < 8**11 else b"\x80" + value.to_bytes(11, "big")


def finish_disk_tar(job: Job) -> None:
    """Write the disk as a compressed tar."""
    with open_replacement(job.out) as file, pigz.open_gzip(job.tools, file, level=1) as packed:
        write_disk_tar(job.parts[Part.RAW], packed, created=job.identity.created)


PRODUCTS = (
    Product(
        "gce",
        "Google Compute Engine",
        "gzip of an old-GNU sparse tar with `disk.raw`",
        ".tar.gz",
        finish=finish_disk_tar,
        disk_multiple=GIB,
    ),
)

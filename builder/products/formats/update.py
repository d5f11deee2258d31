"""What a machine that runs an older version takes: the parts of a system, each compressed, and what they are."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.files import CHUNK, hash_file, open_replacement
from builder.products.product import Identity, Job, Part, Product
from builder.tree.tar_headers import BLOCK
from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from builder.core.tools import Tools
    from builder.tree import tar
    from builder.tree.tar import Writer
    from update import documents
    from update.documents import Release, ReleasePart
else:
    # Every command that reads a definition imports this module, for the list of products.
    documents, tar = import_lazily("update.documents"), import_lazily("builder.tree.tar")

# The root is compressed already, and higher levels find little more in it. The number of threads is not that of the
# machine's processors: the bytes depend on whether there is more than one.
ZSTD = ("zstd", "--quiet", "--threads=4", "-9")


def make_release(identity: Identity, parts: dict[str, ReleasePart]) -> Release:
    """What a payload says of itself."""
    return documents.Release(identity.name, identity.version, identity.architecture, identity.roothash, parts)


def find_partition_uuid(part: str, roothash: str) -> str | None:
    """The UUID that the part's partition must have, if any (UAPI.2, "Partition UUIDs")."""
    match part:
        case "root":
            return str(uuid.UUID(roothash[:32]))
        case "verity":
            return str(uuid.UUID(roothash[-32:]))
        case _:
            return None


def compress_part(part: str, source: Path, directory: Path, tools: Tools, roothash: str) -> ReleasePart:
    """Write ``PART.zst`` and describe it.

    Raises:
        CapabilityError: the tools tree has no zstd.
        ToolError: it failed.
    """
    target = directory / f"{part}.zst"
    tools.run(*ZSTD, source, "-o", target)
    file = documents.TransferFile(target.name, target.stat().st_size, hash_file(target))
    return documents.ReleasePart(source.stat().st_size, hash_file(source), find_partition_uuid(part, roothash), (file,))


def write_payload(release: Release, directory: Path, out: Writer, *, created: int) -> None:
    """Write the archive: ``release.json``, then the files that it names, which are in ``directory``; ustar, with the
    time ``created`` (seconds since 1970)."""
    text = documents.format_release(release)
    out.write(_header(documents.RELEASE_FILE, len(text), created) + text + bytes(-len(text) % BLOCK))
    for part in release.parts.values():
        for file in part.files:
            out.write(_header(file.name, file.size, created))
            with (directory / file.name).open("rb") as source:
                shutil.copyfileobj(source, out, CHUNK)
            out.write(bytes(-file.size % BLOCK))
    out.write(bytes(2 * BLOCK))


def _header(name: str, size: int, created: int) -> bytes:
    return tar.make_ustar_header(name.encode(), b"0", 0o644, 0, 0, size, created)


def finish_update(job: Job) -> None:
    """Compress the parts and pack them."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - brings logging

    roothash = job.identity.roothash
    present = [name for name in documents.PARTS if Part(name) in job.parts]
    with tempfile.TemporaryDirectory(dir=job.out.parent, prefix=".update-") as scratch:
        directory = Path(scratch)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            running = [
                pool.submit(
                    copy_context().run,
                    partial(compress_part, name, job.parts[Part(name)], directory, job.tools, roothash),
                )
                for name in present
            ]
            parts = {name: future.result() for name, future in zip(present, running, strict=True)}
        with open_replacement(job.out) as file:
            write_payload(make_release(job.identity, parts), directory, file, created=job.identity.created)


PRODUCTS = (
    Product(
        "update",
        "machines that run an older version",
        "tar of `release.json` and of root, verity, signature and UKI, each as zstd",
        ".tar",
        needs=frozenset({Part.ROOT, Part.VERITY, Part.UKI}),
        finish=finish_update,
    ),
)

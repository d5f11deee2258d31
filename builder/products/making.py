"""Products are made: the disk is converted by qemu-img where that is asked for, and each product is finished.

Products that name the same conversion share it. All are reproducible: the same parts, name, version and time give the
same bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

from builder.core.errors import InputError
from builder.core.sparse import copy_range, copy_sparse
from builder.core.tools import Tools
from builder.products.product import Conversion, Identity, Job, Part, Piece, Product, Writer


def make_products(
    products: Sequence[Product],
    parts: Mapping[Part, Path],
    directory: Path,
    tools: Tools,
    identity: Identity,
    pieces: Sequence[Piece] = (),
) -> dict[str, Path]:
    """Write products into a directory, as many at a time as there are processors.

    Args:
        parts: what they need, at least.
        pieces: what the disk lacks that is among them. They are put into it if a product needs it whole.

    Returns:
        Their paths, by name; each file appears under its name when it is whole.

    Raises:
        InputError: the disk's size does not suit one of them.
        CapabilityError: the tools tree lacks qemu-img or pigz.
        ToolError: one of them failed.
    """
    if Part.RAW in parts:
        require_sizes(products, parts[Part.RAW].stat().st_size)
    directory.mkdir(parents=True, exist_ok=True)
    outs = {product.name: directory / product.make_file_name(identity.name) for product in products}
    conversions = dict.fromkeys(product.conversion for product in products if product.conversion is not None)
    if any(needs_whole_disk(product, parts, pieces) for product in products):
        put_into_disk(parts[Part.RAW], pieces)
        pieces = ()
    # A converted disk that is a product is moved; it is copied only where several products are the same thing.
    moved = {p.conversion: p for p in products if p.finish is None and p.conversion is not None}
    with tempfile.TemporaryDirectory(dir=directory, prefix=".products-") as scratch:
        converted = {conversion: Path(scratch) / f"disk.{conversion.name}" for conversion in conversions}
        others = [product for product in products if product not in moved.values()]
        # What needs no conversion is queued before what waits for one.
        others.sort(key=lambda product: product.conversion is not None)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            running = {
                conversion: pool.submit(
                    copy_context().run, _convert, conversion, parts[Part.RAW], path, tools, identity, pieces
                )
                for conversion, path in converted.items()
            }

            def finish(product: Product) -> None:
                disk = None
                if product.conversion is not None:
                    running[product.conversion].result()
                    disk = converted[product.conversion]
                (product.finish or _copy)(Job(parts, disk, outs[product.name], tools, identity))

            try:
                list(pool.map(finish, others))
                for conversion in running.values():
                    conversion.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for wanted, product in moved.items():
            converted[wanted].replace(outs[product.name])
    return outs


def require_sizes(products: Sequence[Product], size: int) -> None:
    """Refuse a disk of this size (bytes) that cannot become one of the products.

    Raises:
        InputError: says which and why.
    """
    problems = [problem for product in products if (problem := product.find_size_problem(size)) is not None]
    if problems:
        raise InputError(problems[0], details=problems[1:], hint="change disk.size, or take the output out")


def make_convert_argv(conversion: Conversion, raw: Path, out: Path) -> tuple[str, ...]:
    """The command line that converts. Writes stay in order (no ``-W``), or the layout would be a race."""
    return ("qemu-img", "convert", "-f", "raw", *conversion.options, str(raw), str(out))


def needs_whole_disk(product: Product, parts: Mapping[Part, Path], pieces: Sequence[Piece]) -> bool:
    """Whether a product is made of the disk as one file."""
    if Part.RAW not in product.needs:
        return False
    writer = None if product.conversion is None else product.conversion.writer
    return writer is None or not _can_write(writer, parts[Part.RAW], pieces)


def _can_write(writer: Writer, raw: Path, pieces: Sequence[Piece]) -> bool:
    status = raw.stat()
    used = min(status.st_size, status.st_blocks * 512) + sum(piece.path.stat().st_size for piece in pieces)
    return writer.can_write(status.st_size, used)


def put_into_disk(disk: Path, pieces: Sequence[Piece]) -> None:
    """Make a disk whole.

    Raises:
        OSError: the file system is full.
    """
    with disk.open("r+b") as writing:
        for piece in pieces:
            with piece.path.open("rb") as reading:
                copy_range(reading.fileno(), writing.fileno(), 0, piece.offset, piece.path.stat().st_size)


def _convert(
    conversion: Conversion, raw: Path, out: Path, tools: Tools, identity: Identity, pieces: Sequence[Piece]
) -> None:
    if conversion.writer is not None and _can_write(conversion.writer, raw, pieces):
        conversion.writer.write(raw, pieces, out)
    else:
        tools.run(*make_convert_argv(conversion, raw, out))
    out.chmod(0o644)
    if conversion.stamp is not None:
        conversion.stamp(out, identity)


def _copy(job: Job) -> None:
    with tempfile.TemporaryDirectory(dir=job.out.parent, prefix=".copy-") as scratch:
        copy = Path(scratch) / job.out.name
        copy_sparse(job.disk, copy)
        copy.chmod(0o644)
        copy.replace(job.out)

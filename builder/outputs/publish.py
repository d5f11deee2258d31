"""A build's products, written, hashed, and moved into the output directory with what lies beside them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from builder.core.console import Console
from builder.core.files import sync_content, sync_names
from builder.core.parallel import run_parallel
from builder.core.tools import Tools
from builder.outputs import sbom as sboms
from builder.outputs.manifest import Artifact
from builder.products.making import make_products
from builder.products.product import Identity, Part, Piece, Product


def publish(
    products: Sequence[Product],
    parts: Mapping[Part, Path],
    companions: Mapping[str, tuple[Path, str]],
    sbom: bytes,
    out: Path,
    tools: Tools,
    console: Console,
    identity: Identity,
    seconds: dict[str, float],
    pieces: Sequence[Piece] = (),
    judge: Callable[[Mapping[str, Artifact]], None] = lambda _: None,
) -> dict[str, Artifact]:
    """Write the products and move everything into ``out``, each file whole or not at all.

    Args:
        parts: what products are made of.
        companions: other files that are left beside them, with their suffix (no dot), by kind.
        sbom: the bill of materials.
        seconds: receives how long the products took.
        pieces: what the disk among the parts lacks.
        judge: is told of the artifacts before they are moved, and raises if they must not be.

    Returns:
        The artifacts, by kind: the companions, then the products.

    Raises:
        InputError, CapabilityError, ToolError: see :func:`builder.products.making.make_products`.
    """
    with tempfile.TemporaryDirectory(dir=out, prefix=".new-") as directory:
        fresh = Path(directory)
        files: dict[str, tuple[Path, str]] = {}
        for kind, (source, suffix) in companions.items():
            target = fresh / f"{identity.name}.{suffix}"
            shutil.copyfile(source, target)
            files[kind] = (target, suffix)
        target = fresh / f"{identity.name}{sboms.SUFFIX}"
        target.write_bytes(sbom)
        files["sbom"] = (target, sboms.FORMAT)
        if products:
            started = time.monotonic()
            with console.open_step(f"write {', '.join(product.name for product in products)}"):
                written = make_products(products, parts, fresh, tools, identity, pieces)
            seconds["formats"] = time.monotonic() - started
            files |= {product.name: (written[product.name], product.format) for product in products}
        with console.open_step("hash artifacts"):
            for path, _ in files.values():
                path.chmod(0o644)
            # OpenSSL leaves Python's lock while it hashes, and the disk writes meanwhile.
            measured = run_parallel(*(partial(_make_durable, path, form) for path, form in files.values()))
        artifacts = dict(zip(files, measured, strict=True))
        judge(artifacts)
        for path, _ in files.values():
            path.replace(out / path.name)
        sync_names(out)
    return artifacts


def _make_durable(path: Path, form: str) -> Artifact:
    """Describe a file whose content is on the disk by then."""
    artifact, _ = run_parallel(partial(Artifact.measure, path, form), partial(sync_content, path))
    assert isinstance(artifact, Artifact)
    return artifact

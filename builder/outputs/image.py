"""The outputs in order: what a system's finished tree becomes, and what of it can be used again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from builder.core.beside import beside
from builder.core.errors import BuildError
from builder.core.files import sha256_file
from builder.outputs.disk import make_disk, write_esp_files
from builder.outputs.facts import make_facts
from builder.outputs.initrd import make_initrd_tree, write_initrd
from builder.outputs.root import Root, make_erofs, make_verity, split
from builder.outputs.signing import Signer
from builder.outputs.uki import NO_ROOT_HASH, command_line, make_uki, read_parts, sealed, write_root_hash
from builder.outputs.wanted import Made, Wanted
from builder.stages.stage import Context, source_hash
from builder.tree.tree import Tree

T = TypeVar("T")
# Where it is, an output is whole; it holds the hashes.
COMPLETE = "complete"


@dataclass
class Timer:
    """Measures the outputs by name and shows them as steps."""

    context: Context
    seconds: dict[str, float]

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """One output."""
        started = time.monotonic()
        with self.context.console.step(title):
            yield
        self.seconds[name] = time.monotonic() - started


def make_outputs(
    tree: Tree,
    tree_key: str,
    wanted: Wanted,
    context: Context,
    seconds: dict[str, float],
    signer: Signer | None = None,
) -> Made:
    """Make root, initrd, UKI and raw disk.

    All but the disk are kept in the store under keys of their inputs; what is signed is never kept there.
    """
    timer = Timer(context, seconds)
    label = f"{wanted.name}_{wanted.version}"
    scratch = context.scratch
    kernel, uki, disk, facts, esp = (scratch / name for name in ("vmlinuz", "uki.efi", "disk.raw", "facts.json", "esp"))

    def words(roothash: str) -> str:
        credentials = wanted.import_credentials(signed=signer is not None)
        line = command_line(roothash, wanted.extra_command_line, import_credentials=credentials)
        return line if signer is None else sealed(line)

    def make_root() -> Root:
        with timer.step("root", "root file system"):
            return _root(tree, tree_key, wanted, context)

    with ThreadPoolExecutor(1) as pool:
        # While mkfs.erofs compresses, what boots it is made from the same tree; neither changes it.
        making_root = pool.submit(copy_context().run, make_root)
        with timer.step("initrd", "initrd"):
            initrd = _initrd(tree.copy(), wanted, context)
        with timer.step("uki", "unified kernel image"):
            parts = read_parts(tree, wanted.arch)
            kernel.write_bytes(parts["linux"])
            template = _uki(parts, initrd, words(NO_ROOT_HASH), wanted, context)
        with timer.step("facts", "facts for checking configs"):
            facts.write_bytes(make_facts(without_kernel(tree), wanted.layout, label))
        root = making_root.result()
    write_root_hash(template, uki, root.roothash)
    certificate = signature = None
    if signer is not None:
        with timer.step("sign", "signatures"):
            uki.write_bytes(signer.signed_program(uki.read_bytes()))
            signature = signer.signed_root_hash(root.roothash)
            certificate = scratch / "certificate"
            certificate.write_bytes(signer.pair.der)
    with timer.step("disk", "disk"):
        write_esp_files(tree, uki, esp, arch=wanted.arch, name=label, signer=signer)
        make_disk(
            wanted.layout,
            root,
            context.tools,
            scratch,
            disk,
            arch=wanted.arch,
            name=label,
            esp=esp,
            signature=signature,
        )
    return Made(root, kernel, initrd, uki, disk, facts, words(root.roothash), certificate)


def _key(context: Context, *parts: object) -> str:
    """Of an output: what it is made of, and by which programs."""
    parts = (context.tools.root.name, *parts)
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


@contextmanager
def _kept(context: Context, key: str, known: Mapping[str, str] | None = None) -> Iterator[tuple[Path, Path | None]]:
    """(directory in the store, where to make its content or ``None`` if it is there already).

    ``known`` may be given hashes of files by name, by whoever had the time to make them.
    """
    final = context.store.root / "outputs" / key
    if (final / COMPLETE).exists():
        if _is_whole(final):
            os.utime(final)  # used again: see Store.prune
            yield final, None
            return
        context.console.warn(f"{final} in the store is damaged or of another format; making it again")
        (final / COMPLETE).unlink(missing_ok=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    # In the scratch directory, or a build that is killed would leave it for good.
    fresh = Path(tempfile.mkdtemp(dir=context.scratch, prefix="output-"))
    try:
        yield final, fresh
        (fresh / COMPLETE).write_text(_sums(fresh, known or {}), encoding="ascii")
        shutil.rmtree(final, ignore_errors=True)
        try:
            fresh.rename(final)
        except OSError as error:
            if not (final / COMPLETE).exists():  # another build may have been faster
                raise BuildError(f"cannot keep an output in the store: {error.strerror}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _sums(directory: Path, known: Mapping[str, str]) -> str:
    """Name and hash of each file, but for the one that will hold this."""
    names = sorted(path.name for path in directory.iterdir() if path.name != COMPLETE)
    return "".join(f"{known.get(name) or sha256_file(directory / name)}  {name}\n" for name in names)


def _is_whole(directory: Path) -> bool:
    """Whether a kept output is as it was made."""
    try:
        return (directory / COMPLETE).read_text(encoding="ascii") == _sums(directory, {})
    except (OSError, ValueError):
        return False


def _root(tree: Tree, tree_key: str, wanted: Wanted, context: Context) -> Root:
    key = _key(
        context, "root", tree_key, wanted.compression, wanted.level, wanted.name, source_hash("builder.outputs.root")
    )
    known: dict[str, str] = {}
    with _kept(context, key, known) as (final, fresh):
        if fresh is not None:
            image, hashes = fresh / "root.erofs", fresh / "root.verity"
            packaged, rest = split(without_kernel(tree))
            write_erofs(rest, context, wanted, image, onto=_packaged_root(packaged, wanted, context))
            roothash, known["root.erofs"] = beside(
                lambda: make_verity(image, context.tools, hashes, name=wanted.name), lambda: sha256_file(image)
            )
            (fresh / "roothash").write_text(roothash, encoding="ascii")
    return Root(final / "root.erofs", final / "root.verity", (final / "roothash").read_text(encoding="ascii"))


def _packaged_root(packaged: Tree, wanted: Wanted, context: Context) -> Path:
    """What packages brought, as an image that most builds find in the store."""
    # Not the digest: where content lies in the store says what it is, and need not be read.
    content = hashlib.sha256(packaged.dumps()).hexdigest()
    key = _key(
        context, "packaged", content, wanted.compression, wanted.level, wanted.name, source_hash("builder.outputs.root")
    )
    with _kept(context, key) as (final, fresh):
        if fresh is not None:
            write_erofs(packaged, context, wanted, fresh / "root.erofs")
    return final / "root.erofs"


def write_erofs(tree: Tree, context: Context, wanted: Wanted, out: Path, onto: Path | None = None) -> None:
    """:func:`make_erofs` as the definition wants it."""
    make_erofs(
        tree, context.tools, out, compression=wanted.compression, level=wanted.level, name=wanted.name, onto=onto
    )


def without_kernel(tree: Tree) -> Tree:
    """The root as it is shipped: the kernel itself is in the unified kernel image, and nowhere else."""
    return Tree({path: node for path, node in tree.walk() if not _is_kernel(path)})


def _is_kernel(path: str) -> bool:
    return path.startswith("/usr/lib/modules/") and path.endswith("/vmlinuz")


def _uki(parts: Mapping[str, bytes], initrd: Path, words: str, wanted: Wanted, context: Context) -> Path:
    """The unified kernel image, but for the root hash."""
    hashes = [hashlib.sha256(part).hexdigest() for part in parts.values()]
    # Of the initrd the directory's name is enough: it is kept under the key of all that is in it.
    key = _key(context, "uki", *hashes, words, initrd.parent.name, wanted.arch, source_hash("builder.outputs.uki"))
    with _kept(context, key) as (final, fresh):
        if fresh is not None:
            out, scratch = fresh / "uki.efi", context.scratch
            make_uki(parts, context.tools, scratch, out, arch=wanted.arch, initrd=initrd, cmdline=words)
    return final / "uki.efi"


def _initrd(tree: Tree, wanted: Wanted, context: Context) -> Path:
    picked = make_initrd_tree(tree, wanted.initrd_overlay, wanted.modules)
    key = _key(context, "initrd", picked.digest(), source_hash("builder.outputs.initrd"))
    with _kept(context, key) as (final, fresh):
        if fresh is not None:
            write_initrd(picked, context.tools, context.scratch, fresh / "initrd.zst")
    return final / "initrd.zst"

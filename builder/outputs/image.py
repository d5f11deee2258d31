"""The outputs in order: what a system's finished tree becomes, and what of it can be used again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.inputs import hash_source
from builder.core.kept import OUTPUTS, ROOTS, KeptEntry, Section, keep
from builder.definition.model import SIGNATURE_SIZE
from builder.outputs.disk import make_disk, write_esp_files
from builder.outputs.facts import make_facts
from builder.outputs.hash_tree import Known
from builder.outputs.image_parts import ImageParts, ImageSettings
from builder.outputs.initrd import make_initrd_tree, write_initrd
from builder.outputs.registers import IN_INITRD, Registers, compute_policy, compute_registers
from builder.outputs.root import Root, make_erofs, make_verity, split
from builder.outputs.uki import (
    DEVELOPMENT_KEYS,
    NO_ROOT_HASH,
    fill_command_line,
    make_command_line,
    make_uki,
    read_parts,
    write_policy,
    write_root_hash,
)
from builder.stages.stage import Context
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from builder.outputs.signing import Signer  # brings cryptography, and most builds sign nothing


@dataclass
class Timer:
    """Measures the outputs by name and shows them as steps."""

    context: Context
    seconds: dict[str, float]

    @contextmanager
    def measure_step(self, name: str, title: str) -> Iterator[None]:
        """One output."""
        started = time.monotonic()
        with self.context.console.open_step(title):
            yield
        self.seconds[name] = time.monotonic() - started


def make_outputs(
    tree: Tree,
    settings: ImageSettings,
    context: Context,
    seconds: dict[str, float],
    signer: Signer | None = None,
) -> ImageParts:
    """Make root, initrd, UKI and raw disk.

    What seldom changes of the root, initrd and UKI are kept in the store under keys of their inputs; what is signed is
    never kept there.
    """
    timer = Timer(context, seconds)
    label = f"{settings.name}_{settings.version}"
    scratch = context.scratch
    kernel, uki, disk, facts, esp = (scratch / name for name in ("vmlinuz", "uki.efi", "disk.raw", "facts.json", "esp"))

    def words(roothash: str) -> str:
        credentials = settings.can_accept_credentials(signed=signer is not None)
        line = make_command_line(roothash, settings.extra_command_line, import_credentials=credentials)
        if signer is None:
            return line
        return fill_command_line(f"{line} {DEVELOPMENT_KEYS}" if signer.pair.is_development else line)

    def make_root() -> Root:
        with timer.measure_step("root", "root file system"):
            return _root(tree, settings, context)

    with ThreadPoolExecutor(1) as pool:
        # While mkfs.erofs compresses, what boots it is made from the same tree; neither changes it.
        making_root = pool.submit(copy_context().run, make_root)
        with timer.measure_step("initrd", "initrd"):
            initrd = _initrd(tree.copy(), settings, context)
        with timer.measure_step("uki", "unified kernel image"):
            parts = dict(read_parts(tree, settings.arch))
            if settings.encrypted_state and signer is not None:
                parts["pcrpkey"] = signer.read_public_key()
            kernel.write_bytes(parts["linux"])
            template = _uki(parts, initrd, words(NO_ROOT_HASH), settings, context)
        with timer.measure_step("facts", "facts for checking configs"):
            facts.write_bytes(make_facts(remove_kernel(tree), settings.layout, label))
        root = making_root.result()
    write_root_hash(template, uki, root.roothash)
    certificate = signature = None
    if signer is not None:
        with timer.measure_step("sign", "signatures"):
            if settings.encrypted_state:
                write_policy(uki, signer.sign_policy(compute_policy(uki, IN_INITRD)))
            uki.write_bytes(signer.sign_program(uki.read_bytes()))
            signature = scratch / "signature"
            signature.write_bytes(signer.sign_root_hash(root.roothash).ljust(SIGNATURE_SIZE, b"\0"))
            certificate = scratch / "certificate"
            certificate.write_bytes(signer.pair.der)
    with timer.measure_step("disk", "disk"):
        loader = write_esp_files(tree, uki, esp, arch=settings.arch, name=label, signer=signer)
        pieces = make_disk(
            settings.layout,
            root,
            context.tools,
            scratch,
            disk,
            arch=settings.arch,
            name=label,
            esp=esp,
            signature=signature,
        )
    registers: Registers = {}
    if signer is not None:
        registers = compute_registers(loader, uki, signer.pair.der, phases=settings.encrypted_state)
    return ImageParts(
        root, kernel, initrd, uki, disk, facts, words(root.roothash), certificate, signature, registers, pieces
    )


def _keep(
    context: Context, section: Section, what: str, inputs: Mapping[str, str], make: Callable[[Path], None]
) -> KeptEntry:
    """An output from the store, or made now; which one, and by which programs, is among what it is made of."""
    inputs = {"what": what, "tools": context.tools.root.name, **inputs}
    return keep(context.store, section, inputs, make, context.console, context.scratch)


def _root_inputs(settings: ImageSettings) -> dict[str, str]:
    return {
        "build-os": hash_source("builder.outputs.root"),
        "compression": settings.compression,
        "level": str(settings.level),
        "name": settings.name,
    }


def _root(tree: Tree, settings: ImageSettings, context: Context) -> Root:
    """Not kept itself: of what is, it is made as fast as it is read through."""
    image, hash_tree = context.scratch / "root.erofs", context.scratch / "root.verity"
    parts, rest = split(remove_kernel(tree))
    known = _kept_root(parts, settings, context)
    write_erofs(rest, context, settings, image, onto=known.image if known else None)
    return Root(image, hash_tree, make_verity(image, hash_tree, name=settings.name, known=known))


def _kept_root(parts: Sequence[Tree], settings: ImageSettings, context: Context) -> Known | None:
    """What seldom changes, as an image that most builds find in the store: each part onto those before it."""
    if not parts:
        return None
    # Not the digest: where content lies in the store says what it is, and need not be read.
    content = [part.hash_pointers(context.store.root) for part in parts]

    def make(fresh: Path) -> None:
        before = _kept_root(parts[:-1], settings, context)
        write_erofs(parts[-1], context, settings, fresh / "root.erofs", onto=before.image if before else None)
        make_verity(fresh / "root.erofs", fresh / "root.verity", name=settings.name, known=before)

    inputs = {"parts": " ".join(content), **_root_inputs(settings)}
    entry = _keep(context, ROOTS, "parts of the root", inputs, make)
    return Known(entry.path / "root.erofs", entry.path / "root.verity")


def write_erofs(tree: Tree, context: Context, settings: ImageSettings, out: Path, onto: Path | None = None) -> None:
    """:func:`make_erofs` as the definition wants it."""
    make_erofs(
        tree, context.tools, out, compression=settings.compression, level=settings.level, name=settings.name, onto=onto
    )


def remove_kernel(tree: Tree) -> Tree:
    """The root as it is shipped: the kernel itself is in the unified kernel image, and nowhere else."""
    return Tree({path: node for path, node in tree.walk() if not _is_kernel(path)})


def _is_kernel(path: str) -> bool:
    return path.startswith("/usr/lib/modules/") and path.endswith("/vmlinuz")


def _uki(parts: Mapping[str, bytes], initrd: Path, words: str, settings: ImageSettings, context: Context) -> Path:
    """The unified kernel image, but for the root hash."""
    inputs = {
        "build-os": hash_source("builder.outputs.uki"),
        "arch": settings.arch,
        "command line": words,
        # Of the initrd the directory's name is enough: it is kept under the key of all that is in it.
        "initrd": initrd.parent.name,
        **{name: hashlib.sha256(part).hexdigest() for name, part in parts.items()},
    }

    def make(fresh: Path) -> None:
        out, scratch = fresh / "uki.efi", context.scratch
        make_uki(parts, context.tools, scratch, out, arch=settings.arch, initrd=initrd, cmdline=words)

    return _keep(context, OUTPUTS, "uki", inputs, make).path / "uki.efi"


def _initrd(tree: Tree, settings: ImageSettings, context: Context) -> Path:
    picked = make_initrd_tree(
        tree, settings.initrd_overlays, settings.modules, encrypted_state=settings.encrypted_state
    )
    # Of what packages brought, where it lies in the store says what it is, and need not be read.
    packages = Tree({path: node for path, node in picked.walk() if node.origin.startswith("package:")})
    others = Tree({path: node for path, node in picked.walk() if not node.origin.startswith("package:")})
    inputs = {
        "build-os": hash_source("builder.outputs.initrd"),
        "files of packages": packages.hash_pointers(context.store.root),
        "other files": others.compute_digest(),
    }

    def make(fresh: Path) -> None:
        write_initrd(picked, context.tools, context.scratch, fresh / "initrd.zst")

    return _keep(context, OUTPUTS, "initrd", inputs, make).path / "initrd.zst"

"""What is asked of the outputs, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from builder.definition.model import Compression, Disk
from builder.outputs.registers import Registers
from builder.outputs.root import Root
from builder.products.product import Part, Piece


@dataclass(frozen=True)
class ImageSettings:
    """What the outputs depend on besides the tree.

    Attributes:
        extra_command_line: words after the ones that find the root.
        credentials: as in :class:`builder.definition.resolved.Resolved`.
        initrd_overlays: the units of our initrd.
        modules: kernel modules the initrd carries besides ours.
        encrypted_state: whether the TPM opens the state partition, for kernel images of the build's key.
    """

    name: str
    version: str
    arch: str
    compression: Compression
    level: int | None
    extra_command_line: tuple[str, ...]
    modules: tuple[str, ...]
    initrd_overlays: tuple[Path, ...]
    layout: Disk
    credentials: tuple[str, ...] | None = None
    encrypted_state: bool = False

    def can_accept_credentials(self, *, signed: bool) -> bool:
        """Whether systemd takes all that the platform hands over.

        Where nothing is signed, whoever can hand it over can also change what is started.
        """
        return not signed if self.credentials is None else "*" in self.credentials


@dataclass(frozen=True)
class ImageParts:
    """Files in the scratch directory or the store; the caller puts them where they are wanted.

    Attributes:
        pieces: what ``disk`` lacks.
    """

    root: Root
    kernel: Path
    initrd: Path
    uki: Path
    disk: Path
    facts: Path
    command_line: str
    certificate: Path | None = None
    signature: Path | None = None
    registers: Registers = field(default_factory=dict)
    pieces: tuple[Piece, ...] = ()

    @property
    def parts(self) -> dict[Part, Path]:
        """What products are made of."""
        signed = {} if self.signature is None else {Part.SIGNATURE: self.signature}
        return {
            Part.RAW: self.disk,
            Part.ROOT: self.root.image,
            Part.VERITY: self.root.hash_tree,
            Part.KERNEL: self.kernel,
            Part.INITRD: self.initrd,
            Part.UKI: self.uki,
            **signed,
        }

    @property
    def companions(self) -> dict[str, tuple[Path, str]]:
        """What every build leaves beside its products: kind -> (file, suffix)."""
        files = {
            "uki": (self.uki, "efi"),
            "kernel": (self.kernel, "vmlinuz"),
            "initrd": (self.initrd, "initrd"),
            "facts": (self.facts, "facts.json"),
        }
        return files if self.certificate is None else {**files, "certificate": (self.certificate, "cer")}

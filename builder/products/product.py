"""What a product is: one file that a build is asked for, made of parts that every build has."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.errors import ToolError

if TYPE_CHECKING:
    from builder.core.tools import Tools

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SECTOR = 512
NAMESPACE = uuid.UUID("6d6d3c4c-54a5-4a0e-9a0b-0d6b4d2c8c5e")


class Part(enum.StrEnum):
    """A file that products are made of."""

    RAW = "raw"  # the whole disk
    ROOT = "root"  # the EROFS image
    VERITY = "verity"  # its hash tree
    SIGNATURE = "signature"  # of the root hash, as its partition holds it; only where the build signs
    KERNEL = "kernel"
    INITRD = "initrd"
    UKI = "uki"
    OCI = "oci"  # an image layout, a directory
    BUNDLE = "bundle"  # a runtime's bundle, as a tar


SYSTEM_PARTS = frozenset(Part) - {Part.BUNDLE}
CONTAINER_PARTS = frozenset({Part.OCI, Part.BUNDLE})


@dataclass(frozen=True)
class Identity:
    """What products say of themselves.

    Attributes:
        seed: what random fields are derived from; the root hash makes them differ with the content.
        created: seconds since 1970.
        roothash: dm-verity's, of a system; empty for what has none.
    """

    name: str
    version: str
    architecture: str
    seed: str
    created: int = 0
    roothash: str = ""

    def make_uuid(self, purpose: str) -> uuid.UUID:
        """A UUID that depends on the seed and the purpose alone."""
        return uuid.uuid5(NAMESPACE, f"{self.seed}\0{purpose}")


@dataclass(frozen=True)
class Piece:
    """Content of a disk that lies in a file of its own: where on the disk it begins, in bytes."""

    offset: int
    path: Path


@dataclass(frozen=True)
class Writer:
    """What writes a format from a disk and the pieces that it lacks, so that nobody has to put them together.

    Attributes:
        can_write: whether it knows how a disk of this size, of which so many bytes are used, is laid out.
        write: from the disk and its pieces, to a file.
    """

    can_write: Callable[[int, int], bool]
    write: Callable[[Path, Sequence[Piece], Path], None]


@dataclass(frozen=True)
class Conversion:
    """A format that qemu-img converts the disk to. Products that name the same one share what was converted.

    Attributes:
        options: of ``qemu-img convert``.
        stamp: replaces, in place, what it stamps on the image at random or with the time, so that two conversions of
            one disk are the same bytes. It checks what it finds, because a newer qemu-img may lay things out otherwise
            (:func:`make_stamp_error`).
        writer: does the same without qemu-img: the same bytes, of a disk in pieces.
    """

    name: str
    options: tuple[str, ...]
    stamp: Callable[[Path, Identity], None] | None = None
    writer: Writer | None = None


def make_stamp_error(path: Path, what: str) -> ToolError:
    """What a conversion's ``stamp`` raises where the image is not laid out as it expects."""
    return ToolError(f"qemu-img wrote {path.name} in a way we do not know: {what}")


@dataclass(frozen=True)
class Job:
    """One product to be written to ``out``.

    Attributes:
        converted: the disk as the product's conversion made it.
    """

    parts: Mapping[Part, Path]
    converted: Path | None
    out: Path
    tools: Tools
    identity: Identity

    @property
    def disk(self) -> Path:
        """The disk as the product takes it."""
        return self.converted or self.parts[Part.RAW]


@dataclass(frozen=True)
class Product:
    """One kind of file that ``outputs`` of a definition can name.

    Attributes:
        used_by: who takes it, for the tables of the documentation.
        made_as: how it is made, likewise.
        suffix: of the file's name, with its dot.
        needs: the parts it is made of.
        finish: writes it; ``None`` if the disk, as it was converted, is the product.
        conversion: what the disk is converted to first; needs :attr:`Part.RAW`.
        disk_multiple: the disk's size must be a multiple of this many bytes.
        disk_size: the disk's size must be this many bytes.
    """

    name: str
    used_by: str
    made_as: str
    suffix: str
    needs: frozenset[Part] = frozenset({Part.RAW})
    finish: Callable[[Job], None] | None = None
    conversion: Conversion | None = None
    disk_multiple: int = MIB
    disk_size: int | None = None

    @property
    def format(self) -> str:
        """What ``build.json`` says that the file is."""
        if self.conversion is not None:
            return self.conversion.name
        return "raw" if Part.RAW in self.needs else self.suffix.split(".")[1]

    @property
    def disk_rule(self) -> str:
        """Which sizes the disk may have, in a few words."""
        if Part.RAW not in self.needs:
            return "it has none"
        if self.disk_size is not None:
            return f"exactly {self.disk_size // GIB} GiB"
        return "whole GiB" if self.disk_multiple == GIB else "any"

    def make_file_name(self, stem: str) -> str:
        """``demo.qcow2``, ``demo-azure.vhd``: a suffix that begins with the product's name says enough."""
        plain = self.suffix.removeprefix(".").startswith(self.name)
        return f"{stem}{self.suffix}" if plain else f"{stem}-{self.name}{self.suffix}"

    def find_size_problem(self, size: int) -> str | None:
        """Why a disk of this size (bytes) cannot become this product.

        The disk is never padded to fit: the backup GPT must be at its very end (UEFI 2.10, section 5.3.2).
        """
        if Part.RAW not in self.needs:
            return None
        if self.disk_size is not None and size != self.disk_size:
            return f"{self.name} takes disks of {self.disk_rule}, and this one has {size / GIB:g} GiB"
        if size % self.disk_multiple:
            unit = "GiB" if self.disk_multiple == GIB else "MiB"
            return f"{self.name} takes disks of whole {unit}, and this one has {size} bytes"
        return None

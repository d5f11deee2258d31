"""A discoverable disk image (UAPI.3) of one root: EROFS, its hash tree, and the signature of its root hash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.core.architecture import require_architecture
from builder.core.tools import Tools
from builder.definition.model import SIGNATURE_SIZE
from builder.outputs.disk import format_partition
from builder.outputs.hash_tree import BLOCK
from builder.outputs.root import Root, make_erofs, make_stable_uuid, make_verity
from builder.outputs.signing import Signer
from builder.tree.tree import Tree


@dataclass(frozen=True)
class Ddi:
    """What a disk image is made of besides its tree.

    Attributes:
        name: of the image, which becomes the label of its partitions.
        arch: Debian's name.
        compression, level: of the root, as a system's.
    """

    name: str
    arch: str
    compression: str
    level: int | None = None


def make_ddi(tree: Tree, ddi: Ddi, tools: Tools, scratch: Path, out: Path, signer: Signer | None) -> Root:
    """Write the image; the same tree, name and key give the same bytes.

    Args:
        signer: signs the root hash; without it nothing says who made the image.

    Raises:
        ToolError: mkfs.erofs or systemd-repart failed.
    """
    image, hash_tree = scratch / f"{ddi.name}.erofs", scratch / f"{ddi.name}.verity"
    make_erofs(tree, tools, image, compression=ddi.compression, level=ddi.level, name=ddi.name)
    root = Root(image, hash_tree, make_verity(image, hash_tree, name=ddi.name))
    signature = None
    if signer is not None:
        signature = scratch / f"{ddi.name}.signature"
        signature.write_bytes(signer.sign_root_hash(root.roothash).ljust(SIGNATURE_SIZE, b"\0"))
    definitions = scratch / f"{ddi.name}.repart.d"
    definitions.mkdir()
    for name, text in make_partition_files(ddi, root, signature).items():
        (definitions / name).write_text(text)
    out.unlink(missing_ok=True)
    tools.run(
        "systemd-repart",
        *("--offline=yes", "--empty=create", "--size=auto", "--dry-run=no", "--no-pager"),
        *(f"--definitions={definitions}", f"--seed={make_stable_uuid('ddi', ddi.name)}"),
        out,
    )
    return root


def make_partition_files(ddi: Ddi, root: Root, signature: Path | None) -> dict[str, str]:
    """``repart.d(5)`` files by name."""
    kind = f"root-{require_architecture(ddi.arch).partition}"

    def text(kind: str, uuid: object, source: Path) -> str:
        size = -(-source.stat().st_size // BLOCK) * BLOCK
        return format_partition(kind, ddi.name, size, uuid, CopyBlocks=source, ReadOnly="yes")

    files = {
        "10-root.conf": text(kind, root.data_uuid, root.image),
        "20-verity.conf": text(f"{kind}-verity", root.hash_uuid, root.hash_tree),
    }
    if signature is not None:
        uuid = make_stable_uuid("signature", ddi.name)
        files["30-signature.conf"] = text(f"{kind}-verity-sig", uuid, signature)
    return files

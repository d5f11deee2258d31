"""The disk: a GPT written by ``systemd-repart --offline`` around images that exist already.

Layout (DESIGN, section 4): ESP; root, verity and signature of slot A; the same of slot B, empty; free space in which
the machine makes its ``state`` partition at first boot.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.architecture import require_architecture
from builder.core.console import format_size
from builder.core.errors import InputError
from builder.core.tools import Tools
from builder.definition.model import SIGNATURE_SIZE, Disk
from builder.outputs.root import Root, make_stable_uuid
from builder.outputs.uki import EFI_STUBS
from builder.products.product import Piece
from builder.tree.tree import Tree
from update.gpt import HEAD, parse_gpt

if TYPE_CHECKING:
    from builder.outputs.signing import Signer

FULL = 0.70
# systemd-sysupdate writes the next version into a partition with this label.
EMPTY = "_empty"
FAT_EPOCH = 315_532_800  # 1980-01-01, the first moment a FAT file system knows
# Where systemd-boot looks for keys that it may enrol by itself.
ENROLLED = "loader/keys/auto"
LOADER_CONF = "timeout 0\nconsole-mode keep\neditor no\n"


def require_room(what: str, used: int, size: int, option: str) -> None:
    """Refuse a partition that leaves no room for the next, larger version.

    Raises:
        InputError: more than 70 % is used.
    """
    if used > size * FULL:
        raise InputError(
            f"{what} would be {100 * used // size} % full: {format_size(used)} of {format_size(size)}",
            details=("updates need room: an image fails to build when a slot is over 70 % full",),
            hint=f"raise {option}, or take packages out",
        )


def make_partition_files(
    layout: Disk, root: Root, *, arch: str, name: str, esp_files: Path, signature: Path | None = None
) -> Mapping[str, str]:
    """``repart.d(5)`` files by name. Pure: the same arguments give the same text.

    Args:
        signature: what the signature's partition holds, if the root hash is signed.
    """
    kind = f"root-{require_architecture(arch).partition}"

    def empty(kind: str, size: int) -> str:
        return format_partition(kind, EMPTY, size, make_stable_uuid(kind, "B"))

    esp_uuid, signature_uuid = make_stable_uuid("esp", name), make_stable_uuid(f"{kind}-verity-sig", "A")
    a = {"ReadOnly": "yes"}
    signed = {} if signature is None else {"CopyBlocks": signature, **a}
    return {
        "10-esp.conf": format_partition("esp", "esp", layout.esp, esp_uuid, Format="vfat", CopyFiles=f"{esp_files}:/"),
        "20-root-a.conf": format_partition(kind, name, layout.slot, root.data_uuid, **a),
        "21-verity-a.conf": format_partition(f"{kind}-verity", name, layout.verity, root.hash_uuid, **a),
        "22-signature-a.conf": format_partition(f"{kind}-verity-sig", name, SIGNATURE_SIZE, signature_uuid, **signed),
        "30-root-b.conf": empty(kind, layout.slot),
        "31-verity-b.conf": empty(f"{kind}-verity", layout.verity),
        "32-signature-b.conf": empty(f"{kind}-verity-sig", SIGNATURE_SIZE),
    }


def format_partition(kind: str, label: str, size: int, uuid: object, **more: object) -> str:
    """The text of one partition's ``repart.d(5)`` file.

    Args:
        size: in bytes.
        more: further lines of it, by key.
    """
    lines = {
        "Type": kind,
        "Label": label,
        "UUID": uuid,
        "SizeMinBytes": int(size),
        "SizeMaxBytes": int(size),
        **more,
    }
    return "[Partition]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def write_esp_files(
    tree: Tree, uki: Path, directory: Path, *, arch: str, name: str, signer: Signer | None = None
) -> Path:
    """What is on the EFI system partition: systemd-boot, its configuration, the UKI. Returns where systemd-boot is.

    Args:
        signer: signs systemd-boot, and brings the keys that it enrols in firmware that has none (``loader.conf(5)``).
    """
    facts = require_architecture(arch)
    loader = tree.read(f"{EFI_STUBS}/systemd-boot{facts.efi}.efi")
    keys: Mapping[str, bytes] = {}
    if signer is not None:
        loader = signer.sign_program(loader)
        keys = {f"{ENROLLED}/{key}.auth": update for key, update in signer.make_enrolment().items()}
    for path, data in {
        f"EFI/BOOT/{facts.boot_file}": loader,
        f"EFI/systemd/systemd-boot{facts.efi}.efi": loader,
        "loader/loader.conf": LOADER_CONF.encode(),
        **keys,
    }.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    target = directory / "EFI/Linux" / f"{name}.efi"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.hardlink_to(uki)
    # mtools copies times as they are.
    for entry in (*directory.rglob("*"), directory):
        os.utime(entry, (FAT_EPOCH, FAT_EPOCH))
    return directory / "EFI/BOOT" / facts.boot_file


def make_disk(
    layout: Disk,
    root: Root,
    tools: Tools,
    scratch: Path,
    out: Path,
    *,
    arch: str,
    name: str,
    esp: Path,
    signature: Path | None = None,
) -> tuple[Piece, ...]:
    """Write the raw disk, a sparse file of the layout's size, but for the root and its hash tree, which are large and
    lie in files of their own already.

    Args:
        signature: of the root hash, :data:`SIGNATURE_SIZE` bytes.

    Returns:
        Where those two belong.

    Raises:
        InputError: a partition is over 70 % full.
        ToolError: systemd-repart failed.
    """
    require_room("the root slot", root.image.stat().st_size, layout.slot, "disk.slot")
    used = sum(path.stat().st_size for path in esp.rglob("*") if path.is_file())
    require_room("the EFI system partition", used, layout.esp, "disk.esp")
    definitions = scratch / "repart.d"
    definitions.mkdir()
    for file_name, text in make_partition_files(
        layout, root, arch=arch, name=name, esp_files=esp, signature=signature
    ).items():
        (definitions / file_name).write_text(text)
    out.unlink(missing_ok=True)
    tools.run(
        "systemd-repart",
        "--offline=yes",
        "--empty=create",
        f"--size={int(layout.size)}",
        "--dry-run=no",
        "--no-pager",
        f"--definitions={definitions}",
        f"--seed={make_stable_uuid('disk', name)}",
        out,
    )
    with out.open("rb") as file:
        places = {(part.type, part.name): part.start for part in parse_gpt(file.read(HEAD))}
    return (Piece(places["root", name], root.image), Piece(places["root-verity", name], root.hash_tree))

"""Versions of an image as they are transferred to machines, made of a raw disk; and a disk to carry them to a guest."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.tools import Tools
from update.documents import RELEASE_FILE, Release, ReleasePart, TransferFile, format_release
from update.gpt import HEAD, parse_gpt

PART_OF = {"root": "root", "root-verity": "verity"}


def read_parts(manifest: Path) -> dict[str, bytes]:
    """The parts of a build: what its disk has in the first slot, and the kernel image beside it."""
    image = read_image(manifest)
    parts = {}
    with image.require_artifact("raw").path.open("rb") as disk:
        label = f"{image.name}_{image.version}"
        for partition in parse_gpt(disk.read(HEAD)):
            if partition.name == label and partition.type in PART_OF:
                disk.seek(partition.start)
                # What fills up the partition is no part of it; both consist of blocks.
                data = disk.read(partition.size).rstrip(b"\0")
                parts[PART_OF[partition.type]] = data.ljust(-(-len(data) // 4096) * 4096, b"\0")
    parts["uki"] = image.require_artifact("uki").path.read_bytes()
    return parts


def compress(tools: Tools, data: bytes, target: Path) -> None:
    """As fast as it can be done."""
    with tempfile.NamedTemporaryFile(dir=target.parent) as file:
        file.write(data)
        file.flush()
        tools.run("zstd", "-q", "-1", "--force", file.name, "-o", target)


def write_payload(
    manifest: Path,
    target: Path,
    change: Callable[[dict[str, bytes]], dict[str, bytes]] = lambda parts: parts,
    *,
    version: str = "",
) -> Release:
    """A version in a directory, as ``os-update apply --from`` takes it.

    Args:
        change: damages the parts before they are described: hashes, and the root hash, will fit what lies there.
        version: in place of what was built.
    """
    image = read_image(manifest)
    tools = Tools(image.tools, QuietConsole())
    target.mkdir(parents=True, exist_ok=True)
    parts = change(read_parts(manifest))
    roothash = re.findall(rb"roothash=([0-9a-f]{64})", parts["uki"])[0].decode()
    uuids = {"root": str(UUID(roothash[:32])), "verity": str(UUID(roothash[32:]))}
    described = {}
    for part, data in parts.items():
        path = target / f"{part}.zst"
        compress(tools, data, path)
        file = TransferFile(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        described[part] = ReleasePart(len(data), hashlib.sha256(data).hexdigest(), uuids.get(part), (file,))
    release = Release(image.name, version or image.version, image.arch, roothash, described)
    (target / RELEASE_FILE).write_bytes(format_release(release))
    return release


def make_carrier(tools: Tools, directory: Path, out: Path) -> Path:
    """A read-only file system with what is in a directory, for a disk of a machine."""
    out.unlink(missing_ok=True)
    room = out.with_suffix(".content")
    shutil.rmtree(room, ignore_errors=True)
    shutil.copytree(directory, room)
    tools.run("mkfs.erofs", "--quiet", out, room)
    return out

"""dm-verity's hash tree over a root, as ``veritysetup format`` writes it; what is known of another image is taken over.

Source: the kernel's ``Documentation/admin-guide/device-mapper/verity.rst`` and cryptsetup's ``docs/on-disk-format``
of dm-verity, version 1: the superblock, then the levels, the topmost first; salt before data.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from builder.core.sparse import read_exactly

BLOCK = 4096
DIGEST = hashlib.sha256().digest_size
FAN_OUT = BLOCK // DIGEST  # hashes in a block of the tree
_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s168x")


@dataclass(frozen=True)
class Known:
    """An image and its hash tree with the same salt."""

    image: Path
    tree: Path


def write_hash_tree(image: Path, out: Path, *, salt: bytes, uuid: UUID, known: Known | None = None) -> str:
    """Write the tree of an image of whole blocks.

    Args:
        known: what many of its blocks are compared with before they are hashed.

    Returns:
        The root hash in hex.

    Raises:
        OSError: something cannot be read or written.
    """
    blocks, rest = divmod(image.stat().st_size, BLOCK)
    if rest or not blocks:
        raise AssertionError(f"{image.name} is no image of whole blocks")
    salted = hashlib.sha256(salt)
    level = _hash_image(image, blocks, salted, known)
    levels = [level]
    while len(level) > BLOCK:
        level = _hash_level(level, salted)
        levels.append(level)
    if blocks == 1:  # its hash is the root hash, and there is no level
        root, levels = level[:DIGEST], []
    else:
        root = _hash_block(level, salted)
    head = _SUPERBLOCK.pack(b"verity\0\0", 1, 1, uuid.bytes, b"sha256", BLOCK, BLOCK, blocks, len(salt), salt)
    with out.open("wb") as file:
        file.write(head.ljust(BLOCK, b"\0"))
        for level in reversed(levels):
            file.write(level)
    return root.hex()


def _hash_image(image: Path, blocks: int, salted: hashlib._Hash, known: Known | None) -> bytes:
    """The lowest level."""
    level = bytearray(-(-blocks // FAN_OUT) * BLOCK)
    with image.open("rb") as file, (known.image if known else image).open("rb") as other:
        hashes = b"" if known is None else _read_lowest_level(known)
        end = min(blocks, len(hashes) // DIGEST, os.fstat(other.fileno()).st_size // BLOCK)
        for start in range(0, blocks, FAN_OUT):
            count = min(FAN_OUT, blocks - start)
            data = read_exactly(file.fileno(), count * BLOCK, start * BLOCK)
            before = b"" if start + count > end else read_exactly(other.fileno(), count * BLOCK, start * BLOCK)
            if before == data:  # bytes, which are compared at once
                level[start * DIGEST : (start + count) * DIGEST] = hashes[start * DIGEST : (start + count) * DIGEST]
                continue
            for index in range(count):
                where = (start + index) * DIGEST
                block = data[index * BLOCK : (index + 1) * BLOCK]
                same = before[index * BLOCK : (index + 1) * BLOCK] == block
                level[where : where + DIGEST] = hashes[where : where + DIGEST] if same else _hash_block(block, salted)
    return bytes(level)


def _read_lowest_level(known: Known) -> bytes:
    """The hashes of an image's blocks: the end of its tree."""
    blocks = known.image.stat().st_size // BLOCK
    if blocks == 1:
        return b""
    with known.tree.open("rb") as file:
        file.seek(-(-(-blocks // FAN_OUT) * BLOCK), os.SEEK_END)
        return file.read()


def _hash_level(level: bytes, salted: hashlib._Hash) -> bytes:
    hashes = b"".join(_hash_block(level[start : start + BLOCK], salted) for start in range(0, len(level), BLOCK))
    return hashes.ljust(-(-len(hashes) // BLOCK) * BLOCK, b"\0")


def _hash_block(block: bytes, salted: hashlib._Hash) -> bytes:
    digest = salted.copy()
    digest.update(block)
    return digest.digest()

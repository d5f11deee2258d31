"""A tree as a ``newc`` cpio archive, the kernel's initramfs format (Documentation/driver-api/early-userspace)."""

from __future__ import annotations

import stat
from typing import BinaryIO

from builder.tree.node import Kind
from builder.tree.tree import Tree

TYPES = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}


def write_cpio(tree: Tree, out: BinaryIO) -> None:
    """Write all entries in order with all times zero. Inode numbers count up, so the bytes depend on the tree alone."""
    for number, (path, node) in enumerate(tree.walk(), start=1):
        if path == "/":
            continue
        data = node.target.encode(errors="surrogateescape") if node.kind is Kind.SYMLINK else b""
        if node.kind is Kind.FILE:
            data = node.content.read()
        links = 2 if node.kind is Kind.DIRECTORY else 1
        mode = TYPES[node.kind] | node.mode
        _entry(out, path[1:], data, number, mode, node.uid, node.gid, links, node.device)
    _entry(out, "TRAILER!!!", b"", 0, 0, 0, 0, 1, (0, 0))


def _entry(
    out: BinaryIO,
    name: str,
    data: bytes,
    inode: int,
    mode: int,
    uid: int,
    gid: int,
    links: int,
    device: tuple[int, int],
) -> None:
    raw = name.encode(errors="surrogateescape") + b"\0"
    fields = (inode, mode, uid, gid, links, 0, len(data), 0, 0, *device, len(raw), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    out.write(header + raw + b"\0" * (-(len(header) + len(raw)) % 4))
    out.write(data + b"\0" * (-len(data) % 4))

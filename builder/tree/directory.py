"""A tree as a real directory, as programs that unpack images leave it: with owners for root, without for others.

An ordinary user cannot give files away, make devices, or set attributes of the system's: all files are that user's
then, devices are left out, and of the extended attributes those remain that are the user's own (``user.``). No file
system takes all attributes, so one that is not taken is left out as well.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from builder.tree.node import Kind, Node, Slice
from builder.tree.pieces import read_pieces
from builder.tree.tree import Tree

NOT_TAKEN = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)  # setxattr(2)


def write_directory(tree: Tree, root: Path, *, as_root: bool) -> list[str]:
    """Write all of a tree into a directory, which is made; returns the paths of what is not there, or not whole.

    Files that are one slice of the store with the same attributes become hard links, as they were.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    root.mkdir()
    left_out = []
    first: dict[object, Path] = {}
    directories = []
    for path, node in tree.walk():
        where = root / path.lstrip("/")
        if node.kind is Kind.DIRECTORY:
            where.mkdir(exist_ok=path == "/")
            directories.append((where, node))  # what it may be closed with would keep us out, too
            continue
        if node.kind in (Kind.CHARACTER, Kind.BLOCK) and not as_root:
            left_out.append(path)
            continue
        if isinstance(node.content, Slice) and node.size:
            key = node.content, node.mode, node.uid, node.gid, node.mtime, node.xattrs
            if (known := first.setdefault(key, where)) is not where:
                os.link(known, where, follow_symlinks=False)
                continue
        _make(node, where)
        if not _set_attributes(node, where, as_root=as_root):
            left_out.append(path)
    for where, node in reversed(directories):
        if not _set_attributes(node, where, as_root=as_root):
            left_out.append(f"/{where.relative_to(root)}")
    return left_out


def _make(node: Node, where: Path) -> None:
    match node.kind:
        case Kind.SYMLINK:
            where.symlink_to(node.target)
        case Kind.FILE:
            with where.open("xb") as file:
                for piece in read_pieces(node.content):
                    file.write(piece)
        case Kind.FIFO:
            os.mkfifo(where)
        case _:
            kind = stat.S_IFCHR if node.kind is Kind.CHARACTER else stat.S_IFBLK
            os.mknod(where, kind | 0o600, os.makedev(*node.device))


def _set_attributes(node: Node, where: Path, *, as_root: bool) -> bool:
    """Whether the file has all of them now, but for owners that a user cannot give."""
    whole = True
    if as_root:
        os.chown(where, node.uid, node.gid, follow_symlinks=False)
    if node.kind is not Kind.SYMLINK:
        where.chmod(node.mode)  # after the owner, with which the set-user-ID bit goes
    for name, value in node.xattrs:
        try:
            os.setxattr(where, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NOT_TAKEN:
                raise
            whole = False
    os.utime(where, (node.mtime, node.mtime), follow_symlinks=False)
    return whole

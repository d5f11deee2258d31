"""Parts of a tree as real directories, for programs that need one, and back.

Ownership is not written: an ordinary user could not. Modes are, so that programs see executables as such; what a
program changes comes back owned by root unless the caller says otherwise.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from builder.tree.node import Inline, Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree, TreeError

# An ordinary user cannot make a device, and no program we run needs one (or a pipe) from a tree.
NOT_WRITTEN = (Kind.CHARACTER, Kind.BLOCK, Kind.FIFO)


@dataclass(frozen=True)
class Workdir:
    """A directory that shows part of a tree."""

    root: Path
    before: Tree

    def absorb(self, tree: Tree, *, origin: str, below: str = "/") -> list[str]:
        """Take over what changed since the directory was made: new and changed files and links, and removals.

        Returns:
            The changed paths.
        """
        changed = []
        seen = set()
        for path, current in scan(self.root, origin):
            seen.add(path)
            if path != below and not path.startswith(below.rstrip("/") + "/"):
                continue
            known = self.before.get(path)
            if known is not None and is_same(known, current):
                continue
            if known is not None:
                current = known.copy_with(
                    kind=current.kind, content=current.content, target=current.target, mode=current.mode
                )
            tree.put(path, current)
            changed.append(path)
        for path, node in self.before.walk(below):
            if path not in seen and path != "/" and node.kind not in NOT_WRITTEN:
                tree.remove(path)
                changed.append(path)
        return changed


def is_same(known: Node, other: Node) -> bool:
    """Whether a program left this entry as it was (owners and times are not looked at)."""
    if known.kind is not other.kind:
        return False
    if known.kind is Kind.SYMLINK:
        return known.target == other.target
    if known.kind is Kind.FILE:
        return known.size == other.size and known.content.read() == other.content.read()
    return True


def materialise(tree: Tree, root: Path, paths: Iterable[str]) -> Workdir:
    """Write :func:`copy_part` the tree under ``root``."""
    part = copy_part(tree, paths)
    root.mkdir(parents=True, exist_ok=True)
    for path, node in part.walk():
        write_node(root, path, node)
    return Workdir(root, part)


def copy_part(tree: Tree, paths: Iterable[str]) -> Tree:
    """What the tree has at and below ``paths``; paths that are not there are left out.

    The top-level links of a merged-/usr system are always in it, so that ``/lib`` and ``/bin`` work.
    """
    part = Tree()
    for name in ("bin", "sbin", "lib", "lib64"):
        node = tree.get(f"/{name}")
        if node is not None and node.kind is Kind.SYMLINK:
            part.put(f"/{name}", node)
    for path in paths:
        # A link comes along with what it leads to.
        for start in dict.fromkeys((tree.resolve(path, follow_last=False), tree.resolve(path))):
            for where, node in tree.walk(start):
                part.put(where, node)
    return part


def write_node(root: Path, path: str, node: Node) -> None:
    """One entry below ``root``; what is :data:`NOT_WRITTEN` is left out."""
    where = root / path.lstrip("/")
    match node.kind:
        case Kind.DIRECTORY:
            where.mkdir(parents=True, exist_ok=True)
        case Kind.SYMLINK:
            where.symlink_to(node.target)
        case Kind.FILE:
            where.write_bytes(node.content.read())
            where.chmod(node.mode & 0o755 | stat.S_IRUSR | stat.S_IWUSR)
        case Kind.CHARACTER | Kind.BLOCK | Kind.FIFO:
            return


def scan(root: Path, origin: str) -> Iterable[tuple[str, Node]]:
    """Every entry below a directory as nodes owned by root, content read into memory."""
    pending = [root]
    while pending:
        here = pending.pop()
        for entry in sorted(os.scandir(here), key=lambda e: e.name):
            path = "/" + os.path.relpath(entry.path, root)
            status = entry.stat(follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if entry.is_symlink():
                yield path, make_symlink(str(Path(entry.path).readlink()), origin=origin)
            elif entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
                yield path, make_directory(mode, origin=origin)
            elif entry.is_file(follow_symlinks=False):
                yield path, make_file(Path(entry.path).read_bytes(), mode, origin=origin)
            else:
                raise TreeError(f"{entry.path} is neither file, directory nor link")


def read_tree(root: Path, *, origin: str) -> Tree:
    """A directory of the user's (an overlay) as a tree: everything owned by root, modes reduced to 0644 or 0755.

    The write and group bits of a checkout depend on the umask of whoever cloned it; only "executable" is meant.
    """
    tree = Tree()
    for path, node in scan(root, origin):
        if node.kind is Kind.FILE:
            assert isinstance(node.content, Inline)
            node = node.copy_with(mode=0o755 if node.is_executable else 0o644)
        elif node.kind is Kind.DIRECTORY:
            node = node.copy_with(mode=0o755)
        tree.put(path, node)
    return tree

"""The tree: a dictionary from absolute paths to nodes that keeps itself consistent.

Invariants: keys are absolute and normal (``/usr/bin``; no ``..``, no trailing slash; the root itself is ``/``); the
parent of every path is a directory of the tree. A path handed in may pass through links of the tree (``/bin/sh`` where
``/bin`` is a link to ``usr/bin``): it is resolved as the kernel would with this tree as its root, so nothing can leave
it.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from builder.core.errors import BuildError
from builder.tree.node import EMPTY, Inline, Kind, Node, Slice, make_directory

MAX_LINKS = 40  # the kernel's own limit, path_resolution(7)
# What nearly every path looks like already: ASCII, and no component that is ".", ".." or too long.
_NORMAL = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[\x01-.0-\x7f]{1,255})+")


class TreeError(BuildError):
    """A path cannot be what was asked: hostile input, or two things that exclude each other."""

    exit_code = 2


def normalise_path(path: str | PurePosixPath) -> str:
    """``usr//bin/./x`` and ``/usr/bin/x`` as ``/usr/bin/x``.

    Raises:
        TreeError: the path has ``..``, a NUL, or a component longer than 255 bytes.
    """
    if isinstance(path, str) and _NORMAL.fullmatch(path):
        return path
    parts = [part for part in str(path).split("/") if part not in ("", ".")]
    for part in parts:
        if part == ".." or "\0" in part or len(part.encode(errors="surrogateescape")) > 255:
            raise TreeError(f"not a path that a tree can have: {str(path)[:300]!r}")
    return "/" + "/".join(parts)


def get_parent(path: str) -> str:
    """The path's directory; the root's is the root."""
    return path.rpartition("/")[0] or "/"


class Tree:
    """A mutable root file system. Copy it (cheap: nodes are shared) before changing one that others hold."""

    def __init__(self, nodes: Mapping[str, Node] | None = None) -> None:
        self._nodes: dict[str, Node] = dict(nodes) if nodes else {"/": make_directory(origin="stage:tree")}
        # Directory -> names in it. Made when first asked for, kept up to date from then on.
        self._names: dict[str, set[str]] | None = None

    def copy(self) -> Tree:
        """An independent tree with the same entries."""
        other = Tree(self._nodes)
        if self._names is not None:
            other._names = {path: names.copy() for path, names in self._names.items()}
        return other

    def __contains__(self, path: str) -> bool:
        return self.get(path) is not None

    def __len__(self) -> int:
        return len(self._nodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self._nodes == other._nodes

    __hash__ = None  # type: ignore[assignment]  # mutable

    def walk(self, below: str = "/") -> Iterator[tuple[str, Node]]:
        """All entries at and below a path in bytewise order, parents first."""
        paths = self._nodes if below == "/" else self._at_and_below(below)
        for path in sorted(paths):
            yield path, self._nodes[path]

    def list_children(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        return sorted(self._index().get(self.resolve(path), ()))

    def _index(self) -> dict[str, set[str]]:
        if self._names is None:
            names: dict[str, set[str]] = {}
            for path in self._nodes:
                if path != "/":
                    directory_path, _, name = path.rpartition("/")
                    names.setdefault(directory_path or "/", set()).add(name)
            self._names = names  # whole at once: threads may read one tree
        return self._names

    def _at_and_below(self, path: str) -> list[str]:
        if path not in self._nodes:
            return []
        paths = [path]
        names = self._index()
        for here in paths:
            paths.extend(f"{here.rstrip('/')}/{name}" for name in names.get(here, ()))
        return paths

    def _set(self, path: str, node: Node) -> None:
        if self._names is not None and path not in self._nodes and path != "/":
            self._names.setdefault(get_parent(path), set()).add(path.rpartition("/")[2])
        self._nodes[path] = node

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        """The path with every link in it followed inside the tree; what does not exist is kept as it is.

        Raises:
            TreeError: links in a circle, or the path is not :func:`normalise_path`.
        """
        todo = [part for part in path.split("/") if part not in ("", ".")]
        todo.reverse()
        done = ""
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = f"{done}/{part}"
            node = self._nodes.get(here)
            if node is not None and node.kind is Kind.SYMLINK and (todo or follow_last):
                links += 1
                if links > MAX_LINKS:
                    raise TreeError(f"{path} goes through links in a circle")
                if node.target.startswith("/"):
                    done = ""
                todo.extend(p for p in reversed(node.target.split("/")) if p not in ("", "."))
                continue
            done = here
        return normalise_path(done)

    def get(self, path: str, *, follow: bool = False) -> Node | None:
        """What is at a path, through links in its directories, and through a last link if asked."""
        return self._nodes.get(self.resolve(path, follow_last=follow))

    def require(self, path: str, *, follow: bool = True) -> Node:
        """What is at a path.

        Raises:
            TreeError: nothing is.
        """
        node = self.get(path, follow=follow)
        if node is None:
            raise TreeError(f"the image has no {path}")
        return node

    def read(self, path: str) -> bytes:
        """The content of a file, through links.

        Raises:
            TreeError: it is not there, or no regular file.
        """
        node = self.require(path)
        if node.kind is not Kind.FILE:
            raise TreeError(f"{path} is no regular file")
        return node.content.read()

    def read_text(self, path: str) -> str:
        """:meth:`read` as UTF-8."""
        return self.read(path).decode()

    def put(self, path: str, node: Node) -> str:
        """Set what is at a path, replacing what was there, and make missing parents. Returns the resolved path.

        A directory put on a directory keeps its content. The last component is never followed.

        Raises:
            TreeError: a parent is no directory, or a file would replace a directory that is not empty.
        """
        where = self.resolve(normalise_path(path), follow_last=False)
        if where == "/":
            if node.kind is not Kind.DIRECTORY:
                raise TreeError("the root can only be a directory")
            self._nodes["/"] = node
            return where
        self._require_parents(where, node.origin)
        old = self._nodes.get(where)
        if (
            old is not None
            and old.kind is Kind.DIRECTORY
            and node.kind is not Kind.DIRECTORY
            and self.list_children(where)
        ):
            raise TreeError(f"{where} is a directory with content and cannot become a {node.kind.name.lower()}")
        self._set(where, node)
        return where

    def _require_parents(self, where: str, origin: str) -> None:
        missing = []
        parent = get_parent(where)
        while (node := self._nodes.get(parent)) is None:
            missing.append(parent)
            parent = get_parent(parent)
        if node.kind is not Kind.DIRECTORY:
            raise TreeError(f"{where} cannot be made: {parent} is a {node.kind.name.lower()}")
        for path in missing:
            self._set(path, make_directory(origin=origin))

    def change(self, path: str, **changes: object) -> None:
        """Change fields of what is at a path (mode, owner ...).

        Raises:
            TreeError: nothing is there.
        """
        where = self.resolve(path, follow_last=False)
        if where not in self._nodes:
            raise TreeError(f"the image has no {path}")
        self._nodes[where] = self._nodes[where].copy_with(**changes)

    def remove(self, path: str) -> None:
        """Remove a path and all below it; nothing happens if it is not there."""
        where = self.resolve(path, follow_last=False)
        if where == "/":
            raise TreeError("the root cannot be removed")
        for path_below in self._at_and_below(where):
            self._forget(path_below)

    def discard(self, paths: Iterable[str]) -> None:
        """Remove many entries at once. A directory among them must leave with all below it, or be empty."""
        for path in sorted(paths, reverse=True):
            if self._index().get(path):
                raise TreeError(f"{path} is not empty")
            self._forget(path)

    def _forget(self, path: str) -> None:
        del self._nodes[path]
        if self._names is not None:
            self._names.pop(path, None)
            self._names.get(get_parent(path), set()).discard(path.rpartition("/")[2])

    def take_changes(self, changed: Tree, since: Tree) -> set[str]:
        """Take over what ``changed``, once a copy of ``since``, has new, has changed or no longer has.

        Returns:
            The paths.

        Raises:
            TreeError: a directory would go that here has content.
        """
        gone = since._nodes.keys() - changed._nodes.keys()
        self.discard(path for path in gone if path in self._nodes)
        new = {path for path, node in changed._nodes.items() if since._nodes.get(path) is not node}
        for path in sorted(new):
            self.put(path, changed._nodes[path])
        return gone | new

    def count_bytes(self) -> int:
        """The sum of all file sizes."""
        return sum(node.size for node in self._nodes.values())

    def compute_digest(self) -> str:
        """A SHA-256 over everything that ends up in an image: paths, kinds, modes, owners, times and content.

        Independent of where the content lies and of who put it there.
        """
        total = hashlib.sha256()
        for path, node in self.walk():
            content = hashlib.sha256(node.content.read()).hexdigest() if node.kind is Kind.FILE else ""
            row = [
                path,
                node.kind,
                node.mode,
                node.uid,
                node.gid,
                node.target,
                node.device,
                node.mtime,
                content,
            ]
            total.update(json.dumps([*row, [[name, value.hex()] for name, value in node.xattrs]]).encode())
        return total.hexdigest()

    def hash_pointers(self, store: Path) -> str:
        """A SHA-256 of the tree by where its content lies in the store, wherever that lies itself: names there say what
        the content is, so nothing is read."""
        root = json.dumps(f"{store}/")[:-1].encode()
        return hashlib.sha256(self.encode().replace(b"[" + root, b'["')).hexdigest()

    def encode(self) -> bytes:
        """The tree as JSON; content in the store stays a pointer."""
        rows = []
        for path, n in self._nodes.items():
            content: object = None
            if isinstance(n.content, Slice):
                content = [n.content.path, n.content.offset, n.content.size]
            elif n.content is not EMPTY:
                content = b64encode(n.content.data).decode()
            xattrs = [[name, value.hex()] for name, value in n.xattrs]
            rows.append([path, n.kind, n.mode, n.uid, n.gid, content, n.target, n.device, n.mtime, n.origin, xattrs])
        return json.dumps(rows, separators=(",", ":")).encode(errors="surrogateescape")

    @classmethod
    def decode(cls, data: bytes) -> Tree:
        """The inverse of :meth:`encode`.

        Raises:
            ValueError: not such a text.
        """
        nodes = {}
        for path, kind, mode, uid, gid, content, target, device, mtime, origin, xattrs in json.loads(data):
            where: Inline | Slice = EMPTY
            if isinstance(content, str):
                where = Inline(b64decode(content))
            elif content is not None:
                where = Slice(*content)
            attributes = tuple((name, bytes.fromhex(value)) for name, value in xattrs)
            nodes[path] = Node(
                Kind(kind), mode, uid, gid, where, target, (device[0], device[1]), mtime, origin, attributes
            )
        return cls(nodes)

"""The directory that scripts are run over: the tree, with what they call and the image does not have beside it.

On the disk every file belongs to whoever builds. Owners, and modes that are not the disk's, are kept beside it
(:class:`builder.core.sandbox.Owner`), so that a script sees those of the tree, and what it changes comes back.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder.core.errors import InputError
from builder.core.sandbox import OURS, Owner, Sandbox
from builder.core.tools import Tools
from builder.tree.materialise import NOT_WRITTEN, write_node
from builder.tree.node import Inline, Kind, Node
from builder.tree.tree import Tree

# What a machine has in memory, what is ours, and records of dpkg's that a build writes itself.
NOT_TAKEN = ("/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp", OURS, "/var/lib/dpkg", "/var/lib/ucf",
             "/var/cache/debconf")  # fmt: skip
BACKUPS = ("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-")
LOCKS = ("/etc/.pwd.lock", "/var/cache/ldconfig/aux-cache")
SHOWN = f"{OURS}/ours"
LARGE = 1 << 16  # bytes
MOST = 1 << 30  # bytes that one script may leave behind


@dataclass(frozen=True)
class Seen:
    """An entry on the disk, as far as it shows whether somebody changed it, and whose it is said to be.

    Attributes:
        time: of the last change; of a file with other names, which are made and removed meanwhile, of its content.
        written: of the last change of its content, which a new name leaves alone.
    """

    inode: int
    time: int
    uid: int
    gid: int
    mode: int
    written: int = field(default=0, compare=False)


class LargeFiles:
    """Large files of other packages, each on the disk once, with a name in every root: most of what a tree has.

    On the disk nobody may write to them; what a script changes nevertheless (an ordinary user's can) is thrown away.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._guard = threading.Lock()
        self._known: dict[Node, tuple[Path, int, int]] = {}

    def is_large(self, node: Node) -> bool:
        """Whether a node is one of them."""
        plain = (node.uid, node.gid) == (0, 0) and node.mode in (0o644, 0o755)
        return node.kind is Kind.FILE and node.size >= LARGE and plain

    def link(self, node: Node, where: Path) -> None:
        """Give the file that a node is this name too."""
        with self._guard:
            if node not in self._known or not self._is_whole(node):
                self.place.mkdir(exist_ok=True)
                path = self.place / f"{len(self._known)}-{time.monotonic_ns()}"
                path.write_bytes(node.content.read())
                path.chmod(node.mode & 0o555)
                self._known[node] = (path, path.stat().st_mtime_ns, node.mode & 0o555)
            os.link(self._known[node][0], where)

    def _is_whole(self, node: Node) -> bool:
        path, written, mode = self._known[node]
        status = path.stat()
        return (status.st_mtime_ns, status.st_size, stat.S_IMODE(status.st_mode)) == (written, node.size, mode)


@dataclass
class ScriptRoot:
    """The directory, for one script: what a script leaves behind is read and never written into again, because it may
    be links to anywhere.

    Attributes:
        shown: the tree that it was made from.
        beside: what is in it and not of the tree: path -> what was written there; never taken over.
        own: the origin of the package's own files, which it may well change.
    """

    sandbox: Sandbox
    shown: Tree
    beside: Mapping[str, Node]
    large: LargeFiles
    own: str = ""
    before: dict[str, Seen] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def make(
        cls, tools: Tools, scratch: Path, tree: Tree, beside: Mapping[str, Node], large: LargeFiles, own: str
    ) -> Iterator[ScriptRoot]:
        """A directory below ``scratch`` that shows the tree; it is gone afterwards."""
        place = Path(tempfile.mkdtemp(dir=scratch, prefix="script-"))
        try:
            place.chmod(0o711)  # the user of the sandbox gets to what is his
            for name in ("root", "ours"):
                (place / name).mkdir()
            sandbox = Sandbox(tools, place / "root", place, shown={"ours": place / "ours"})
            root = cls(sandbox, tree, beside, large, own)
            root._write()
            yield root
        finally:
            remove_by_force(place)

    @property
    def root(self) -> Path:
        """The directory itself."""
        return self.sandbox.root

    @property
    def ours(self) -> Path:
        """What scripts see, read-only, at :data:`SHOWN`."""
        return self.sandbox.shown["ours"]

    def _write(self) -> None:
        wanted = self.shown.copy()
        for path, node in self.beside.items():
            if path not in wanted and _parent_is_directory(wanted, path):
                wanted.put(path, node)
        owners = self.sandbox.owners
        for path, node in wanted.walk():
            if path == "/" or node.kind in NOT_WRITTEN:
                continue
            place = self.root / path[1:]
            if node.origin != self.own and self.large.is_large(node):
                self.large.link(node, place)
            else:
                write_node(self.root, path, node)
            status = place.lstat()
            if (node.uid, node.gid) != (0, 0) or stat.S_IMODE(status.st_mode) != node.mode:
                owners[status.st_ino] = Owner(node.uid, node.gid, stat.S_IFMT(status.st_mode) | node.mode)
        self.sandbox.give_files()
        self.before = dict(self._look())

    def _look(self) -> Iterator[tuple[str, Seen]]:
        owners = self.sandbox.owners
        pending = [str(self.root)]
        start = len(pending[0])
        while pending:
            here = pending.pop()
            for entry in os.scandir(here):
                path = entry.path[start:]
                if path in NOT_TAKEN:
                    continue
                status = entry.stat(follow_symlinks=False)
                owner = owners.get(status.st_ino, Owner(0, 0, status.st_mode))
                if stat.S_IFMT(owner.mode) != stat.S_IFMT(status.st_mode) and not _is_device(owner.mode):
                    owner = Owner(0, 0, status.st_mode)  # of something that had the inode before
                changed = status.st_ctime_ns if status.st_nlink == 1 else status.st_mtime_ns
                changed = 0 if stat.S_ISDIR(status.st_mode) else changed
                yield path, Seen(status.st_ino, changed, owner.uid, owner.gid, owner.mode, status.st_mtime_ns)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)

    def list_changes(self, origin: str) -> dict[str, Node | None]:
        """What is not as it was shown, by path, parents first; ``None`` for what is gone.

        Raises:
            InputError: something is left that no image can have.
        """
        now = self._with_inherited_groups(dict(self._look()))
        changes: dict[str, Node | None] = {}
        size = 0
        for path in sorted(now):
            seen = now[path]
            if seen == self.before.get(path) or path in self.beside or path in BACKUPS or path in LOCKS:
                continue
            node = self._node(path, seen, origin)
            size += node.size if node.kind is Kind.FILE else 0
            if size > MOST:
                raise InputError(f"{origin} leaves more than {MOST} bytes behind")
            known = self.shown.get(path)
            if known is None or not _equal(known, node):
                changes[path] = node
        gone = [path for path in self.before if path not in now and path not in self.beside]
        changes.update((path, None) for path in sorted(gone) if self.shown.get(path) is not None)
        return changes

    def _with_inherited_groups(self, now: dict[str, Seen]) -> dict[str, Seen]:
        """What the kernel does in a directory that is setgid and fakeroot does not: what is made there gets its group,
        and a directory the bit (inode(7)). What was given to somebody keeps the group that it was given.
        """
        old = {(seen.inode, seen.written) for seen in self.before.values()}
        for path in sorted(now):
            seen, above = now[path], now.get(path.rpartition("/")[0])
            made_here = path not in self.before and (seen.inode, seen.written) not in old
            if above is None or not above.mode & stat.S_ISGID or not made_here:
                continue
            gid = above.gid if (seen.uid, seen.gid) == (0, 0) else seen.gid
            bit = stat.S_ISGID if stat.S_ISDIR(seen.mode) else 0
            now[path] = replace(seen, gid=gid, mode=seen.mode | bit)
        return now

    def _node(self, path: str, seen: Seen, origin: str) -> Node:
        place = self.root / path[1:]
        status = place.lstat()
        mode = stat.S_IMODE(seen.mode)
        if _is_device(seen.mode):
            raise InputError(f"{origin} makes the device {path}", hint="a machine makes its devices when it starts")
        known = self.shown.get(path)
        base = Node(Kind.FILE, origin=origin) if known is None else known
        owned = {"uid": seen.uid, "gid": seen.gid, "origin": origin}
        if stat.S_ISLNK(status.st_mode):
            return base.copy_with(
                kind=Kind.SYMLINK, target=str(place.readlink()), mode=0o777, content=Inline(b""), xattrs=(), **owned
            )
        if stat.S_ISDIR(status.st_mode):
            return base.copy_with(kind=Kind.DIRECTORY, mode=mode, target="", content=Inline(b""), **owned)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{origin} makes {path}, which is neither file, directory nor link")
        same = known is not None and known.kind is Kind.FILE and known.size == status.st_size
        data = place.read_bytes()
        if same and known is not None and known.content.read() == data:
            return base.copy_with(mode=mode, **owned)
        return base.copy_with(kind=Kind.FILE, mode=mode, target="", content=Inline(data), xattrs=(), **owned)


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _equal(known: Node, other: Node) -> bool:
    if (known.kind, known.uid, known.gid, known.target) != (other.kind, other.uid, other.gid, other.target):
        return False
    if known.kind is not Kind.SYMLINK and known.mode != other.mode:
        return False
    return known.kind is not Kind.FILE or known.content == other.content or known.content.read() == other.content.read()


def _parent_is_directory(tree: Tree, path: str) -> bool:
    """Whether something can be put at a path as it is written, or its missing parents can be made."""
    above = Path(path).parent
    while str(above) not in tree:
        above = above.parent
    node = tree.get(str(above))
    return node is not None and node.kind is Kind.DIRECTORY


def remove_by_force(place: Path) -> None:
    """Remove a directory and all below it, whatever modes its directories were given."""
    pending = [str(place)]
    while pending:
        here = pending.pop()
        Path(here).chmod(0o700)
        pending += [entry.path for entry in os.scandir(here) if entry.is_dir(follow_symlinks=False)]
    shutil.rmtree(place)

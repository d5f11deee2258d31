"""One entry of a tree, and where its bytes are."""

from __future__ import annotations

import enum
import stat
from dataclasses import dataclass, replace
from pathlib import Path


class Kind(enum.StrEnum):
    """What a path is. The values are the tags of the serialised form."""

    FILE = "f"
    DIRECTORY = "d"
    SYMLINK = "l"
    CHARACTER = "c"
    BLOCK = "b"
    FIFO = "p"


@dataclass(frozen=True, slots=True)
class Inline:
    """Content held in memory: small files that a stage writes."""

    data: bytes

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def read(self) -> bytes:
        """The bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class Slice:
    """Content that is part of a file in the store, or all of it.

    Two nodes with an equal slice are one file with two names (a hard link), because every member of a pack has a
    place of its own.
    """

    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError: the file in the store is gone or cut short.
        """
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{self.path} is shorter than its index says")
        return data


Content = Inline | Slice
EMPTY = Inline(b"")


@dataclass(frozen=True, slots=True)
class Node:
    """A file, directory, link or device: all that a root file system records of it.

    Attributes:
        mode: permission bits only (0 to 0o7777).
        target: where a symbolic link points.
        device: (major, minor) of a device node.
        mtime: seconds since 1970; clamped when the tree is sealed.
        origin: who put it there, for reports: ``package:NAME``, ``overlay:NAME``, ``stage:NAME``.
        xattrs: extended attributes, sorted by name (``security.capability`` and the like).
    """

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    content: Content = EMPTY
    target: str = ""
    device: tuple[int, int] = (0, 0)
    mtime: int = 0
    origin: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of content; 0 for all but files."""
        return self.content.size if self.kind is Kind.FILE else 0

    @property
    def is_executable(self) -> bool:
        """A regular file with any execute bit."""
        return self.kind is Kind.FILE and bool(self.mode & 0o111)

    @property
    def is_privileged(self) -> bool:
        """Runs with other rights than its caller's: setuid, setgid (not on directories)."""
        return self.kind is Kind.FILE and bool(self.mode & (stat.S_ISUID | stat.S_ISGID))

    def copy_with(self, **changes: object) -> Node:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]  # dataclasses.replace takes any field


def make_file(data: bytes | str, mode: int = 0o644, *, origin: str, uid: int = 0, gid: int = 0) -> Node:
    """A regular file with this content."""
    content = Inline(data.encode() if isinstance(data, str) else data)
    return Node(Kind.FILE, mode, uid, gid, content=content, origin=origin)


def make_directory(mode: int = 0o755, *, origin: str, uid: int = 0, gid: int = 0) -> Node:
    """A directory."""
    return Node(Kind.DIRECTORY, mode, uid, gid, origin=origin)


def make_symlink(target: str, *, origin: str) -> Node:
    """A symbolic link."""
    return Node(Kind.SYMLINK, 0o777, target=target, origin=origin)

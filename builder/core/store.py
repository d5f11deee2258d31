"""The store: everything that is kept between builds, under names derived from content.

Layout below :attr:`Store.root`::

    blobs/sha256/ab/ab12...   downloads (debs, wheels, indexes), named by their own hash
    packs/KEY.*               a deb's files decompressed once, and the index of them
    stages/KEY.*              a tree after a stage
    presets/, builds/         which units start; what the last build of a definition was made from
    derived/KEY/              indexes of packages' files: kernel modules, hardware, bytecode
    outputs/KEY/              initrds and kernel images
    roots/KEY/                what seldom changes of roots, and its hash tree
    tools/KEY/                the tools tree, unpacked
    filters/KEY.seal          what its filters of text answered
    answers/KEY.seal          what commands said that changed nothing, and what they had looked at
    machines/KEY/             machines that booted once, for tests
    indexes/, partial/        lists of packages ready to be searched; downloads that were cut short
    images/HEX/               an image of a registry as an OCI layout, by hard links of its blobs
    scratch/, vm/             what builds and machines that run now are working on
    locks/                    one file a lock

What has a ``KEY`` is described in :mod:`builder.core.kept`. Nothing in the store is needed to reproduce a build; all of
it may be deleted at any time when no build runs.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from builder.core.console import Console
from builder.core.errors import CapabilityError, SourceError
from builder.core.files import open_replacement
from builder.core.locks import hold_lock

# The lock that builds share and that clearing takes for itself.
IN_USE = "in-use"
# Named by their hash, and compared with it by whoever reads one.
DOWNLOADS = ("blobs", "partial")
SECTIONS = (
    "blobs",
    "partial",
    "indexes",
    "images",
    "packs",
    "stages",
    "presets",
    "derived",
    "builds",
    "outputs",
    "roots",
    "tools",
    "filters",
    "answers",
    "machines",
)


def find_default_root() -> Path:
    """``$BUILD_OS_CACHE``, else ``build-os`` below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if chosen := os.environ.get("BUILD_OS_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "build-os"


@dataclass(frozen=True)
class Brought:
    """What came with the files of an entry that another machine made: its value, and hashes by file."""

    value: Any
    hashes: Mapping[str, str]


class Tier(Protocol):
    """A cache behind the store, which machines share (:mod:`builder.sharing`)."""

    def bring(self, name: str, directory: Path) -> Brought | None:
        """Fetch an entry into an empty directory; ``None``, and an empty directory, if it is not to be had."""

    def note_made(self, name: str, seconds: float) -> None:
        """Remember that this was made here, and how long it took."""


class HashingWriter:
    """A file opened for writing that counts and hashes what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """The hash of all that was written so far."""
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Store:
    """A directory of content-addressed files. Two builds may use one store at the same time.

    Attributes:
        tier: what is asked for entries that are not here.
    """

    root: Path
    tier: Tier | None = field(default=None, compare=False)

    @classmethod
    def open(cls, root: Path | None = None) -> Store:
        """The store at ``root`` (default: :func:`find_default_root`), created if it is not there.

        Raises:
            CapabilityError: the directory cannot be made or written.
        """
        path = root or find_default_root()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CapabilityError(
                f"cannot use {path} as the store: {error.strerror}",
                hint="set BUILD_OS_CACHE to a directory you can write",
            ) from error
        return cls(path)

    def make_store_apart(self, root: Path) -> Store:
        """Another store, at ``root``, that has the downloads of this one in common and nothing else.

        What is read from there is what this process made itself, or is proven by its own hash.
        """
        root.mkdir(parents=True, mode=0o700)
        for section in DOWNLOADS:
            (self.root / section).mkdir(exist_ok=True)
            (root / section).symlink_to((self.root / section).absolute())
        return Store(root)

    def locate_blob(self, sha256: str) -> Path:
        """Where the blob with this hash is, or would be."""
        return self.root / "blobs" / "sha256" / sha256[:2] / sha256

    def has_blob(self, sha256: str, size: int | None = None) -> bool:
        """Whether the blob is there (a regular file, and of this size where it is known)."""
        path = self.locate_blob(sha256)
        try:
            status = path.lstat()
        except OSError:
            return False
        return path.is_file() and not path.is_symlink() and (size is None or status.st_size == size)

    def add_bytes(self, data: bytes) -> str:
        """Keep ``data``; returns its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has_blob(sha256, len(data)):
            with open_replacement(self.locate_blob(sha256)) as file:
                file.write(data)
        return sha256

    @contextmanager
    def add_blob(self, sha256: str, what: str) -> Iterator[HashingWriter]:
        """Write a blob whose hash is known beforehand; it is kept only if the bytes match.

        Raises:
            SourceError: they do not; ``what`` names the thing in the message.
        """
        with open_replacement(self.locate_blob(sha256)) as file:
            writer = HashingWriter(file)
            yield writer
            if writer.sha256 != sha256:
                raise SourceError(
                    f"{what} is not what its index promised",
                    details=(f"expected sha256 {sha256}", f"received sha256 {writer.sha256}"),
                    hint="the mirror is broken or being updated; try again, or another mirror",
                )

    def lock(self, name: str, console: Console, what: str, *, in_turn: bool = False) -> AbstractContextManager[None]:
        """Hold a named lock of this store (:func:`builder.core.locks.hold_lock`)."""
        return hold_lock(self.root / "locks" / name, console, what, in_turn=in_turn)

    @contextmanager
    def keep_in_use(self, console: Console) -> Iterator[None]:
        """Keep whoever wants to clear the store waiting. Any number of builds may do that at the same time."""
        with ExitStack() as stack:
            try:
                path = self.root / "locks" / IN_USE
                stack.enter_context(hold_lock(path, console, "clearing the store", shared=True))
            except OSError as error:
                # Nobody can clear what cannot be written.
                if error.errno not in (errno.EROFS, errno.EACCES):
                    raise
            yield

    def measure_usage(self) -> dict[str, tuple[int, int]]:
        """Number of files and bytes on disk for each section."""
        result = {}
        for section in SECTIONS:
            count = size = 0
            for directory, _, names in os.walk(self.root / section):
                for name in names:
                    status = os.lstat(Path(directory) / name)
                    count += 1
                    size += status.st_blocks * 512
            result[section] = (count, size)
        return result

    def clear(self, console: Console, *sections: str) -> None:
        """Delete whole sections, once no build uses the store any more."""
        with self.lock(IN_USE, console, "using the store"):
            for section in sections:
                shutil.rmtree(self.root / section, ignore_errors=True)

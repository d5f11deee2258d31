"""Where a shared cache lies: a directory, a URL that fsspec knows, or a repository of a registry.

``entries/NAME.json`` is the signed document of an entry, ``blobs/sha256/ab/ab12...`` an archive. The archive is written
first and the document last, each in one step: where a document is, its archive was whole. What a worker has left half
uploaded is referred to by nothing, and goes when the cache is pruned.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from builder.core.errors import InputError
from builder.core.files import hash_file, open_replacement, read_bounded
from builder.sharing.archive import copy_stream
from builder.sharing.entry import MAX_ENVELOPE, NAME, TOO_LARGE, SharedEntry
from builder.signatures.verify_key import SignatureRefused

ORPHANS_AFTER = 86400.0  # seconds: an upload that is under way is younger


class Place(Protocol):
    """What every kind of place can do. All of it may raise ``OSError`` or ``BuildError``."""

    @property
    def url(self) -> str:
        """Where it is, without passwords."""

    def read_entry(self, name: str) -> bytes | None:
        """The document of an entry; ``None`` if there is none.

        Raises:
            SignatureRefused: what is there is none, as the place itself can see.
        """

    def fetch(self, entry: SharedEntry, file: BinaryIO) -> None:
        """Write the archive of an entry into a file. What it is worth, the caller's hash says."""

    def put(self, entry: SharedEntry, envelope: bytes, archive: Path) -> None:
        """Add an entry, or replace it."""

    def list_names(self) -> Iterator[str]:
        """The names of all entries."""

    def delete(self, name: str) -> None:
        """Remove an entry."""

    def sweep(self, used: set[str]) -> int:
        """Remove archives that are none of these hashes, and old enough; returns how many."""


def check_name(name: str) -> str:
    """The name, if it is one.

    Raises:
        InputError: it is none: a path could be hidden in it.
    """
    if NAME.fullmatch(name) is None:
        raise InputError(f"{name[:100]!r} names no entry of a cache")
    return name


def locate_archive(sha256: str) -> str:
    """Where an archive lies below the cache."""
    return f"blobs/sha256/{sha256[:2]}/{sha256}"


@dataclass(frozen=True)
class DirectoryPlace:
    """A directory, on this machine or mounted."""

    root: Path

    @property
    def url(self) -> str:
        """The path."""
        return str(self.root)

    def read_entry(self, name: str) -> bytes | None:
        """See :class:`Place`."""
        try:
            return read_bounded(self._locate(name), MAX_ENVELOPE)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise SignatureRefused(TOO_LARGE) from error
            raise

    def fetch(self, entry: SharedEntry, file: BinaryIO) -> None:
        """See :class:`Place`."""
        with (self.root / locate_archive(entry.sha256)).open("rb") as archive:
            copy_stream(archive, file)

    def put(self, entry: SharedEntry, envelope: bytes, archive: Path) -> None:
        """See :class:`Place`."""
        there = self.root / locate_archive(entry.sha256)
        if not there.is_file() or hash_file(there) != entry.sha256:
            with archive.open("rb") as source, open_replacement(there, durable=True) as file:
                copy_stream(source, file)
        with open_replacement(self._locate(entry.name), durable=True) as file:
            file.write(envelope)

    def list_names(self) -> Iterator[str]:
        """See :class:`Place`."""
        for path in sorted((self.root / "entries").glob("*.json")):
            if NAME.fullmatch(path.stem):
                yield path.stem

    def delete(self, name: str) -> None:
        """See :class:`Place`."""
        self._locate(name).unlink(missing_ok=True)

    def sweep(self, used: set[str]) -> int:
        """See :class:`Place`."""
        count = 0
        for path in (self.root / "blobs").glob("sha256/*/*"):
            if path.name not in used and time.time() - path.stat().st_mtime > ORPHANS_AFTER:
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _locate(self, name: str) -> Path:
        return self.root / "entries" / f"{check_name(name)}.json"

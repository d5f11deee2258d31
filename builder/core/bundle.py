"""Files of the store as one archive, to carry a build to where there is no network.

The archive is a plain ustar file (pax(1), "ustar Interchange Format"): ``build-os-store.json``, which lists the files
with hash, size and what they are, then each file as ``sha256/HASH`` in that order. The same files give the same bytes.
Reading trusts nothing: any other order, kind or name of a member, and any other byte in it, is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from builder.core.console import Console
from builder.core.errors import SourceError
from builder.core.files import CHUNK, open_replacement, sync_file_system
from builder.core.store import Store

FORMAT = 1
LIST = "build-os-store.json"
MAX_LIST = 64 << 20
BLOCK = tarfile.BLOCKSIZE
_SHA256 = re.compile(r"[0-9a-f]{64}")
AGAIN = "copy it again, or make it anew with 'build-os store export'"


@dataclass(frozen=True)
class Carried:
    """A file: hash, size in bytes, what to call it in messages."""

    sha256: str
    size: int
    what: str


class BundleError(SourceError):
    """An archive that is none of ours, or damaged."""


def write_bundle(files: Iterable[Carried], store: Store, path: Path, console: Console) -> int:
    """Write files that are in the store to ``path``; returns how many bytes the archive has.

    Raises:
        SourceError: one is missing in the store or damaged; nothing is written.
    """
    ordered = sorted({file.sha256: file for file in files}.values(), key=lambda file: (file.what, file.sha256))
    text = json.dumps({"format": FORMAT, "files": [asdict(file) for file in ordered]}, indent=0).encode()
    total = sum(file.size for file in ordered)
    done = 0
    with open_replacement(path, durable=True) as out:
        out.write(_header(LIST, len(text)))
        out.write(_padded(text))
        for file in ordered:
            out.write(_header(f"sha256/{file.sha256}", file.size))
            for piece in _stored(store, file):
                out.write(piece)
                done += len(piece)
                console.report_progress(done, total, "B")
            out.write(bytes(-file.size % BLOCK))
        out.write(bytes(2 * BLOCK))
        return out.tell()


def _stored(store: Store, file: Carried) -> Iterator[bytes]:
    """The bytes of a blob. One that is damaged is removed.

    Raises:
        SourceError: it is damaged or not there.
    """
    digest = hashlib.sha256()
    blob = store.locate_blob(file.sha256)
    if store.has_blob(file.sha256, file.size):
        with blob.open("rb") as source:
            while piece := source.read(CHUNK):
                digest.update(piece)
                yield piece
    if digest.hexdigest() != file.sha256:
        blob.unlink(missing_ok=True)
        raise SourceError(f"{file.what} in the store is not whole; it has been removed", hint="try again")


def read_bundle(path: Path, store: Store, console: Console) -> list[Carried]:
    """Put the files of an archive into the store, each verified; returns them.

    What was imported before a damaged part is found is in the store, and is whole.

    Raises:
        BundleError: it is no such archive, or damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        reader = _Reader(file, str(path))
        files = reader.read_files()
        total, done = sum(carried.size for carried in files), 0
        for carried in files:
            reader.read_header(f"sha256/{carried.sha256}", carried.size)
            try:
                with store.add_blob(carried.sha256, carried.what) as out:
                    for piece in reader.read_content(carried.size):
                        out.write(piece)
                        done += len(piece)
                        console.report_progress(done, total, "B")
            except SourceError as error:
                raise BundleError(f"{path}: {error.what}", details=error.details, hint=AGAIN) from error
        reader.end()
        sync_file_system(store.root)
        return files


class _Reader:
    """The archive from front to back."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def read_files(self) -> list[Carried]:
        """The first member."""
        size = self.read_header(LIST)
        if size > MAX_LIST:
            raise self._bad(f"its list has {size} bytes")
        try:
            data = json.loads(b"".join(self.read_content(size)))
        except (ValueError, RecursionError) as error:
            raise self._bad("its list cannot be read") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("files"), list):
            raise self._bad(f"it is not of format {FORMAT}, which this build-os reads")
        return [self._carried(row) for row in data["files"]]

    def _carried(self, row: Any) -> Carried:
        match row:
            case {"sha256": str(sha256), "size": int(size), "what": str(what)} if (
                len(row) == 3
                and _SHA256.fullmatch(sha256)
                and type(size) is int
                and 0 <= size < 1 << 33
                and what.isprintable()
                and len(what) < 500
            ):
                return Carried(sha256, size, what)
            case _:
                raise self._bad(f"its list has an entry that is none: {str(row)[:100]!r}")

    def read_header(self, name: str, size: int | None = None) -> int:
        """Read the header of the member that must come now; its size."""
        header = self._file.read(BLOCK)
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise self._bad(f"where {name} belongs is no header of a member") from error
        if info.name != name or info.type != tarfile.REGTYPE or info.linkname:
            raise self._bad(f"where {name} belongs is {info.name[:100]!r}")
        if info.size < 0 or (size is not None and info.size != size):
            raise self._bad(f"{name} has {info.size} bytes, its list says {size}")
        return info.size

    def read_content(self, size: int) -> Iterator[bytes]:
        """The bytes of a member, and past what fills its last block."""
        left = size
        while left:
            piece = self._file.read(min(left, CHUNK))
            if not piece:
                raise self._bad("it ends too early")
            left -= len(piece)
            yield piece
        self._file.read(-size % BLOCK)

    def end(self) -> None:
        """Nothing but zeros follows."""
        while piece := self._file.read(CHUNK):
            if piece.count(0) != len(piece):
                raise self._bad("something follows its last member")

    def _bad(self, what: str) -> BundleError:
        return BundleError(f"{self._name} is not an archive of the store, or damaged: {what}", hint=AGAIN)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)

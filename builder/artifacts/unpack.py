"""An archive in the store as a tree: tar, also compressed by gzip, xz, bzip2 or zstd, and zip.

An archive is foreign input, however well its hash is known: nothing of it is written to a directory, names cannot lead
out of it, and what it says of owners, set-user-ID bits, devices and extended attributes counts for nothing.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, Protocol

from builder.artifacts.placed_artifact import ArchiveSelection
from builder.core.errors import InputError
from builder.core.files import CHUNK, hash_file, open_replacement
from builder.core.kept import PACKS, is_whole, read_entry, seal_entry
from builder.core.store import Store
from builder.core.tools import Tools
from builder.core.zstd import decompress_zstd
from builder.tree.layer import read_members
from builder.tree.node import EMPTY, Kind, Node, Slice, make_directory, make_symlink
from builder.tree.tree import Tree, TreeError, normalise_path

MAX_UNPACKED = 8 << 30  # bytes of an archive's content
MAX_ENTRIES = 1_000_000
XZ_MEMORY = 256 << 20  # bytes, as for packages: xz -9 needs 65 MiB
# What a file begins with: RFC 1952, the .xz format 1.2, bzip2's, RFC 8878, APPNOTE 4.3.7.
GZIP, XZ, BZIP2, ZSTD, ZIP = b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
S_IFMT, S_IFLNK = 0o170000, 0o120000


class _Readable(Protocol):
    """A file, or what reads one."""

    def read(self, size: int, /) -> bytes: ...


class ArchiveError(InputError):
    """A file is no archive that can be unpacked; the message completes "artifact NAME ..."."""


def unpack_archive(
    blob: Path, sha256: str, wanted: ArchiveSelection, store: Store, tools: Tools, *, origin: str
) -> Tree:
    """The wanted part of an archive, its content in the store.

    Args:
        blob: the archive.
        sha256: its hash, by which what was unpacked is found again.
        origin: who is to be named for the entries.

    Raises:
        ArchiveError: it is none, is damaged, or nothing in it is wanted.
        CapabilityError, ToolError: zstd is not there, or failed.
        OSError: the store cannot be written.
    """
    with blob.open("rb") as file:
        magic = file.read(8)
    try:
        unpacked = _read_zip(blob, sha256, store, origin) if magic.startswith(ZIP) else None
        if unpacked is None:
            unpacked = _read_tar(_unpacked(blob, sha256, magic, store, tools), origin)
        tree = _choose(unpacked, wanted, origin)
    except TreeError as error:
        raise ArchiveError(f"is an archive that cannot be used: {error.what}") from error
    if len(tree) == 1:
        names = [path[1:] for path, node in unpacked.walk() if node.kind is not Kind.DIRECTORY][:20]
        raise ArchiveError("has nothing of what is wanted in its archive", details=names or ["it is empty"])
    return tree


def _choose(unpacked: Tree, wanted: ArchiveSelection, origin: str) -> Tree:
    """Without leading directories, and of that what is selected; a directory brings what is in it."""
    tree = Tree({"/": make_directory(origin=origin)})
    links: list[tuple[str, Node]] = []
    for path, node in unpacked.walk():
        parts = path[1:].split("/")[wanted.strip :]
        name = "/".join(parts)
        if not name or (wanted.select and not _is_selected(parts, wanted.select)):
            continue
        if node.kind is Kind.SYMLINK:
            links.append((name, node))  # last, or what follows would be put where they lead
        else:
            tree.put(f"/{name}", node)
    for name, node in links:
        tree.put(f"/{name}", node)
    return tree


def _is_selected(parts: list[str], globs: tuple[str, ...]) -> bool:
    names = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(fnmatchcase(name, glob.rstrip("/")) for glob in globs for name in names)


@contextmanager
def _kept(store: Store, sha256: str) -> Iterator[tuple[Path, bool]]:
    """The file of what was unpacked, and whether it is there already; if not, the block writes it."""
    key = f"artifact-{sha256}"
    pack = store.root / PACKS.name / f"{key}.data"
    entry = read_entry(store, PACKS, key)
    if entry is not None and is_whole(entry):
        yield pack, True
        return
    yield pack, False
    seal_entry(store, PACKS, key, files={pack.name: [pack.stat().st_size, hash_file(pack)]})


def _unpacked(blob: Path, sha256: str, magic: bytes, store: Store, tools: Tools) -> Path:
    with _kept(store, sha256) as (pack, there):
        if not there:
            with open_replacement(pack) as out:
                _copy(_decompress(blob, magic, tools), out)
    return pack


def _read_tar(pack: Path, origin: str) -> Tree:
    tree = Tree({"/": make_directory(origin=origin)})
    links: list[tuple[str, str]] = []
    for member in read_members(pack, origin=origin):
        if member.path == "/":
            continue
        if member.link:
            links.append((member.path, member.link))
        elif member.node.kind in (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK):
            tree.put(member.path, _made_harmless(member.node))
        else:
            raise ArchiveError(f"has {member.path} in its archive, which is no file, directory or link")
    for path, target in links:
        node = tree.get(target)
        if node is None or node.kind is not Kind.FILE:
            raise ArchiveError(f"has {path} in its archive, a hard link to {target}, which is no file in it")
        tree.put(path, node)
    return tree


def _made_harmless(node: Node) -> Node:
    return Node(
        node.kind,
        node.mode & 0o777,
        content=node.content,
        target=node.target,
        mtime=node.mtime,
        origin=node.origin,
    )


def _decompress(blob: Path, magic: bytes, tools: Tools) -> Iterator[bytes]:
    """The uncompressed archive, in pieces."""
    try:
        with blob.open("rb") as file:
            if magic.startswith(GZIP):
                with gzip.GzipFile(fileobj=file) as plain:
                    yield from _read(plain)
            elif magic.startswith(XZ):
                yield from _decompress_xz(_read(file))
            elif magic.startswith(BZIP2):
                with bz2.BZ2File(file) as plain:
                    yield from _read(plain)
            elif magic.startswith(ZSTD):
                yield from decompress_zstd(tools, _read(file))
            else:
                yield from _read(file)
    except (EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise ArchiveError(f"cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno is not None:  # the disk's; what gzip and bz2 say of damaged data has none
            raise
        raise ArchiveError(f"cannot be unpacked: {error}") from error


def _read(file: _Readable) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK), b"")


def _decompress_xz(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Streams one after the other, with zeros between them (the .xz file format 1.2, section 2)."""
    engine: lzma.LZMADecompressor | None = None
    for piece in pieces:
        data = piece
        while data:
            if engine is None:
                data = data.lstrip(b"\0")
                engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY) if data else None
                continue
            yield engine.decompress(data, CHUNK)
            while not engine.eof and not engine.needs_input:
                yield engine.decompress(b"", CHUNK)
            data = engine.unused_data
            engine = None if engine.eof else engine
    if engine is not None:
        raise EOFError("it is cut short")


def _copy(pieces: Iterator[bytes], out: BinaryIO) -> None:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > MAX_UNPACKED:
            raise ArchiveError(f"unpacks to more than {MAX_UNPACKED} bytes")
        out.write(piece)


def _read_zip(blob: Path, sha256: str, store: Store, origin: str) -> Tree:
    """A zip file; the content of all its members goes one after the other into one file of the store."""
    try:
        with zipfile.ZipFile(blob) as archive:
            members = archive.infolist()
            if len(members) > MAX_ENTRIES or sum(member.file_size for member in members) > MAX_UNPACKED:
                raise ArchiveError(f"has more than {MAX_ENTRIES} members, or unpacks to more than {MAX_UNPACKED} bytes")
            with _kept(store, sha256) as (pack, there):
                if not there:
                    with open_replacement(pack) as out:
                        for member in members:
                            with archive.open(member) as content:
                                _copy(_read(content), out)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ArchiveError(f"is a zip file that cannot be unpacked: {error}") from error
    tree = Tree({"/": make_directory(origin=origin)})
    offset = 0
    for member in members:
        path, mode = normalise_path(member.filename), member.external_attr >> 16
        content_at = Slice(str(pack), offset, member.file_size) if member.file_size else EMPTY
        offset += member.file_size
        if member.is_dir():
            if path != "/":
                tree.put(path, make_directory(mode & 0o777 or 0o755, origin=origin))
        elif mode & S_IFMT == S_IFLNK:
            tree.put(path, make_symlink(content_at.read().decode(errors="surrogateescape"), origin=origin))
        else:
            tree.put(path, Node(Kind.FILE, mode & 0o777 or 0o644, content=content_at, origin=origin))
    return tree

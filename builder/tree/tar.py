"""A tree as a tar stream, for ``mkfs.erofs --tar`` and for container layers.

The bytes depend on the tree alone: POSIX ustar headers, numbers instead of names for owners, and a PAX header
(POSIX.1-2017 pax, "pax Header Block") only where ustar cannot say it. :mod:`builder.tree.tar_headers` reads.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Protocol

from builder.tree.node import Inline, Kind, Node, Slice
from builder.tree.tar_headers import BLOCK, HARD_LINK, PAX
from builder.tree.tree import Tree

BATCH = 1 << 20  # bytes gathered before they are written
OPEN_PACKS = 200  # files held open at once, far below the usual limit of 1024

TYPES = {
    Kind.FILE: b"0",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}

# name, mode, uid, gid, size, mtime, checksum, type, link, magic + version, uname, gname, major, minor, prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_MAX_8, _MAX_12 = 0o7777777, 0o77777777777  # what the number fields hold


class Writer(Protocol):
    """Takes bytes in order: a file, a pipe, a hash, a compressor."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


def write_tar(tree: Tree, file: Writer, *, latest: int | None = None) -> int:
    """Write a tree as a tar stream whose first member is the root, ``./``.

    Files that share a slice of the store and all their attributes become hard links to the first of them.

    Args:
        latest: times after this (seconds since 1970) become this.

    Returns:
        The number of bytes written.

    Raises:
        OSError: the content of a file is gone from the store, or ``file`` cannot be written. The stream ends after a
            whole member even then.
    """
    out = _Batch(file)
    first_names: dict[object, bytes] = {}
    with _Packs() as packs:
        for path, node in tree.walk():
            name = make_member_name(path, node)
            mtime = node.mtime if latest is None else min(node.mtime, latest)
            if node.kind is not Kind.FILE:
                out.add(make_headers(name, TYPES[node.kind], node, mtime, link=encode_name(node.target)))
                continue
            content = node.content
            if isinstance(content, Slice) and content.size:
                first = first_names.setdefault((content, node.mode, node.uid, node.gid, mtime, node.xattrs), name)
                if first is not name:
                    out.add(make_headers(name, HARD_LINK, node, mtime, link=first))
                    continue
            out.add(make_headers(name, TYPES[Kind.FILE], node, mtime, size=content.size))
            _add_content(content, packs, out)
    out.add(bytes(2 * BLOCK))
    out.flush()
    return out.total


def _add_content(content: Inline | Slice, packs: _Packs, out: _Batch) -> None:
    left = content.size + -content.size % BLOCK
    try:
        for chunk in packs.read_chunks(content):
            out.add(chunk)
            left -= len(chunk)
    except OSError:
        # Zeros for what is missing: mkfs.erofs 1.8 never ends if a stream breaks off inside a file.
        while left:
            out.add(bytes(min(left, BATCH)))
            left -= min(left, BATCH)
        out.flush()
        raise
    out.add(bytes(left))


def encode_name(name: str) -> bytes:
    """A name of a tree as bytes; unlike ``os.fsencode`` not at the mercy of the builder's locale."""
    return name.encode(errors="surrogateescape")


def make_member_name(path: str, node: Node) -> bytes:
    """``/usr/bin`` as ``usr/bin/``."""
    name = encode_name(path[1:]) or b"."
    return name + b"/" if node.kind is Kind.DIRECTORY else name


def make_headers(name: bytes, kind: bytes, node: Node, mtime: int, *, size: int = 0, link: bytes = b"") -> bytes:
    """The ustar header of one member, after a PAX header with whatever does not fit into it."""
    records: list[tuple[bytes, bytes]] = []
    short, prefix = name, b""
    if len(name) > 100:
        # ustar splits a long name at a slash, into at most 155 and 100 bytes.
        cut = name.find(b"/", len(name) - 101, len(name) - 1)
        if 0 < cut <= 155:
            prefix, short = name[:cut], name[cut + 1 :]
        else:
            records.append((b"path", name))
            short = name[:100]
    if len(link) > 100:
        records.append((b"linkpath", link))

    def number(key: bytes, value: int, greatest: int) -> int:
        if 0 <= value <= greatest:
            return value
        records.append((key, b"%d" % value))
        return 0

    uid = number(b"uid", node.uid, _MAX_8)
    gid = number(b"gid", node.gid, _MAX_8)
    length = number(b"size", size, _MAX_12)
    mtime = number(b"mtime", mtime, _MAX_12)
    if node.xattrs and kind != HARD_LINK:
        records += [(b"SCHILY.xattr." + encode_name(key), value) for key, value in node.xattrs]
    head = make_ustar_header(short, kind, node.mode, uid, gid, length, mtime, link[:100], node.device, prefix)
    if not records:
        return head
    body = b"".join(make_pax_record(key, value) for key, value in records)
    extra = make_ustar_header(b"PaxHeaders/" + short.rstrip(b"/")[-80:], PAX, 0o644, 0, 0, len(body), 0)
    return extra + body + bytes(-len(body) % BLOCK) + head


def make_ustar_header(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
) -> bytes:
    """One 512-byte header with its checksum; every value fits its field."""
    head = _HEADER.pack(
        name,
        b"%07o" % mode,
        b"%07o" % uid,
        b"%07o" % gid,
        b"%011o" % size,
        b"%011o" % mtime,
        b"        ",
        kind,
        link,
        b"ustar\x0000",
        b"",
        b"",
        b"%07o" % device[0],
        b"%07o" % device[1],
        prefix,
    )
    return seal(head)


def seal(head: bytes) -> bytes:
    """The header with its checksum, which is summed up with the field itself as eight spaces."""
    return b"%b%06o\0 %b" % (head[:148], sum(head), head[156:])


def make_pax_record(key: bytes, value: bytes) -> bytes:
    """``LENGTH key=value\\n``, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


class _Batch:
    """Gathers small pieces, so that 20,000 headers are not 20,000 system calls."""

    def __init__(self, file: Writer) -> None:
        self._file = file
        self._pieces: list[bytes] = []
        self._gathered = 0
        self.total = 0

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self._gathered += len(data)
        self.total += len(data)
        if self._gathered >= BATCH:
            self.flush()

    def flush(self) -> None:
        self._file.write(b"".join(self._pieces))
        self._pieces.clear()
        self._gathered = 0


class _Packs:
    """The store's files while they are read, kept open because neighbours usually come from one package."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def __enter__(self) -> _Packs:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def read_chunks(self, content: Inline | Slice) -> Iterator[bytes]:
        """The bytes, at most :data:`BATCH` at a time."""
        if isinstance(content, Inline):
            yield content.data
            return
        descriptor = self._open.get(content.path)
        if descriptor is None:
            if len(self._open) >= OPEN_PACKS:
                self.close()
            descriptor = self._open[content.path] = os.open(content.path, os.O_RDONLY | os.O_CLOEXEC)
        offset, left = content.offset, content.size
        while left:
            chunk = os.pread(descriptor, min(left, BATCH), offset)
            if not chunk:
                raise OSError(f"{content.path} is shorter than its index says")
            offset += len(chunk)
            left -= len(chunk)
            yield chunk

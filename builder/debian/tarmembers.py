"""The members of a tar archive, read from untrusted bytes.

Nothing is extracted here; a member says where in the archive its bytes are. Headers are read by
:mod:`builder.tree.tar_headers`. Source: deb(5) for what may be in a package.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from builder.tree.node import Kind
from builder.tree.tar_headers import (
    BLOCK,
    GNU_LINK,
    GNU_NAME,
    HARD_LINK,
    KINDS,
    MAX_EXTENSION,
    MAX_ID,
    PAX,
    PAX_GLOBAL,
    TarError,
    check_sum,
    read_decimal,
    read_link,
    read_name,
    read_number,
    read_records,
)

MAX_MEMBERS = 500_000
MAX_PATH = 4095
MAX_NAME = 255
ZERO = bytes(BLOCK)


class PackageMember(NamedTuple):
    """One member.

    Attributes:
        path: absolute and normal (``/usr/bin/x``); the archive's own root is ``/``.
        mode: permission bits (0 to 0o7777).
        offset, size: where the content is in the archive, in bytes; a hard link has those of its file.
        target: of a symbolic link, as it is written.
        device: major and minor number of a device node.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    offset: int
    size: int
    target: str
    device: tuple[int, int]


@dataclass
class _Extension:
    """What the headers before a member say about it: GNU long names, pax records."""

    path: str | None = None
    target: str | None = None
    numbers: dict[str, int] = field(default_factory=dict)


def read_members(data: mmap.mmap | bytes) -> list[PackageMember]:
    """All members, hard links resolved, in the archive's order.

    Raises:
        TarError: a damaged header; an absolute or escaping name; a name twice; a member below something that
            is no directory; a hard link to something that is no earlier file; sparse files and other kinds that
            packages cannot have; too many members.
    """
    members: list[PackageMember] = []
    kinds: dict[str, Kind] = {}
    files: dict[str, PackageMember] = {}
    for member, link in _members(data):
        if len(members) >= MAX_MEMBERS:
            raise TarError(f"it has more than {MAX_MEMBERS} members")
        path, resolved = member.path, member
        before = kinds.get(path)
        if before is not None and not (before is member.kind is Kind.DIRECTORY):
            raise TarError(f"{path!r} is in it twice")
        parent = path.rpartition("/")[0] or "/"
        if kinds.get(parent, Kind.DIRECTORY) is not Kind.DIRECTORY:
            raise TarError(f"{path!r} is below something that is no directory")
        if path == "/" and member.kind is not Kind.DIRECTORY:
            raise TarError("its root is no directory")
        kinds[path] = member.kind
        if link is not None:
            original = files.get(link)
            if original is None:
                raise TarError(f"{path!r} is a hard link to {link!r}, which is no file before it")
            resolved = original._replace(path=path)
        if resolved.kind is Kind.FILE:
            files[path] = resolved
        members.append(resolved)
    return members


def _members(data: mmap.mmap | bytes) -> Iterator[tuple[PackageMember, str | None]]:
    """Members as they come, each with the path it is a hard link to."""
    extension = _Extension()
    position, end = 0, len(data)
    while position < end:
        header = data[position : position + BLOCK]
        if header == ZERO:
            return
        if len(header) < BLOCK:
            raise TarError("it ends in the middle of a header")
        check_sum(header)
        kind = header[156:157]
        size = extension.numbers.get("size", read_number(header[124:136]))
        offset = position + BLOCK
        if size and (kind == HARD_LINK or KINDS.get(kind, Kind.FILE) is not Kind.FILE):
            # Some readers skip that many bytes and some do not, so it would mean different things to them.
            raise TarError("a member that is no file has content")
        position = offset + (size + BLOCK - 1) // BLOCK * BLOCK
        if size > end - offset:
            raise TarError("it ends in the middle of a member")
        if kind in (GNU_NAME, GNU_LINK, PAX, PAX_GLOBAL):
            _extend(extension, kind, data, offset, size)
        elif kind == HARD_LINK or kind in KINDS:
            yield _member(header, KINDS.get(kind, Kind.FILE), offset, size, extension)
            extension = _Extension()
        else:
            what = "a sparse file" if kind == b"S" else f"a member of kind {kind!r}"
            raise TarError(f"it has {what}, which a package cannot have")


def _member(
    header: bytes, kind: Kind, offset: int, size: int, extension: _Extension
) -> tuple[PackageMember, str | None]:
    path = _path(_text(read_name(header)) if extension.path is None else extension.path)
    numbers = extension.numbers
    uid = numbers.get("uid", read_number(header[108:116]))
    gid = numbers.get("gid", read_number(header[116:124]))
    if uid > MAX_ID or gid > MAX_ID:
        raise TarError(f"{path!r} belongs to {uid}:{gid}, which no file can belong to")
    target, link, device = "", None, (0, 0)
    linked = extension.target if extension.target is not None else _text(read_link(header))
    if header[156:157] == HARD_LINK:
        link = _path(linked)
    elif kind is Kind.SYMLINK:
        if not linked or len(linked.encode(errors="surrogateescape")) > MAX_PATH or "\0" in linked:
            raise TarError(f"{path!r} is a link without a usable target")
        target = linked
    elif kind in (Kind.CHARACTER, Kind.BLOCK):
        device = (read_number(header[329:337]), read_number(header[337:345]))
        if max(device) > 0xFFFFF:
            raise TarError(f"{path!r} is a device with impossible numbers")
    mode = read_number(header[100:108]) & 0o7777
    mtime = numbers.get("mtime", read_number(header[136:148]))
    return PackageMember(path, kind, mode, uid, gid, mtime, offset, size, target, device), link


def _path(name: str) -> str:
    """``./usr/bin/x`` as ``/usr/bin/x``."""
    if name.startswith("/"):
        raise TarError(f"{name[:300]!r} is an absolute name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    length = 0
    for part in parts:
        size = len(part) if part.isascii() else len(part.encode(errors="surrogateescape"))
        length += size + 1
        if part == ".." or size > MAX_NAME or "\0" in part:
            raise TarError(f"{name[:300]!r} is not a name that a file can have")
    if length > MAX_PATH:
        raise TarError(f"{name[:300]!r} is longer than a path can be")
    return "/" + "/".join(parts)


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _extend(extension: _Extension, kind: bytes, data: mmap.mmap | bytes, offset: int, size: int) -> None:
    if size > MAX_EXTENSION:
        raise TarError(f"a name or header of {size} bytes")
    text = data[offset : offset + size]
    if kind in (PAX, PAX_GLOBAL):
        for key, value in read_records(text):
            if kind == PAX_GLOBAL:
                raise TarError("it has global pax headers")
            _extend_by_record(extension, _text(key), value)
    elif kind == GNU_NAME:
        extension.path = _text(text.removesuffix(b"\0"))
    else:
        extension.target = _text(text.removesuffix(b"\0"))


def _extend_by_record(extension: _Extension, key: str, value: bytes) -> None:
    if key == "path":
        extension.path = _text(value)
    elif key == "linkpath":
        extension.target = _text(value)
    elif key in ("size", "uid", "gid", "mtime"):
        number = read_decimal(key, value, is_time=key == "mtime")
        if number < 0:
            raise TarError(f"pax header {key} is {number}")
        extension.numbers[key] = number
    elif key.startswith("GNU.sparse"):
        raise TarError("it has a sparse file, which a package cannot have")
    elif key.startswith(("SCHILY.xattr.", "LIBARCHIVE.xattr.")):
        raise TarError(
            f"it has the extended attribute {key.partition('xattr.')[2][:80]!r}, which a package cannot have"
        )

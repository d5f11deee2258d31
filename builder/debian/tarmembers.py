"""The members of a tar archive, read from untrusted bytes.

Not :mod:`tarfile`: its safety filters were bypassed more than once, it accepts much that no ``.deb`` may
contain, and it is several times slower. Nothing is extracted here; a member says where in the archive its
bytes are.

Source: tar(5) of libarchive (ustar, GNU and pax headers); deb(5) for what may be in a package.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from builder.tree.node import Kind

BLOCK = 512
MAX_MEMBERS = 500_000
MAX_EXTENSION = 1 << 20  # bytes of a long name or of a pax header
MAX_ID = 2**32 - 2  # (uid_t)-1 means "no change" to chown(2)
MAX_PATH = 4095
MAX_NAME = 255
ZERO = bytes(BLOCK)

KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.FILE,  # a hard link: another name of a file before it
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}


class TarError(Exception):
    """The archive is damaged, or contains what an archive must not contain."""


class Member(NamedTuple):
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


def read_members(data: mmap.mmap | bytes) -> list[Member]:
    """All members, hard links resolved, in the archive's order.

    Raises:
        TarError: a damaged header; an absolute or escaping name; a name twice; a member below something that
            is no directory; a hard link to something that is no earlier file; sparse files and other kinds that
            packages cannot have; too many members.
    """
    members: list[Member] = []
    kinds: dict[str, Kind] = {}
    files: dict[str, Member] = {}
    for member, link in _members(data):
        if len(members) >= MAX_MEMBERS:
            raise TarError(f"it has more than {MAX_MEMBERS} members")
        path, found = member.path, member
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
            found = original._replace(path=path)
        if found.kind is Kind.FILE:
            files[path] = found
        members.append(found)
    return members


def _members(data: mmap.mmap | bytes) -> Iterator[tuple[Member, str | None]]:
    """Members as they come, each with the path it is a hard link to."""
    extension = _Extension()
    position, end = 0, len(data)
    while position < end:
        header = data[position : position + BLOCK]
        if header == ZERO:
            return
        if len(header) < BLOCK:
            raise TarError("it ends in the middle of a header")
        _check_sum(header)
        kind = header[156:157]
        size = extension.numbers.get("size", _number(header, 124, 12))
        offset = position + BLOCK
        if size and kind in (b"1", b"2", b"3", b"4", b"5", b"6"):
            # Some readers skip that many bytes and some do not, so it would mean different things to them.
            raise TarError("a member that is no file has content")
        position = offset + (size + BLOCK - 1) // BLOCK * BLOCK
        if size > end - offset:
            raise TarError("it ends in the middle of a member")
        if kind in (b"L", b"K", b"x"):
            _extend(extension, kind, data, offset, size)
        elif kind == b"g":
            if _records(data, offset, size):
                raise TarError("it has global pax headers")
        elif kind in KINDS:
            yield _member(header, KINDS[kind], offset, size, extension)
            extension = _Extension()
        else:
            what = "a sparse file" if kind == b"S" else f"a member of kind {kind!r}"
            raise TarError(f"it has {what}, which a package cannot have")


def _member(header: bytes, kind: Kind, offset: int, size: int, extension: _Extension) -> tuple[Member, str | None]:
    name = extension.path
    if name is None:
        name = _text(header, 0, 100)
        # GNU tar uses the place of ustar's prefix for something else.
        if header[257:263] == b"ustar\0" and header[345]:
            name = f"{_text(header, 345, 155)}/{name}"
    path = _path(name)
    numbers = extension.numbers
    uid = numbers.get("uid", _number(header, 108, 8))
    gid = numbers.get("gid", _number(header, 116, 8))
    if uid > MAX_ID or gid > MAX_ID:
        raise TarError(f"{path!r} belongs to {uid}:{gid}, which no file can belong to")
    target, link, device = "", None, (0, 0)
    linked = extension.target if extension.target is not None else _text(header, 157, 100)
    if header[156:157] == b"1":
        link = _path(linked)
    elif kind is Kind.SYMLINK:
        if not linked or len(linked.encode(errors="surrogateescape")) > MAX_PATH or "\0" in linked:
            raise TarError(f"{path!r} is a link without a usable target")
        target = linked
    elif kind in (Kind.CHARACTER, Kind.BLOCK):
        device = (_number(header, 329, 8), _number(header, 337, 8))
        if max(device) > 0xFFFFF:
            raise TarError(f"{path!r} is a device with impossible numbers")
    mode = _number(header, 100, 8) & 0o7777
    mtime = numbers.get("mtime", _number(header, 136, 12))
    return Member(path, kind, mode, uid, gid, mtime, offset, size, target, device), link


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


def _check_sum(header: bytes) -> None:
    # The sum of all bytes, with its own field counted as spaces.
    expected = sum(header) - sum(header[148:156]) + 8 * 32
    if _number(header, 148, 8) != expected:
        raise TarError("a header's checksum is wrong")


def _number(header: bytes, start: int, length: int) -> int:
    raw = header[start : start + length]
    if raw[0] & 0x80:  # GNU's base 256, for what does not fit into octal digits
        value = int.from_bytes(raw, "big", signed=False) & ~(1 << (8 * length - 1))
        if raw[0] & 0x40 or value >= 1 << 62:
            raise TarError("a header has a negative or impossible number")
        return value
    digits = raw.strip(b" \0")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise TarError(f"a header has {raw!r} where a number belongs")
    return int(digits, 8)


def _text(header: bytes, start: int, length: int) -> str:
    return header[start : start + length].partition(b"\0")[0].decode(errors="surrogateescape")


def _extend(extension: _Extension, kind: bytes, data: mmap.mmap | bytes, offset: int, size: int) -> None:
    if size > MAX_EXTENSION:
        raise TarError(f"a name or header of {size} bytes")
    if kind == b"x":
        for key, value in _records(data, offset, size).items():
            _extend_by_record(extension, key, value)
        return
    text = data[offset : offset + size].removesuffix(b"\0").decode(errors="surrogateescape")
    if kind == b"L":
        extension.path = text
    else:
        extension.target = text


def _extend_by_record(extension: _Extension, key: str, value: str) -> None:
    if key == "path":
        extension.path = value
    elif key == "linkpath":
        extension.target = value
    elif key in ("size", "uid", "gid", "mtime"):
        digits = value.partition(".")[0]
        if not digits.isdecimal() or not digits.isascii() or len(digits) > 18:
            raise TarError(f"pax header {key} is {value[:40]!r}")
        extension.numbers[key] = int(digits)
    elif key.startswith("GNU.sparse"):
        raise TarError("it has a sparse file, which a package cannot have")
    elif key.startswith(("SCHILY.xattr.", "LIBARCHIVE.xattr.")):
        raise TarError(
            f"it has the extended attribute {key.partition('xattr.')[2][:80]!r}, which a package cannot have"
        )


def _records(data: mmap.mmap | bytes, offset: int, size: int) -> dict[str, str]:
    """A pax header: records of ``LENGTH KEY=VALUE NEWLINE``."""
    if size > MAX_EXTENSION:
        raise TarError(f"a pax header of {size} bytes")
    rest = data[offset : offset + size]
    found = {}
    while rest:
        digits, space, _ = rest.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 9 else 0
        record = rest[:length]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if not space or not equals or length > len(rest) or not record.endswith(b"\n"):
            raise TarError("a pax header is damaged")
        found[key.decode(errors="surrogateescape")] = value[:-1].decode(errors="surrogateescape")
        rest = rest[length:]
    return found

"""The zip archive that a wheel is, read as something that a stranger made.

The central directory is read by :mod:`zipfile`; each member is decompressed by us, never beyond the size that it
declares. What two readers could understand differently is refused: members of the same name, local headers that
disagree with the directory, members that overlap.

Source: APPNOTE.TXT of PKWARE, as far as the wheel format (PyPA, "Binary distribution format") uses it.
"""

from __future__ import annotations

import mmap
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.python.errors import WheelError

inflate: Any = zlib
with suppress(ImportError):  # a machine that it is not made for
    from isal import isal_zlib as inflate

MAX_MEMBERS = 200_000
# What all members may grow to, however small the file is; above it, so many times the file's size.
FREE_SIZE = 64 << 20
MAX_RATIO = 60
LOCAL = struct.Struct("<4sHHHHHIIIHH")
ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A regular file in the archive.

    Attributes:
        name: as it is written, relative, with ``/``.
        executable: whether any execute bit is set.
        compressed: whether it is deflated.
        start, packed: where its data begins in the file, and how many bytes that is.
        size: how many bytes it has when unpacked.
    """

    name: str
    executable: bool
    compressed: bool
    crc: int
    start: int
    packed: int
    size: int


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[mmap.mmap, list[ZipMember]]]:
    """The archive's bytes and its members, in the order of its directory.

    Raises:
        WheelError: it is no zip archive, or one that a wheel cannot be.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise WheelError("it is empty") from None
        with view:
            yield view, _read_members(file, view)


def _read_members(file: object, view: mmap.mmap) -> list[ZipMember]:
    try:
        with zipfile.ZipFile(file) as archive:  # type: ignore[call-overload]  # a binary file
            infos = archive.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, OverflowError, NotImplementedError, EOFError) as error:
        raise WheelError(f"it is no zip archive: {error}") from error
    if len(infos) > MAX_MEMBERS:
        raise WheelError(f"it has {len(infos)} members, and at most {MAX_MEMBERS} are read")
    _require_modest(sum(info.file_size for info in infos), len(view))
    members = []
    seen: set[str] = set()
    for info in infos:
        name = info.orig_filename
        if name in seen:
            raise WheelError(f"{_shown(name)} is in it twice")
        seen.add(name)
        if name.endswith("/"):
            _check_name(name.rstrip("/"))
            continue
        _check_name(name)
        members.append(_read_member(info, view))
    _check_overlaps(members)
    return members


def _require_modest(total: int, size: int) -> None:
    if total > FREE_SIZE and total > size * MAX_RATIO:
        raise WheelError(
            f"its {size} bytes would unpack to {total}: a zip bomb",
            hint="a wheel is at most a few times as large unpacked",
        )


def _check_name(name: str) -> None:
    parts = name.split("/")
    if name.startswith("/"):
        raise WheelError(f"{_shown(name)} is an absolute path")
    if ".." in parts:
        raise WheelError(f"{_shown(name)} leads out of the environment")
    if "" in parts or "." in parts or "\\" in name or not name.isprintable():
        raise WheelError(f"{_shown(name)} is no path that a wheel can have")
    if any(len(part.encode(errors="surrogateescape")) > 255 for part in parts):
        raise WheelError(f"{_shown(name)} has a name that no file system takes")


def _read_member(info: zipfile.ZipInfo, view: mmap.mmap) -> ZipMember:
    name = info.orig_filename
    mode = info.external_attr >> 16
    if info.create_system == 3 and mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
        raise WheelError(f"{_shown(name)} is {kind}, which a wheel cannot have")
    if info.flag_bits & ENCRYPTED:
        raise WheelError(f"{_shown(name)} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise WheelError(f"{_shown(name)} is compressed by method {info.compress_type}; a wheel is deflated or stored")
    try:
        head = LOCAL.unpack_from(view, info.header_offset)
    except struct.error:
        raise WheelError(f"{_shown(name)} begins beyond the end of the archive") from None
    begin = info.header_offset + LOCAL.size
    start = begin + head[9] + head[10]
    raw = bytes(view[begin : begin + head[9]])
    if head[0] != b"PK\x03\x04" or raw.decode("utf-8" if head[2] & 0x800 else "cp437", "replace") != name:
        raise WheelError(f"{_shown(name)} has another name where its data is than in the archive's directory")
    if start + info.compress_size > len(view):
        raise WheelError(f"{_shown(name)} ends beyond the end of the archive")
    compressed = info.compress_type == zipfile.ZIP_DEFLATED
    executable = bool(mode & 0o111) and info.create_system == 3
    return ZipMember(name, executable, compressed, info.CRC, start, info.compress_size, info.file_size)


def _check_overlaps(members: list[ZipMember]) -> None:
    end = 0
    for member in sorted(members, key=lambda member: member.start):
        if member.start < end:
            raise WheelError(f"{_shown(member.name)} overlaps with another member: a zip bomb")
        end = member.start + member.packed


def read_member(view: mmap.mmap, member: ZipMember, *, check: bool = True) -> bytes:
    """The content of a member.

    Args:
        check: compare it with the archive's checksum, which who knows a better hash has no need of.

    Raises:
        WheelError: it is damaged, or has another size than the directory says.
    """
    data = view[member.start : member.start + member.packed]
    if member.compressed:
        decompressor = inflate.decompressobj(-15)
        try:
            # One byte more than it may have: a bomb is noticed, and not unpacked.
            data = decompressor.decompress(data, member.size + 1)
        except inflate.error as error:
            raise WheelError(f"{_shown(member.name)} is damaged: {error}") from error
        if not decompressor.eof and len(data) == member.size:
            data += decompressor.decompress(decompressor.unconsumed_tail, 1)
    if len(data) != member.size:
        more = "more" if len(data) > member.size else "fewer"
        raise WheelError(f"{_shown(member.name)} has {more} bytes than the {member.size} that the archive declares")
    if check and zlib.crc32(data) != member.crc:
        raise WheelError(f"{_shown(member.name)} is damaged: its checksum is another one")
    return data


def _shown(name: str) -> str:
    return repr(name[:200])

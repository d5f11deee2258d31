"""Unpack what a config wants unpacked. All of an archive is read and judged before any of it is written."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import IO, TYPE_CHECKING, Protocol

from firstboot.apply.action import Action, Machine, Refused
from firstboot.apply.allowed import check_writable
from firstboot.apply.contents import Fetched, Stored
from firstboot.apply.files import OwnerNames, Ownership
from firstboot.apply.programs import Programs
from firstboot.apply.root import Root
from firstboot.apply.unpacking import MAX_UNPACKED, ArchiveMember, BadArchive, OpenArchive, resolve_links
from firstboot.config.lazy import import_lazily
from firstboot.config.models import Config
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path, Problem
from firstboot.fetch.url_text import redact_url

if TYPE_CHECKING:
    import bz2
    import gzip
    import lzma
    import zlib
else:
    bz2 = import_lazily("bz2")
    gzip = import_lazily("gzip")
    lzma = import_lazily("lzma")
    zlib = import_lazily("zlib")

_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Up to so many bytes."""


class Unpack(NamedTuple):
    """Write everything in an archive below a directory."""

    at: Path
    path: str
    name: str
    archive: FilePath
    strip: int
    owner: Ownership
    members: tuple[ArchiveMember, ...]
    special_bits: bool

    def describe(self) -> str:
        return f"unpack {self.name} into {self.path} ({len(self.members)} members)"

    def perform(self, machine: Machine) -> None:
        uid, gid = (max(number, 0) for number in self.owner.resolve_ids(machine.names))
        machine.root.make_directory(self.path)
        try:
            with OpenArchive(self.archive, self.strip, special_bits=self.special_bits) as archive:
                for member in self.members:
                    self._write(member, archive, machine.root, uid, gid)
        except BadArchive as error:
            raise Refused(f"the archive {error}") from None
        # Last: one may be closed to its owner.
        for member in reversed(self.members):
            if member.kind == "directory":
                place = self._place(member.path)
                machine.root.change(place, uid=uid, gid=gid, mode=member.mode)

    def _write(self, member: ArchiveMember, archive: OpenArchive, root: Root, uid: int, gid: int) -> None:
        place = self._place(member.path)
        match member.kind:
            case "directory":
                root.make_directory(place)
            case "link":
                root.make_symlink(place, member.target, uid=uid, gid=gid)
            case "hard":
                root.make_hard_link(place, self._place(member.target))
            case "file":
                root.write(place, archive.read_member(member), mode=member.mode, uid=uid, gid=gid)

    def _place(self, path: str) -> str:
        return posixpath.join(self.path, path) if path else self.path


def plan(config: Config, root: Root, known: OwnerNames, fetched: Fetched) -> Iterator[Action | Problem]:
    """What to unpack, and what cannot be."""
    taken = {node.path for node in (*config.storage.files, *config.storage.links)}
    for index, wanted in enumerate(config.storage.archives):
        at: Path = ("storage", "archives", index)
        owner = Ownership(
            wanted.user.id if wanted.user.id is not None else wanted.user.name or 0,
            wanted.group.id if wanted.group.id is not None else wanted.group.name or 0,
        )
        for kind, name, names in (("user", owner.user, known.users), ("group", owner.group, known.groups)):
            if isinstance(name, str) and name not in names:
                yield Problem((*at, kind, "name"), f"there is no {kind} '{name}'", f"add it to passwd.{kind}s")
        stored = fetched[wanted.resource]
        assert isinstance(stored, Stored)
        try:
            with OpenArchive(stored.path, wanted.strip or 0, special_bits=bool(wanted.special_bits)) as archive:
                members = tuple(archive.list_members())
        except BadArchive as error:
            yield Problem(at, f"the archive {error}", "it is not unpacked, and nothing else is done")
            continue
        places = {posixpath.join(wanted.path, member.path).rstrip("/"): member for member in members}
        if problem := next(_in_the_way(places, wanted.path, root, taken, at), None):
            yield problem
            continue
        special = bool(wanted.special_bits)
        yield Unpack(
            at, wanted.path, redact_url(wanted.source or ""), stored.path, wanted.strip or 0, owner, members, special
        )


def _in_the_way(
    places: dict[str, ArchiveMember], path: str, root: Root, taken: set[str], at: Path
) -> Iterator[Problem]:
    """Why the members cannot be where they would go, the first reason first."""
    try:
        seen = root.see(path)
        yield from check_writable(seen, path, (*at, "path"))
        if seen.stat is not None and not seen.is_directory:
            yield Problem((*at, "path"), f"'{path}' is no directory")
        for place, member in places.items():
            there = root.see(place)
            if place in taken:
                yield Problem(at, f"'{place}' is in the archive and also elsewhere in the config")
            taken.add(place) if member.kind != "directory" else None
            if there.stat is not None and not (there.is_directory and member.kind == "directory"):
                yield Problem(at, f"'{place}' is in the archive and there already", "unpack it elsewhere")
            if there.path != posixpath.join(seen.path, posixpath.relpath(place, path)).removesuffix("/."):
                yield Problem(at, f"'{place}' would be {there.path}, because of a link on the way")
        yield from _links_that_turn(places, seen.path, root, at)
    except OSError as error:
        yield Problem((*at, "path"), f"'{path}' cannot be made: {error.strerror}")


def _links_that_turn(places: dict[str, ArchiveMember], top: str, root: Root, at: Path) -> Iterator[Problem]:
    """Links of the archive that would go on through a link which is there already, not of the archive."""
    ways = resolve_links({member.path: member for member in places.values()})
    links = {
        place: root.see(place, follow=True).path
        for place in {posixpath.join(top, inside) for way in ways.values() for inside in way.through}
        if root.see(place).target is not None
    }
    for name, way in ways.items():
        for place in (posixpath.join(top, inside) for inside in way.through):
            if place in links:
                yield Problem(
                    at, f"the link '{name}' in the archive goes through '{place}', which is a link to {links[place]}"
                )


def decompress(path: FilePath, programs: Programs) -> None:
    """Replace an archive by what it is without its compression; zip files compress by themselves.

    Raises:
        BadArchive: damaged or too large. ProgramError: zstd is missing or fails.
    """
    with path.open("rb") as file:
        magic = file.read(6)
    plain = path.with_name(path.name + ".plain")
    if magic.startswith(_ZSTD):
        programs.run(["zstd", "-q", "-d", f"--memory={1 << 27}", "-o", str(plain), str(path)])
        if plain.stat().st_size > MAX_UNPACKED:
            raise BadArchive(f"is larger than {MAX_UNPACKED >> 30} GiB when unpacked")
    else:
        opened = _opened(path, magic)
        if opened is None:
            return
        with opened as packed, plain.open("wb") as target:
            _copy(packed, target)
    plain.replace(path)


def _opened(path: FilePath, magic: bytes) -> contextlib.AbstractContextManager[_Readable] | None:
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(path)
    if magic.startswith(b"BZh"):
        return bz2.open(path)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path)
    return None


def _copy(packed: _Readable, target: IO[bytes]) -> None:
    left = MAX_UNPACKED
    try:
        while piece := packed.read(_CHUNK):
            left -= len(piece)
            if left < 0:
                raise BadArchive(f"is larger than {MAX_UNPACKED >> 30} GiB when unpacked")
            target.write(piece)
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise BadArchive(f"cannot be read: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise BadArchive(f"cannot be read: {error}") from None  # bz2 and gzip say it so

"""Reading archives that come from elsewhere: what is in one, judged before any of it is written.

Nothing in an archive may lead out of the directory it is unpacked into: no name, no link. Devices, pipes and sockets
are refused, and setuid, setgid and sticky bits unless they are asked for.
"""

from __future__ import annotations

import contextlib
import posixpath
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from firstboot.config.lazy import import_lazily
from firstboot.config.named_tuple import NamedTuple

if TYPE_CHECKING:
    import lzma
    import zlib
else:
    lzma = import_lazily("lzma")
    zlib = import_lazily("zlib")

MAX_UNPACKED = 4 << 30
MAX_MEMBERS = 100_000
_MAX_AT_ONCE = 1 << 20  # tarfile reads a header's long names whole
_MAX_CENTRAL = 32 << 20  # zipfile reads a directory whole
_MAX_LINKS = 40  # as the kernel: path_resolution(7)
_MAX_TARGET = 4095  # PATH_MAX
_MAX_STEPS = 2_000_000  # twenty for each of as many links as there may be
_SPECIAL = 0o7000
_CHUNK = 1 << 20


class BadArchive(Exception):
    """It is no archive, damaged, or has something in it that will not be unpacked."""


class ArchiveMember(NamedTuple):
    """One thing in an archive.

    Attributes:
        path: where it goes, below the archive's directory; ``""`` is that directory itself.
        kind: what it is; a ``hard`` link is another name of a file before it.
        mode: its permissions.
        target: of links.
        key: finds its contents again.
    """

    path: str
    kind: Literal["file", "directory", "link", "hard"]
    mode: int
    target: str = ""
    key: object = None


class _Bounded:
    """A file of which nobody reads much at once: a header that says it is huge is wrong."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_AT_ONCE:
            raise BadArchive("has a header that is too large")
        return self._file.read(size)


class OpenArchive:
    """An archive that is open; :meth:`list_members`, then :meth:`read_member` of those that are files."""

    def __init__(self, path: Path, strip: int = 0, *, special_bits: bool = False) -> None:
        self._path = path
        self._strip = strip
        self._special_bits = special_bits
        self._stack = contextlib.ExitStack()
        self._zip: zipfile.ZipFile | None = None
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> OpenArchive:
        with contextlib.ExitStack() as stack, _complaints():
            file = stack.enter_context(self._path.open("rb"))
            if file.read(2) == b"PK":
                _require_small_directory(file)
                self._zip = stack.enter_context(zipfile.ZipFile(file))
            else:
                file.seek(0)
                bounded: IO[bytes] = _Bounded(file)  # type: ignore[assignment]  # all that tarfile uses
                self._tar = stack.enter_context(tarfile.open(fileobj=bounded, mode="r:"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def list_members(self) -> list[ArchiveMember]:
        """Everything in it, in order; of several with one name the last.

        Raises:
            BadArchive
        """
        members: dict[str, ArchiveMember] = {}
        size = count = 0
        with _complaints():
            for name, member, bytes_ in self._zip_members() if self._zip is not None else self._tar_members():
                size, count = size + bytes_, count + 1
                if size > MAX_UNPACKED or count > MAX_MEMBERS:
                    raise BadArchive(f"has more than {MAX_MEMBERS} members or {MAX_UNPACKED >> 30} GiB in it")
                path = self._place(name)
                if path is None:
                    continue
                if member.mode & _SPECIAL and not self._special_bits:
                    raise BadArchive(f"has a setuid, setgid or sticky bit on {_shown(name)}")
                target = self._place(member.target) if member.kind == "hard" else member.target
                members.pop(path, None)
                members[path] = member._replace(path=path, target=target or "")
        _judge(members)
        resolve_links(members)
        return [*members.values()]

    def read_member(self, member: ArchiveMember) -> Iterator[bytes]:
        """The bytes of a file, in pieces.

        Raises:
            BadArchive, OSError
        """
        with _complaints():
            if self._zip is not None:
                assert isinstance(member.key, zipfile.ZipInfo)
                file: IO[bytes] | None = self._zip.open(member.key)
            else:
                assert self._tar is not None
                assert isinstance(member.key, tarfile.TarInfo)
                file = self._tar.extractfile(member.key)
            assert file is not None
            with file:
                left = MAX_UNPACKED
                while piece := file.read(_CHUNK):
                    left -= len(piece)
                    if left < 0:
                        raise BadArchive("has a file that is larger than it says")
                    yield piece

    def _place(self, name: str) -> str | None:
        """Where a name goes; ``None`` if nothing of it is left."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or any(char < " " for char in name):
            raise BadArchive(f"has something that leads out of it: {_shown(name)}")
        if len(parts) < self._strip or (len(parts) == self._strip and self._strip):
            return None
        return "/".join(parts[self._strip :])

    def _tar_members(self) -> Iterator[tuple[str, ArchiveMember, int]]:
        assert self._tar is not None
        for info in self._tar:
            mode = info.mode & 0o7777
            if info.isdir():
                yield info.name, ArchiveMember("", "directory", mode), 0
            elif info.issym():
                yield info.name, ArchiveMember("", "link", 0, info.linkname), 0
            elif info.islnk():
                yield info.name, ArchiveMember("", "hard", 0, info.linkname), 0
            elif info.isreg():
                yield info.name, ArchiveMember("", "file", mode, key=info), info.size
            else:
                raise BadArchive(f"has something that is no file, directory or link: {_shown(info.name)}")
        # tarfile takes whatever it does not understand for the end.
        assert self._tar.fileobj is not None
        self._tar.fileobj.seek(self._tar.offset)
        if self._tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise BadArchive("cannot be read: it is damaged or cut short")

    def _zip_members(self) -> Iterator[tuple[str, ArchiveMember, int]]:
        assert self._zip is not None
        for info in self._zip.infolist():
            unix = info.external_attr >> 16
            mode, kind = unix & 0o7777, stat.S_IFMT(unix)
            if info.is_dir():
                yield info.filename, ArchiveMember("", "directory", mode or 0o755), 0
            elif kind == stat.S_IFLNK:
                yield info.filename, ArchiveMember("", "link", 0, self._zip.read(info).decode("utf-8")), 0
            elif kind in (0, stat.S_IFREG):
                yield info.filename, ArchiveMember("", "file", mode or 0o644, key=info), info.file_size
            else:
                raise BadArchive(f"has something that is no file, directory or link: {_shown(info.filename)}")


def _judge(members: dict[str, ArchiveMember]) -> None:
    """Whether the members fit together, and none leads out."""
    for path, member in members.items():
        above = posixpath.dirname(path)
        while above:
            if above in members and members[above].kind != "directory":
                raise BadArchive(f"has something below what is no directory: {_shown(path)}")
            above = posixpath.dirname(above)
        if not path and member.kind != "directory":
            raise BadArchive("is something else than a directory at its top")
        if member.kind == "hard" and (member.target not in members or members[member.target].kind != "file"):
            raise BadArchive(f"has a hard link to what is no file in it: {_shown(path)}")


class Way(NamedTuple):
    """Where a link of an archive leads, below its directory; ``through`` are the places on the way that it has not."""

    place: str
    through: tuple[str, ...]


def resolve_links(members: Mapping[str, ArchiveMember]) -> dict[str, Way]:
    """Where each link of an archive leads, through the links of the archive, by the link's path.

    As the kernel would go (path_resolution(7)), one name after the other: ``d/../..`` leads out if ``d`` is a link to
    the directory above, whatever it looks like. A link into a circle leads nowhere, and is left out.

    Raises:
        BadArchive: one leads out, or they cannot all be followed in reasonable time.
    """
    steps = 0
    leads = {}
    for path, member in members.items():
        if member.kind != "link":
            continue
        done = [part for part in posixpath.dirname(path).split("/") if part]
        pending = _turn(path, member.target)
        links = 1
        through: dict[str, None] = {}
        while pending and links <= _MAX_LINKS:
            steps += 1
            if steps > _MAX_STEPS:
                raise BadArchive("has links that lead through too many others")
            part = pending.pop()
            if part == "..":
                if not done:
                    raise BadArchive(f"has a link that leads out of it: {_shown(path)} -> {_shown(member.target)}")
                done.pop()
            elif part not in ("", "."):
                there = members.get("/".join((*done, part)))
                if there is not None and there.kind == "link":
                    links += 1
                    pending += _turn(there.path, there.target)
                    continue
                done.append(part)
                if there is None:
                    through["/".join(done)] = None
        if not pending:
            leads[path] = Way("/".join(done), tuple(through))
    return leads


def _turn(path: str, target: str) -> list[str]:
    """The way that a link leads, the last part first."""
    if not target or target.startswith("/") or len(target) > _MAX_TARGET:
        raise BadArchive(f"has a link that leads out of it: {_shown(path)} -> {_shown(target)}")
    return target.split("/")[::-1]


def _require_small_directory(file: IO[bytes]) -> None:
    """Refuse a zip file whose directory would fill the memory (APPNOTE.TXT, 4.3.16)."""
    end = file.seek(0, 2)
    file.seek(max(0, end - (1 << 16) - 22))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at >= 0 and len(tail) >= at + 22 and struct.unpack_from("<I", tail, at + 12)[0] > _MAX_CENTRAL:
        raise BadArchive("has too many members")
    file.seek(0)


@contextlib.contextmanager
def _complaints() -> Iterator[None]:
    """Everything that a damaged archive makes Python's readers raise, as one thing."""
    known = (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError)
    try:
        yield
    except known as error:
        raise BadArchive(f"cannot be read: {error}") from None
    except (EOFError, ValueError, OverflowError, struct.error) as error:
        raise BadArchive(f"cannot be read: {error}") from None


def _shown(name: str) -> str:
    return repr(name[:100])

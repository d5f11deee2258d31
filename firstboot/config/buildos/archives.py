"""``storage.archives`` that are beside the config: their files, directories and links become the config's own.

Nothing is unpacked where the config is compiled. What is in an archive is held to what a config may say anyway, so no
name in it can lead out of its directory; devices, sockets and setuid bits are not taken over.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Literal

from firstboot.config import archive as archives
from firstboot.config.buildos.models import Archive
from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.butane.files import NoLocalFile
from firstboot.config.models import Owner
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.resource import BadResource, verify
from firstboot.config.text import MAX_BYTES, Path

MAX_UNPACKED = 8 * MAX_BYTES  # of the whole archive, with what is skipped
MAX_ENTRIES = 20_000
_PERMISSIONS = 0o777
_MAGIC = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))


class BadArchive(ValueError):
    """An archive that cannot be taken over; the text says why."""


class ArchiveEntry(NamedTuple):
    """One thing in an archive.

    Attributes:
        name: as the archive has it.
        kind: what it is.
        mode: its permissions.
        data: of a file its contents, of a link its target.
    """

    name: str
    kind: Literal["file", "directory", "link"]
    mode: int
    data: bytes


def unpack_archives(output: SugarOutput) -> None:
    """Add what is in each archive."""
    for at, archive in output.list_parts(Archive, "storage", "archives"):
        before = output.complaints
        output.is_path(archive.path, (*at, "path"))
        if archive.strip is not None and not 0 <= archive.strip < 100:
            output.complain((*at, "strip"), f"{archive.strip} is not a number of parts of a name")
        if (archive.local is None) == (archive.source is None):
            hint = "'local' is an archive beside the config, 'source' a URL of one that the machine fetches"
            output.complain(at, "either 'local' or 'source' is required", hint)
        elif archive.source is not None:
            output.add_archive(_elsewhere(archive), at)
        elif archive.local is not None and output.complaints == before:
            _unpack(archive, archive.local, at, output)


def _elsewhere(archive: Archive) -> archives.Archive:
    return archives.Archive(**{name: getattr(archive, name) for name in archives.Archive.ANNOTATIONS})


def _unpack(archive: Archive, local: str, at: Path, output: SugarOutput) -> None:
    try:
        data = output.surroundings.files.read(local)
        verify(data, archive.verification.hash)
        entries = lay_out_entries(read_entries(data), archive.path, archive.strip or 0)
    except NoLocalFile as error:
        output.complain((*at, "local"), str(error), error.hint)
    except BadResource as error:
        output.complain((*at, "verification", "hash"), str(error))
    except BadArchive as error:
        output.complain((*at, "local"), f"'{local}' {error}")
    else:
        _add(archive, entries, at, output)


def _add(archive: Archive, entries: dict[str, ArchiveEntry], at: Path, output: SugarOutput) -> None:
    user, group = archive.user, archive.group
    if Owner() not in (user, group) or archive.path not in entries:
        output.add_directory(archive.path, at, user=user, group=group)
    for path, entry in entries.items():
        if entry.kind == "directory":
            output.add_directory(path, at, mode=entry.mode, user=user, group=group)
        elif entry.kind == "link":
            output.add_link(path, entry.data.decode("utf-8", "surrogateescape"), at, user=user, group=group)
        else:
            output.add_file(path, entry.data, at, mode=entry.mode, user=user, group=group)


def lay_out_entries(entries: Iterator[ArchiveEntry], directory: str, strip: int) -> dict[str, ArchiveEntry]:
    """The entries of an archive by where they go; of several with one name the last.

    Raises:
        BadArchive: one would be elsewhere, or there are too many.
    """
    laid_out: dict[str, ArchiveEntry] = {}
    for count, entry in enumerate(entries):
        if count >= MAX_ENTRIES:
            raise BadArchive(f"has more than {MAX_ENTRIES} entries")
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        if entry.name.startswith("/") or ".." in parts or any(ord(char) < ord(" ") for char in entry.name):
            raise BadArchive(f"has an entry that leads out of it: {entry.name[:100]!r}")
        if len(parts) <= strip and (strip or not parts):
            continue
        path = posixpath.join(directory, *parts[strip:])
        laid_out.pop(path, None)
        laid_out[path] = entry
    for path in laid_out:
        above = posixpath.dirname(path)
        while above not in (directory, "/"):
            if above in laid_out and laid_out[above].kind != "directory":
                raise BadArchive(f"has an entry below what is no directory: {laid_out[path].name[:100]!r}")
            above = posixpath.dirname(above)
    return laid_out


def read_entries(data: bytes) -> Iterator[ArchiveEntry]:
    """What is in an archive, tar or zip, compressed or not.

    Raises:
        BadArchive: it is none, damaged, too large, or has something that no config can say.
    """
    try:
        if data.startswith(b"PK"):
            yield from _zip_entries(data)
        else:
            yield from _tar_entries(_decompressed(data))
    except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as error:
        raise BadArchive(f"cannot be read: {error}") from None
    except (OSError, EOFError, lzma.LZMAError, ValueError, OverflowError) as error:
        if isinstance(error, BadArchive):
            raise
        raise BadArchive(f"cannot be read: {error}") from None


def _decompressed(data: bytes) -> bytes:
    opener = next((decompress for magic, decompress in _MAGIC if data.startswith(magic)), None)
    if opener is None:
        return data
    with opener(io.BytesIO(data)) as file:
        return _limited(file, MAX_UNPACKED)


def _limited(file: IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, most: int) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise BadArchive(f"is larger than {MAX_UNPACKED >> 20} MiB when unpacked")
    return data


def _tar_entries(data: bytes) -> Iterator[ArchiveEntry]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            mode = member.mode & _PERMISSIONS
            if member.isdir():
                yield ArchiveEntry(member.name, "directory", mode, b"")
            elif member.issym():
                yield ArchiveEntry(member.name, "link", mode, member.linkname.encode("utf-8", "surrogateescape"))
            elif member.isreg() or member.islnk():
                file = archive.extractfile(member)
                if file is None:
                    raise BadArchive(f"has a hard link to nothing: {member.name[:100]!r}")
                yield ArchiveEntry(member.name, "file", mode, file.read())
            else:
                raise BadArchive(f"has something that is no file, directory or link: {member.name[:100]!r}")


def _zip_entries(data: bytes) -> Iterator[ArchiveEntry]:
    left = MAX_UNPACKED
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                yield ArchiveEntry(info.filename, "directory", mode & _PERMISSIONS or 0o755, b"")
                continue
            with archive.open(info) as file:
                contents = _limited(file, left)
            left -= len(contents)
            kind: Literal["file", "link"] = "link" if stat.S_ISLNK(mode) else "file"
            yield ArchiveEntry(info.filename, kind, mode & _PERMISSIONS or 0o644, contents)

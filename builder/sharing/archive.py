"""The files of an entry as one archive: a tar through gzip, by ISA-L where that is installed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, cast

from builder.core.files import hash_file
from builder.core.sparse import Extent, find_extents

CHUNK = 1 << 20
EXTENTS = "BUILDOS.extents"  # of a file with holes: its size, and offset and length of what is between them
LEVEL = 1  # what is compressed already stays as it is, and the rest is fetched once for each time it is packed


def write_archive(files: Mapping[str, Path], out: BinaryIO) -> None:
    """Pack files, directories and links under their names."""
    with _open_gzip(out, "wb") as packed, tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted(files.items()):
            info = tar.gettarinfo(path, name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = int(info.mtime)  # a fraction, and be it zero, would be a header of its own
            if path.is_symlink() or path.is_dir():
                tar.addfile(info)
                continue
            # Also of a file that has two names: each is packed.
            info.type, info.linkname = tarfile.REGTYPE, ""
            with path.open("rb") as file:
                _add_file(tar, info, file)


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, file: BinaryIO) -> None:
    """A file, of one with holes only what is between them: a disk of 8 GiB may have data of 150 MB."""
    status = os.fstat(file.fileno())
    info.size = status.st_size
    if status.st_blocks * 512 >= status.st_size:
        tar.addfile(info, file)
        return
    extents = find_extents(file)
    info.pax_headers = {EXTENTS: json.dumps([status.st_size, extents])}
    info.size = sum(length for _, length in extents)
    tar.addfile(info, cast("BinaryIO", _Data(file, extents)))


class _Data:
    """A file that is read without its holes."""

    def __init__(self, file: BinaryIO, extents: Sequence[Extent]) -> None:
        self._file, self._extents = file, list(extents)

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end."""
        pieces = []
        while size and self._extents:
            offset, length = self._extents.pop(0)
            self._file.seek(offset)
            piece = self._file.read(min(size, length))
            if len(piece) < length:
                self._extents.insert(0, (offset + len(piece), length - len(piece)))
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def describe_files(files: Mapping[str, Path]) -> dict[str, str]:
    """What each name is: a file's hash, with an ``x`` if it can be executed; ``-> TARGET``; or ``/``."""
    return {name: _describe(path) for name, path in files.items()}


def _describe(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if path.is_dir():
        return "/"
    return hash_file(path) + ("x" if path.stat().st_mode & 0o100 else "")


def unpack_archive(file: BinaryIO, directory: Path) -> None:
    """Unpack into an empty directory; nothing leaves it, also through links.

    Raises:
        ValueError: the archive is damaged, wants to, or has what :func:`write_archive` does not write.
    """
    try:
        with _open_gzip(file, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
            for info in tar:
                # A hard link would be another name of a file outside, which the next member of that name overwrites.
                if not (info.isreg() or info.isdir() or info.issym()):
                    raise ValueError(f"{info.name} in the archive is no file, directory or symbolic link")
                if EXTENTS in info.pax_headers:
                    _unpack_sparse(tar, info, directory)
                else:
                    tar.extract(info, directory, filter="tar")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, TypeError) as error:
        raise ValueError(f"the archive cannot be unpacked: {error}") from error


def _unpack_sparse(tar: tarfile.TarFile, info: tarfile.TarInfo, directory: Path) -> None:
    size, extents = json.loads(info.pax_headers[EXTENTS])
    allowed = tarfile.tar_filter(info, str(directory))
    source = tar.extractfile(info)
    if source is None or not all(0 <= offset <= offset + length <= size for offset, length in extents):
        raise ValueError(f"{info.name} is no file with holes")
    with (directory / allowed.name).open("xb") as file:
        file.truncate(size)
        for offset, length in extents:
            file.seek(offset)
            left = length
            while left and (piece := source.read(min(left, CHUNK))):
                left -= file.write(piece)
            if left:
                raise ValueError(f"{info.name} ends before its size")
    (directory / allowed.name).chmod((allowed.mode or 0o644) & 0o777)


def _open_gzip(file: BinaryIO, mode: str) -> AbstractContextManager[BinaryIO]:
    stream: Any
    try:
        from isal import igzip  # noqa: PLC0415 - not on every machine

        stream = igzip.IGzipFile(fileobj=file, mode=mode, compresslevel=LEVEL)  # type: ignore[no-untyped-call]
    except ImportError:
        stream = gzip.GzipFile(fileobj=file, mode=mode, compresslevel=LEVEL)
    return cast("AbstractContextManager[BinaryIO]", stream)


def list_files(directory: Path) -> dict[str, Path]:
    """All that is below a directory, by its name in there."""
    return {path.relative_to(directory).as_posix(): path for path in directory.rglob("*")}


def copy_stream(source: BinaryIO, target: BinaryIO) -> None:
    """All that is left of one file, into another."""
    shutil.copyfileobj(source, target, CHUNK)

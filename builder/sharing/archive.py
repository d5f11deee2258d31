"""The files of an entry as one archive: a tar through gzip, by ISA-L where that is installed."""

from __future__ import annotations

import gzip
import shutil
import tarfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, cast

from builder.core.files import hash_file

LEVEL = 1  # what is compressed already stays as it is, and the rest is fetched once for each time it is packed


def write_archive(files: Mapping[str, Path], out: BinaryIO) -> None:
    """Pack files, directories and links under their names."""
    with _open_gzip(out, "wb") as packed, tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted(files.items()):
            info = tar.gettarinfo(path, name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if path.is_symlink() or path.is_dir():
                tar.addfile(info)
                continue
            # Also of a file that has two names: each is packed.
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)


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
        ValueError: the archive is damaged, or wants to.
    """
    try:
        with _open_gzip(file, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
            for info in tar:
                tar.extract(info, directory, filter="tar")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"the archive cannot be unpacked: {error}") from error


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
    shutil.copyfileobj(source, target, 1 << 20)

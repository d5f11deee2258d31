"""A version in one file, as ``outputs: [update]`` makes it: a tar of ``release.json`` and the files that it names."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from update.agent.host import Host
from update.agent.space import require_space
from update.documents import RELEASE_FILE, parse_release
from update.errors import UpdateError
from update.values import MAX_DOCUMENT

DIRECTORY = "/var/lib/update/archive"


def unpack_archive(host: Host, path: Path) -> Path:
    """The directory that it is unpacked to; a directory is taken as it is.

    Raises:
        UpdateError: it is no such archive, or there is no room for it.
    """
    if path.is_dir():
        return path
    target = host.locate(DIRECTORY)
    clear_archive(host)
    try:
        target.mkdir(mode=0o700, parents=True)
        with tarfile.open(path, "r:") as archive:
            data = _read(archive, RELEASE_FILE, MAX_DOCUMENT)
            (target / RELEASE_FILE).write_bytes(data)
            release = parse_release(data, f"{path}: {RELEASE_FILE}")
            files = [file for part in release.parts.values() for file in part.files]
            require_space(target, sum(file.size for file in files), DIRECTORY)
            for file in files:
                # What is in it is compared with release.json later.
                with _open(archive, file.name, file.size) as source, (target / file.name).open("wb") as out:
                    shutil.copyfileobj(source, out)
    except (OSError, tarfile.TarError) as error:
        raise UpdateError(f"{path} cannot be unpacked: {error}") from None
    return target


def clear_archive(host: Host) -> None:
    """Remove what was unpacked."""
    shutil.rmtree(host.locate(DIRECTORY), ignore_errors=True)


def _open(archive: tarfile.TarFile, name: str, size: int) -> tarfile.ExFileObject:
    try:
        member = archive.getmember(name)
    except KeyError:
        raise UpdateError(f"{archive.name!s} has no {name}: it is no version of an image") from None
    source = archive.extractfile(member) if member.isfile() and member.size <= size else None
    if source is None:
        raise UpdateError(f"{archive.name!s}: {name} is not the file that it should be")
    assert isinstance(source, tarfile.ExFileObject)
    return source


def _read(archive: tarfile.TarFile, name: str, size: int) -> bytes:
    with _open(archive, name, size) as source:
        return source.read()

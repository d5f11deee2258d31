"""A version as it was transferred: checked and unpacked, all of it, before a slot is touched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from update.agent.host import Host
from update.agent.identity import Identity
from update.agent.space import require_space
from update.documents import PARTS, RELEASE_FILE, Release, ReleasePart, TransferFile, parse_release
from update.errors import UpdateError
from update.values import MAX_DOCUMENT
from update.versions import compare_versions

_CHUNK = 1 << 20
STAGED = "/var/lib/update/staged"


def read_release(directory: Path) -> Release:
    """The document of a version in a directory.

    Raises:
        UpdateError: there is none, or it is not right.
    """
    path = directory / RELEASE_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise UpdateError(f"{path} cannot be read: {error.strerror}") from None
    return parse_release(data, str(path))


def check_release(release: Release, identity: Identity) -> None:
    """Whether this machine may take the version.

    Raises:
        UpdateError: it is another image's or for another architecture, or not newer than what runs.
    """
    if release.name != identity.name:
        raise UpdateError(f"the update is of the image '{release.name}', and this machine runs '{identity.name}'")
    if release.arch != identity.arch:
        raise UpdateError(f"the update is for {release.arch}, and this machine is {identity.arch}")
    order = compare_versions(release.version, identity.version)
    if order == 0:
        raise UpdateError(f"version {release.version} is what runs")
    if order < 0:
        raise UpdateError(
            f"version {release.version} is older than {identity.version}, which runs; "
            "an update never goes back: 'os-update rollback' starts the version before"
        )


def list_staged_names(release: Release) -> dict[str, str]:
    """The files that parts are unpacked to, as systemd-sysupdate finds them: part -> name."""
    return {part: f"{release.name}_{release.version}.{part}" for part in PARTS if part in release.parts}


def check_space(host: Host, release: Release) -> None:
    """Whether the parts fit where they are unpacked.

    Raises:
        UpdateError: with the bytes that are needed and those that are free.
    """
    target = host.locate(STAGED)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_space(target, sum(part.size for part in release.parts.values()), STAGED)


def clear_staged(host: Host, keep: Iterable[str] = ()) -> None:
    """Remove what was unpacked, but for these names."""
    with suppress(FileNotFoundError):
        for path in host.locate(STAGED).iterdir():
            if path.name not in keep:
                path.unlink()


def unpack(host: Host, release: Release, directory: Path) -> dict[str, Path]:
    """Check what was transferred, unpack it, and check that.

    Args:
        directory: where the files that ``release.json`` names lie.

    Returns:
        The parts, by name.

    Raises:
        UpdateError: a file is not what ``release.json`` says, or there is no room. Nothing has been changed.
    """
    names = list_staged_names(release)
    clear_staged(host)
    check_space(host, release)
    made = {}
    for part, name in names.items():
        target = host.locate(STAGED) / name
        unpack_part(host, release.parts[part], part, directory, target)
        made[part] = target
    _check_boots_this_root(release, made["uki"])
    return made


def locate_whole(part: str) -> str:
    """The name of a file that holds a part as it is, made of an older one, beside those that would be unpacked."""
    return f"{part}.whole"


def unpack_part(host: Host, part: ReleasePart, name: str, directory: Path, target: Path) -> None:
    """Check the files of a part, unpack them into one, check that, and have it on the disk.

    Raises:
        UpdateError: they are not what ``release.json`` says, or there is no room.
    """
    whole, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        for path in _list_sources(part, name, directory):
            for chunk in read_whole(path) if path.name == locate_whole(name) else host.decompress(path):
                size += len(chunk)
                if size > part.size:
                    raise UpdateError(f"{name}: more than the {part.size} bytes that release.json says come out of it")
                whole.update(chunk)
                _write(out, chunk)
        try:
            out.flush()
            os.fsync(out.fileno())
        except OSError as error:
            raise UpdateError(f"{target} cannot be written: {error.strerror}") from None
    if size != part.size:
        raise UpdateError(f"{name}: {size} bytes come out of it, and release.json says {part.size}")
    if whole.hexdigest() != part.sha256:
        raise UpdateError(f"{name}: the hash of what comes out of it is {whole.hexdigest()}, not {part.sha256}")


def _list_sources(part: ReleasePart, name: str, directory: Path) -> Iterator[Path]:
    """The files that the part comes out of, one after the other, each looked at before it is used."""
    if (directory / locate_whole(name)).exists():
        yield directory / locate_whole(name)
        return
    for file in part.files:
        check_file(directory / file.name, file)
        yield directory / file.name


def read_whole(path: Path) -> Iterator[bytes]:
    """A file that is not compressed, in pieces."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _write(out: BinaryIO, chunk: bytes) -> None:
    try:
        out.write(chunk)
    except OSError as error:
        raise UpdateError(f"{out.name} cannot be written: {error.strerror}") from None


def check_file(path: Path, file: TransferFile) -> None:
    """Whether a transferred file is what ``release.json`` says.

    Raises:
        UpdateError: it is not there, or its size or hash is another.
    """
    try:
        size = path.stat().st_size
        if size != file.size:
            raise UpdateError(f"{path} has {size} bytes, and release.json says {file.size}")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UpdateError(f"{path} cannot be read: {error.strerror}") from None
    if digest != file.sha256:
        raise UpdateError(f"{path}: its hash is {digest}, and release.json says {file.sha256}")


def _check_boots_this_root(release: Release, uki: Path) -> None:
    """A kernel image says by its command line which root it starts: parts of two versions must not be mixed.

    Raises:
        UpdateError: it starts another one.
    """
    wanted, before = f"roothash={release.roothash}".encode(), b""
    for chunk in read_whole(uki):
        if wanted in (here := before + chunk):
            break
        before = here[1 - len(wanted) :]
    else:
        raise UpdateError(f"uki: this kernel image does not start the root {release.roothash} of its release.json")

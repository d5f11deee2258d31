"""The payload of an update, taken apart: ``release.json`` and the files that it names, each verified."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.errors import SourceError
from builder.core.files import CHUNK, hash_file
from update.documents import RELEASE_FILE, Release, TransferFile, parse_release
from update.errors import BadDocument
from update.values import MAX_DOCUMENT

if TYPE_CHECKING:
    from typing import IO

_AGAIN = "run 'build-os build' again"


@dataclass(frozen=True)
class Payload:
    """A release and the directory that its files are in, by their names."""

    release: Release
    directory: Path

    def list_files(self) -> Iterator[TransferFile]:
        """All files of all parts."""
        for part in self.release.parts.values():
            yield from part.files


@contextmanager
def open_payload(archive: Path, scratch: Path) -> Iterator[Payload]:
    """The content of a payload's archive, in files below ``scratch``.

    Nothing is taken from the archive but what its ``release.json`` names, and that by name, size and hash.

    Raises:
        SourceError: it is no payload, or damaged.
    """
    directory = scratch / "payload"
    directory.mkdir()
    try:
        with tarfile.open(archive, "r:") as tar:
            first = tar.next()
            if first is None or first.name != RELEASE_FILE or not 0 < first.size <= MAX_DOCUMENT:
                raise SourceError(f"{archive} does not begin with {RELEASE_FILE}", hint=_AGAIN)
            payload = Payload(parse_release(_open(tar, first).read(), f"{archive}: {RELEASE_FILE}"), directory)
            for file in payload.list_files():
                member = tar.next()
                if member is None or member.name != file.name or member.size != file.size:
                    raise SourceError(
                        f"{archive} has no {file.name} of {file.size} bytes where it belongs", hint=_AGAIN
                    )
                with _open(tar, member) as source, (directory / file.name).open("xb") as out:
                    while piece := source.read(CHUNK):
                        out.write(piece)
                if hash_file(directory / file.name) != file.sha256:
                    raise SourceError(f"{file.name} in {archive} is not what {RELEASE_FILE} says", hint=_AGAIN)
    except (tarfile.TarError, BadDocument) as error:
        raise SourceError(f"{archive} is no payload of an update: {error}", hint=_AGAIN) from error
    yield payload


def _open(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise SourceError(f"{member.name!r} is no file", hint=_AGAIN)
    return source

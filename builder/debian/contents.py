"""Which package of the archive has a file, by the archive's own list of all files: for a file that nobody here has.

The list (``Contents-ARCH.gz``, 10 MB and more) is downloaded when somebody asks, and stays in the store. Source: the
Debian wiki's RepositoryFormat page ("Contents" indices).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from builder.core.console import Console
from builder.core.errors import SourceError
from builder.core.store import Store
from builder.debian.archive import PackageArchive, list_index_urls
from builder.debian.fetch import Download, fetch
from builder.debian.mirror import Mirrors
from builder.debian.release import IndexFile, Release
from builder.debian.transfer import Client

BLOCK = 1 << 20
MAX_PACKED = 256 << 20  # bytes; Debian's of all architectures are below 20 MB
MAX_UNPACKED = 4 << 30


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """A package that has a file of a name, and where: an absolute path."""

    package: str
    path: str


def find_owners(
    names: Collection[str],
    archive: PackageArchive,
    mirrors: Mirrors,
    store: Store,
    console: Console,
    *,
    offline: bool = False,
    client: Client | None = None,
) -> dict[str, list[Owner]]:
    """The packages of the archive that have a file of each of these names, in whatever directory; sorted, and empty for
    none. A suite is asked for what those before it do not have.

    Raises:
        SourceError: a list cannot be had or read, or no suite has one.
        CapabilityError: the store cannot be written.
    """
    owners: dict[str, set[Owner]] = {name: set() for name in names}
    components = list(dict.fromkeys(source.component for source in archive.sources))
    used = client or Client()
    asked = False
    for release in archive.releases:
        left = [name for name, known in owners.items() if not known]
        for component in components if left else ():
            path = f"{component}/Contents-{archive.arch}"
            entry = release.files.get(f"{path}.gz")
            if entry is None:
                continue
            asked = True
            with _open_list(release, f"{path}.gz", entry, mirrors, store, console, used, offline=offline) as file:
                plain = release.files.get(path)
                size = MAX_UNPACKED if plain is None else max(2 * plain.size, BLOCK)
                for name, owner in _search(file, left, size):
                    if archive.get(owner.package):
                        owners[name].add(owner)
    if not asked:
        raise SourceError("the signed indexes name no list of all files")
    return {name: sorted(known) for name, known in owners.items()}


def _open_list(
    release: Release,
    path: str,
    entry: IndexFile,
    mirrors: Mirrors,
    store: Store,
    console: Console,
    client: Client,
    *,
    offline: bool,
) -> BinaryIO:
    """The list that the signed index names. A mirror may have one of another day: that does as well, and is not kept,
    because it says nothing but names of packages, and those are looked up in signed indexes."""
    what = f"the list of all files of {release.suite}"
    if entry.size > MAX_PACKED:
        raise SourceError(f"{what} is said to have {entry.size} bytes")
    wanted = Download(entry.sha256, entry.size, what, list_index_urls(release, path, entry, mirrors))
    try:
        fetch([wanted], store, console, offline=offline, client=client)
    except SourceError as error:
        if offline:
            raise
        console.log(f"{what} is not the one that the signed index names: {error}")
        urls = mirrors.list_urls(release.suite, f"dists/{release.suite}/{path}")
        return io.BytesIO(client.read(urls, what, maximum=MAX_PACKED, hint=""))
    return store.locate_blob(entry.sha256).open("rb")


def _search(file: BinaryIO, names: Collection[str], size: int) -> Iterator[tuple[str, Owner]]:
    """Each line that is about a file of one of these names.

    Raises:
        SourceError: the file is damaged, or larger than it may be.
    """
    wanted = {name: b"/" + name.encode() for name in names}
    for block in _read_lines(file, size):
        for name, mark in wanted.items():
            at = -1
            while (at := block.find(mark, at + 1)) >= 0:
                if block[at + len(mark) : at + len(mark) + 1] not in (b" ", b"\t"):
                    continue
                begin, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
                path, *packages = block[begin:end].decode(errors="replace").rsplit(maxsplit=1)
                if not packages or not path.endswith(f"/{name}"):
                    continue  # a path with a blank in it
                for package in packages[0].split(","):
                    yield name, Owner(package.rpartition("/")[2], f"/{path}")


def _read_lines(file: BinaryIO, size: int) -> Iterable[bytes]:
    """The unpacked text in blocks of whole lines."""
    stream = zlib.decompressobj(wbits=31)
    rest, read = b"", 0
    try:
        while data := stream.unconsumed_tail or file.read(BLOCK):
            text = stream.decompress(data, BLOCK)
            read += len(text)
            if read > size:
                raise SourceError(f"the list of all files unpacks to more than {size} bytes")
            whole, newline, rest = (rest + text).rpartition(b"\n")
            if newline:
                yield whole + newline
    except zlib.error as error:
        raise SourceError(f"the list of all files cannot be unpacked: {error}") from error
    yield rest + b"\n"

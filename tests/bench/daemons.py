"""Which packages of the archive are daemons: those of main that ship a systemd service for the system.

Source: the archive's own Contents indexes (the Debian wiki's RepositoryFormat page). Mirrors update them apart from the
Release file, whose hashes of them may be those of another day: names are all that is taken from them, and only names of
packages that the signed index has.
"""

from __future__ import annotations

import gzip
import io
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from builder.core.errors import BuildError
from builder.core.files import write_file
from builder.debian.archive import PackageArchive
from builder.debian.index import Package
from builder.debian.mirror import Mirrors
from builder.debian.resolve import ResolveRequest, resolve
from builder.debian.transfer import Client

MAX_BYTES = 256 << 20
ROOM = Path(__file__).parent.parent.parent / "out" / "bench"

# PATH without its first slash, white space, then SECTION/PACKAGE and more of them behind commas.
_SERVICE = re.compile(rb"(?:usr/)?lib/systemd/system/[^/\s]+\.service\s+(\S+)\n")


def daemons(archive: PackageArchive, mirrors: Mirrors) -> list[str]:
    """The names of all packages that ship a service of systemd, sorted; read once for each release of the archive.

    Raises:
        SourceError: the mirror has no Contents indexes.
    """
    release = archive.releases[0]
    kept = ROOM / f"daemons-{archive.arch}-{release.sha256[:16]}"
    if not kept.exists():
        found: set[str] = set()
        for arch in (archive.arch, "all"):
            urls = mirrors.list_urls(release.suite, f"dists/{release.suite}/main/Contents-{arch}.gz")
            data = Client().read(urls, f"the contents of {release.suite} {arch}", maximum=MAX_BYTES, hint="")
            with gzip.open(io.BytesIO(data)) as lines:
                found.update(services(lines))
        ROOM.mkdir(parents=True, exist_ok=True)
        write_file(kept, "".join(f"{name}\n" for name in sorted(found)))
    return [name for name in kept.read_text().split() if archive.get(name)]


def services(lines: Iterable[bytes]) -> Iterator[str]:
    """The packages that a Contents index names for services."""
    for line in lines:
        match = _SERVICE.fullmatch(line)
        if match is not None:
            yield from (word.rpartition("/")[2] for word in match[1].decode().split(","))


def draw(
    archive: PackageArchive, names: list[str], size: int, seed: int
) -> Iterator[tuple[tuple[str, ...], tuple[Package, ...]]]:
    """Sets of ``size`` names that can be installed together, with all that they depend on, without end.

    The same archive and seed give the same sets: what cannot be installed together is drawn anew.
    """
    chance = random.Random(seed)
    while True:
        chosen = tuple(sorted(chance.sample(names, size)))
        try:
            yield chosen, resolve(archive, ResolveRequest(chosen))
        except BuildError:
            continue

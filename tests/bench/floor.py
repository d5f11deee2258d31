"""The least that a cold build of these bytes can take: xz of the debs, EROFS of the files, on all processors.

``python -m tests.bench.floor xz DEB ...`` and ``... erofs TOOLS TAR OUT COMPRESSION LEVEL`` are the two halves, each a
process of its own so that the kernel accounts for it. The compression is that of the definition.
"""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.definition.resolved import Resolved
from builder.outputs.manifest import read_manifest
from builder.outputs.root import make_compression_arguments
from builder.stages.plan import load_snapshot
from builder.tree.tar import write_tar
from tests.bench.measuring import Run, measured

BLOCK = 1 << 20


THIS = (sys.executable, "-m", "tests.bench.floor")


@dataclass(frozen=True)
class Floor:
    """Two halves, ready to be measured."""

    debs: Sequence[Path]
    tools: str
    tar: Path
    compression: str
    level: int | None

    def unxz(self) -> Run:
        """xz of the debs."""
        return measured([*THIS, "xz", *self.debs])

    def make_erofs(self) -> Run:
        """EROFS of the files."""
        out = self.tar.with_suffix(".erofs")
        return measured([*THIS, "erofs", self.tools, self.tar, out, self.compression, self.level or ""])


def prepare(resolved: Resolved, lock: Lock, store: Store, manifest: Path, tree_key: str, work: Path) -> Floor:
    """Lay out the bytes of a build that was made."""
    data = read_manifest(manifest)
    assert data is not None
    packages = [*lock.packages, *(package for group in lock.sets.values() for package in group)]
    debs = [store.locate_blob(sha256) for sha256 in sorted({package.sha256 for package in packages})]
    tar = work / "floor.tar"
    with tar.open("wb") as file:
        write_tar(load_snapshot(store, tree_key), file)
    print(f"the floor: {len(debs)} debs and {tar.stat().st_size / 1e6:.0f} MB of files")
    return Floor(debs, data["tools"], tar, resolved.root.compression, resolved.root.level)


def unxz(debs: Sequence[str]) -> None:
    """Decompress the data member of every deb to nowhere, as many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_unxz, sorted(debs, key=lambda deb: -Path(deb).stat().st_size)))


def _unxz(deb: str) -> None:
    with Path(deb).open("rb") as file:
        file.seek(8)  # deb(5): an ar archive; after its magic, members with headers of 60 bytes
        while head := file.read(60):
            name, size = head[:16].strip().rstrip(b"/"), int(head[48:58])
            if name == b"data.tar.xz":
                decompressor = lzma.LZMADecompressor()
                while not decompressor.eof:
                    decompressor.decompress(file.read(BLOCK))
                return
            file.seek(size + size % 2, os.SEEK_CUR)


def make_erofs(tools: str, tar: str, out: str, compression: str, level: int | None) -> None:
    """mkfs.erofs from a tar that is a file."""
    door = Tools(Path(tools), QuietConsole())
    Path(out).unlink(missing_ok=True)
    words = ("mkfs.erofs", "--quiet", "--tar=f", "-T0", *make_compression_arguments(compression, level), out, tar)
    subprocess.run(door.make_argv(*words), env=door.make_environment(), stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["xz", *debs]:
            unxz(debs)
        case ["erofs", tools, tar, out, compression, level]:
            make_erofs(tools, tar, out, compression, int(level) if level else None)

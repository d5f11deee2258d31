"""Whether time and memory grow with the bytes: sets of 50, 200 and 800 packages, and one directory of 20,000 files.

The packages are made here, all alike, so that nothing differs but their number. What is measured is the way from debs
to an EROFS image without handlers: reading and indexing debs, the tree, a snapshot and back, the tar stream,
mkfs.erofs.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import LockedPackage
from builder.debian.unpack import unpack_all, unpack_tree
from builder.outputs.root import make_erofs
from builder.stages.plan import load_snapshot, save_snapshot
from tests.bench.measuring import Run, measured, median
from tests.support.debs import make_deb, tar_directory, tar_entry

FILES, SIZE = 40, 10_000  # of a package: how many, and bytes of each
SETS = (50, 200, 800)
CROWDED = 20_000


def measure(tools: Path, runs: int) -> None:
    """Print a row for each set, and what it takes for each MB."""
    print("growth: packages made for it, from debs to EROFS (median; per MB of files)")
    with tempfile.TemporaryDirectory(prefix="build-os-growth-") as directory:
        for count in SETS:
            _row(f"{count} packages", Path(directory) / str(count), [FILES] * count, SIZE, tools, runs)
        _row(f"{CROWDED} files in one directory", Path(directory) / "crowded", [CROWDED], 2_000, tools, runs)


def _row(title: str, work: Path, files: list[int], size: int, tools: Path, runs: int) -> None:
    store = Store.open(work)
    rows = [_add_package(store, number, count, size) for number, count in enumerate(files)]
    (work / "set").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    results = []
    for _ in range(runs):
        store.clear("packs", "stages")
        results.append(measured([sys.executable, "-m", "tests.bench.growth", work, tools]))
    _show(title, median(results), sum(files) * size / 1e6)
    store.clear("blobs", "packs", "stages")


def _show(title: str, run: Run, megabytes: float) -> None:
    print(
        f"  {title:<34} {run.wall:7.2f} s  {run.cpu:7.2f} CPU s  {run.peak / 1e6:6.0f} MB peak"
        f"  {megabytes:6.0f} MB: {1000 * run.wall / megabytes:5.1f} ms, {1000 * run.cpu / megabytes:5.1f} CPU ms each",
        flush=True,
    )


def _add_package(store: Store, number: int, files: int, size: int) -> str:
    """Put a deb into the store; its row in the set."""
    name = f"package{number}"
    noise = random.Random(number)
    half = size // 2  # half of it compresses well, as in most packages
    entries = [tar_directory("./usr/"), tar_directory("./usr/lib/"), tar_directory(f"./usr/lib/{name}/")]
    for index in range(files):
        entries.append(tar_entry(f"./usr/lib/{name}/file{index}", noise.randbytes(half) + bytes(size - half)))
    deb = make_deb(name, "1", files=tuple(entries), compression="gz")
    return f"{name} {store.add_bytes(deb.data)} {len(deb.data)}"


def build(work: Path, tools: Path) -> None:
    """The measured part."""
    store, console = Store.open(work), QuietConsole()
    packages = []
    for line in (work / "set").read_text().splitlines():
        name, sha256, size = line.split()
        packages.append(LockedPackage(name, "1", "all", sha256, int(size), f"{name}.deb", name, "trixie"))
    tree = save_snapshot(store, "key", unpack_tree(unpack_all(packages, store, console, jobs=3)))
    tree = load_snapshot(store, "key")
    image = work / "root.erofs"
    make_erofs(tree, Tools(tools, console), image, compression="lz4", name="growth")


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))

"""Whether time and memory grow with the bytes, and what builds have of each other.

Sets of 50, 200 and 1,000 packages, one directory of 20,000 files, and 5 GB of files: the packages are made here, all
alike, so that nothing differs but their number. What is measured is the way from debs to an EROFS image without
handlers: reading and indexing debs, the tree, a snapshot and back, the tar stream, mkfs.erofs.

Then whole builds with a store of their own: ten definitions that share all packages but one each, one after the other;
and two of them at the same time, beside what they take one after the other.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import LockedPackage
from builder.debian.unpack import unpack_all, unpack_tree
from builder.outputs.root import make_erofs
from builder.stages.plan import load_snapshot, save_snapshot
from tests.bench.measuring import Run, measured, measured_apart, median, prepare_store
from tests.support.debs import make_deb, tar_directory, tar_entry

FILES, SIZE = 40, 10_000  # of a package: how many, and bytes of each
SETS = (50, 200, 1_000)
CROWDED = 20_000
LARGE = (500, 10, 1_000_000)  # packages, files in each, bytes of each: 5 GB
PEAK = 300e6  # bytes that no build may exceed
FURTHER = 2.0  # seconds for one more definition
DIFFERENT = ("htop", "tree", "jq", "less", "nano", "file", "lsof", "strace", "rsync", "tmux")
ROOM = 20e9  # bytes on the disk for the largest set: debs, what is unpacked, the image


def measure(tools: Path, runs: int) -> None:
    """Print a row for each set, and what it takes for each MB; then the builds."""
    print("growth: packages made for it, from debs to EROFS (median; per MB of files)")
    with tempfile.TemporaryDirectory(prefix="build-os-growth-", dir=make_room()) as directory:
        for count in SETS:
            _row(f"{count} packages", Path(directory) / str(count), [FILES] * count, SIZE, tools, runs)
        _row(f"{CROWDED} files in one directory", Path(directory) / "crowded", [CROWDED], 2_000, tools, runs)
        if shutil.disk_usage(directory).free > ROOM:
            packages, files, size = LARGE
            _row("5 GB of files", Path(directory) / "large", [files] * packages, size, tools, 1)
        else:
            print(f"  5 GB of files: left out, the disk has less than {ROOM / 1e9:.0f} GB")
    with tempfile.TemporaryDirectory(prefix="build-os-growth-", dir=make_room()) as directory:
        measure_shared(Path(directory))


def make_room() -> Path:
    """Where there is a disk below, which a directory for temporary files need not have; git does not look there."""
    room = Path.cwd() / "out"
    room.mkdir(exist_ok=True)
    return room


def measure_shared(work: Path) -> None:
    """Ten definitions one after the other, and two at the same time; downloads and tools are there."""
    environment, definitions = _prepare_definitions(work)
    print("growth: definitions that share all packages but one each (downloads and tools kept)")
    rows = [_build(path, environment) for path in definitions]
    further = rows[1:]
    _say("the first", rows[0])
    _say(f"each of {len(further)} more", median(further))
    slowest = max(run.wall for run in further)
    print(f"  the slowest of them: {slowest:.2f} s (aim: {FURTHER:.0f} s)")
    measured([sys.executable, "-m", "builder", "cache", "clear", "--stages"], environment)
    shutil.rmtree(work / "out")
    one, other = definitions[:2]
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda path: _build(path, environment), (one, other)))
    together = time.monotonic() - started
    _say("two at the same time, both", Run(together, sum(run.cpu for run in both), max(run.peak for run in both)))
    _say("the same, one after the other", rows[0] + rows[1])


def _prepare_definitions(work: Path) -> tuple[Mapping[str, str], list[Path]]:
    """Definitions with their locks, and the environment of builds that have a store with downloads and tools alone."""
    private = prepare_store(work)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["BUILD_OS_CACHE"] = str(private)
    definitions = []
    for number, package in enumerate(DIFFERENT):
        path = work / f"d{number}" / "os.yaml"
        path.parent.mkdir()
        text = f"name: d{number}\nversion: '1'\nfeatures: [base, ssh]\npackages: [{package}]\noutputs: [qcow2]\n"
        path.write_text(text, encoding="utf-8")
        definitions.append(path)
        _build(path, environment)  # downloads
    measured([sys.executable, "-m", "builder", "cache", "clear", "--stages"], environment)
    shutil.rmtree(work / "out")
    return environment, definitions


def _build(path: Path, environment: Mapping[str, str]) -> Run:
    out = path.parent.parent / "out" / path.parent.name
    return measured_apart([sys.executable, "-m", "builder", "build", str(path), "-o", str(out)], environment)


def _say(title: str, run: Run) -> None:
    over = "" if run.peak <= PEAK else f", over {PEAK / 1e6:.0f} MB"
    print(
        f"  {title:<34} {run.wall:7.2f} s  {run.cpu:7.2f} CPU s  {run.peak / 1e6:6.0f} MB peak{over}",
        flush=True,
    )


def _row(title: str, work: Path, files: list[int], size: int, tools: Path, runs: int) -> None:
    store = Store.open(work)
    rows = [_add_package(store, number, count, size) for number, count in enumerate(files)]
    (work / "set").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    results = []
    for _ in range(runs):
        store.clear("packs", "stages")
        command = [sys.executable, "-m", "tests.bench.growth", str(work), str(tools)]
        results.append(measured_apart(command, os.environ))
    _show(title, median(results), sum(files) * size / 1e6)
    store.clear("blobs", "packs", "stages")


def _show(title: str, run: Run, megabytes: float) -> None:
    over = "" if run.peak <= PEAK else f", over {PEAK / 1e6:.0f} MB"
    print(
        f"  {title:<34} {run.wall:7.2f} s  {run.cpu:7.2f} CPU s  {run.peak / 1e6:6.0f} MB peak{over}"
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

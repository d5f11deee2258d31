"""What a matrix and a shared cache cost and save: planning, cells beside each other and on workers, images that have
most packages in common, a second machine's first build.

Locks are made and everything is downloaded before anything is timed. Each round has stores of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from builder.build.inputs import fetch_missing_debs, require_lock
from builder.build.request import BuildRequest
from builder.build.workspace import open_store
from builder.core.architecture import Arch
from builder.core.console import QuietConsole
from builder.core.errors import BuildError
from builder.core.store import Store
from builder.definition.load import load
from builder.locking import require_host_arch
from builder.matrix.cells import Cell, LoadedMatrix, load_matrix
from builder.matrix.plan import plan_cells
from builder.signatures.pem import make_ed25519_pair
from tests.bench.measuring import Run, compare, measured, show
from tests.bench.scale_workers import measure_workers

REPOSITORY = Path(__file__).parent.parent.parent
BUILD = [sys.executable, "-m", "builder"]
DEFINITIONS = ("demo", "time-server", "shop")
OTHER_ARCH = {Arch.AMD64: Arch.ARM64, Arch.ARM64: Arch.AMD64}
# Images that have all but a few packages in common, the largest first.
FEATURES = {"containers": "[containers]", "admin": "[admin]", "python": "[python]", "plain": "[]"}
DISKS = ("raw", "qcow2")
PROJECT = "project"  # the directory that workers are given
FORMATS = (*DISKS, "gce", "aws", "azure")


def measure(work: Path, runs: int) -> None:
    """Print a row for each."""
    work.mkdir(parents=True)
    shutil.copytree(REPOSITORY / "configs", work / PROJECT / "configs")
    private, public = make_ed25519_pair()
    (work / "cache.key").write_bytes(private)
    (work / "cache.pub").write_bytes(public)
    measure_plans(work)
    here = require_host_arch()
    matrix = write_matrix(work, DEFINITIONS, arch=(here, OTHER_ARCH[here]))
    unavailable, downloads = download(load_matrix(matrix).cells)
    if unavailable:
        matrix = write_matrix(work, DEFINITIONS, arch=(here, OTHER_ARCH[here]), without=unavailable)
    count = len(load_matrix(matrix).cells)
    print(
        f"scale: {count} cells of {', '.join(DEFINITIONS)}, for {here} and {OTHER_ARCH[here]}, as {' and '.join(DISKS)}"
    )
    print(f"  cold: stores have debs and nothing else; load now {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    measure_cells(work, matrix, runs)
    measure_workers(work, matrix, 4, downloads)
    measure_what_is_shared(work, runs)
    measure_cache(work, runs)


def download(cells: Iterable[Cell]) -> tuple[list[Cell], set[str]]:
    """Make the locks of cells, and have everything that they name; returns those whose lock cannot be made, and the
    hashes of what the others name."""
    unavailable, downloads = [], set[str]()
    for cell in cells:
        request = BuildRequest(
            cell.definition, cell.definition.parent, Store.open(), QuietConsole(), variation=cell.variation
        )
        resolved = load(cell.definition, variation=cell.variation).resolved
        try:
            with open_store(request) as workspace:
                lock = require_lock(workspace, resolved)
                fetch_missing_debs(workspace, resolved, lock)
            downloads.update(file.sha256 for file in (*lock.list_all_packages(), *lock.wheels))
        except BuildError as error:
            print(f"  {cell.id} is left out: {error}", flush=True)
            unavailable.append(cell)
    return unavailable, downloads


def measure_plans(work: Path) -> None:
    """How long it takes to know what a thousand cells need."""
    print("scale: planning cells of the demo, one process, nothing built yet")
    for count in (1_000, 10_000):
        path = write_matrix(
            work,
            ("demo",),
            outputs=FORMATS,
            variables=count // 2 // len(FORMATS),
            features={"plain": "[]", "shell": "[ssh]"},
            more="limits: {cells: 10000}\n",
        )
        wall, cpu = time.monotonic(), time.process_time()
        planned = plan_cells(load_matrix(path).cells, work / "nothing", Store.open())
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        assert len(planned) == count
        assert {row.state for row in planned} == {"to build"}
        print(f"  {f'{count} cells':<34} {wall:7.2f} s  {cpu:7.2f} CPU s", flush=True)


def measure_cells(work: Path, matrix: Path, runs: int) -> None:
    """All cells on this machine."""
    rows: dict[int, list[Run]] = {1: [], 2: []}
    for number in range(runs):
        for jobs, results in rows.items():
            environment, out = make_store(work / f"matrix-{jobs}-{number}"), work / "out"
            results.append(
                measured([*BUILD, "matrix", "build", matrix, "-o", out, "--jobs", jobs, "--offline"], environment)
            )
            if number == 0 and jobs == 1:
                say_shared(out)
            shutil.rmtree(out)
            shutil.rmtree(environment["BUILD_OS_CACHE"])
    one, two = show("one process", rows[1]), show("two local workers", rows[2])
    compare("one at a time, against two", one, two)


def measure_what_is_shared(work: Path, runs: int) -> None:
    """Images that have most packages in common: all of them, against the longest alone and what each other one adds."""
    print(f"scale: {len(FEATURES)} images that have most packages in common, time-server with other features")
    path = write_matrix(work, ("time-server",), outputs=("raw",), features=FEATURES)
    matrix = load_matrix(path)
    download(matrix.cells)
    together: list[Run] = []
    parts: list[list[Run]] = [[] for _ in matrix.cells]
    for number in range(runs):
        out, environment = work / "out", make_store(work / f"together-{number}", tools=True)
        together.append(measured([*BUILD, "matrix", "build", path, "-o", out, "--jobs", "1", "--offline"], environment))
        shutil.rmtree(out)
        environment = make_store(work / f"alone-{number}", tools=True)
        for cell, results in zip(matrix.cells, parts, strict=True):
            words = ["matrix", "build", path, "-o", out, "--cell", cell.id, "--offline"]
            results.append(measured([*BUILD, *words], environment))
        shutil.rmtree(out)
    medians = [show(_title(matrix, index), results) for index, results in enumerate(parts)]
    compare("all in one command, against that", show("all in one command", together), _sum(medians))


def _title(matrix: LoadedMatrix, index: int) -> str:
    name = matrix.cells[index].features
    return f"{name}, the longest" if index == 0 else f"{name}, its own part"


def _sum(runs: Sequence[Run]) -> Run:
    total = runs[0]
    for run in runs[1:]:
        total += run
    return total


def measure_cache(work: Path, runs: int) -> None:
    """A machine that has nothing built yet, with and without a cache that another machine has filled."""
    print("scale: the first build of the demo on a machine that has debs and nothing else")
    cache, definition = ["--cache", str(work / "cache")], work / PROJECT / "configs/demo.yaml"
    writes, reads = (["--cache-sign-key", str(work / "cache.key")], ["--cache-key", str(work / "cache.pub")])
    changed = definition.with_name("demo-changed.yaml")
    changed.write_text(definition.read_text() + "\nsource_date_epoch: 86400\n")
    shutil.copy(definition.with_suffix(".lock"), changed.with_suffix(".lock"))
    steps: dict[str, tuple[Path, list[str]]] = {
        "without a cache": (definition, []),
        "an empty cache, to read": (definition, [*cache, *reads]),
        "an empty cache, filled": (definition, [*cache, *writes]),
        "a warm cache": (definition, [*cache, *reads]),
        "a warm cache, another version": (changed, [*cache, *reads]),
    }
    results: dict[str, list[Run]] = {title: [] for title in steps}
    for number in range(runs):
        shutil.rmtree(work / "cache", ignore_errors=True)
        for index, (title, (path, more)) in enumerate(steps.items()):
            environment = make_store(work / f"machine-{number}-{index}")
            argv = [*BUILD, "build", str(path), "-o", str(work / "out"), "--offline", "--locked", *more]
            results[title].append(measured(argv, environment))
            shutil.rmtree(work / "out")
            shutil.rmtree(environment["BUILD_OS_CACHE"])
    rows = {title: show(title, row) for title, row in results.items()}
    for title in ("a warm cache", "a warm cache, another version"):
        compare(f"without, against {title}", rows["without a cache"], rows[title])
    compare("an empty one, against without", rows["an empty cache, to read"], rows["without a cache"])
    argv = [*BUILD, "cache", "stats", "--json", *cache, *reads]
    stats = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    for row in stats["entries"]:
        print(f"  {row['section']:<34} {row['count']:4} entries  {row['size'] / 1e6:7.1f} MB")


def make_store(path: Path, *, tools: bool = False) -> dict[str, str]:
    """An environment whose store has downloads, and the tools if they are wanted."""
    path.mkdir()
    for section in ("blobs", *(["tools"] if tools else [])):
        (path / section).symlink_to(Store.open().root / section)
    return {**os.environ, "BUILD_OS_CACHE": str(path)}


def write_matrix(
    work: Path,
    definitions: Sequence[str],
    *,
    arch: Sequence[str] = (),
    outputs: Sequence[str] = DISKS,
    variables: int = 0,
    features: dict[str, str] | None = None,
    without: Sequence[Cell] = (),
    more: str = "",
) -> Path:
    """A matrix of definitions in ``configs``, with so many sets of variables."""
    lines = [f"definitions: [{', '.join(f'configs/{name}.yaml' for name in definitions)}]"]
    lines += [f"arch: [{', '.join(arch)}]"] if arch else []
    lines += [f"outputs: [{', '.join(outputs)}]"]
    lines += ["variables:", *(f"  v{number}: {{place: p{number}}}" for number in range(variables))] if variables else []
    lines += ["features:", *(f"  {name}: {names}" for name, names in features.items())] if features else []
    rules = {f"- {{definition: {cell.written}, arch: {cell.variation.arch}}}" for cell in without}
    lines += ["exclude:", *sorted(rules)] if rules else []
    path = work / PROJECT / "matrix.yaml"
    path.write_text("\n".join(lines) + f"\n{more}")
    return path


def say_shared(out: Path) -> None:
    """How often a stage ran, and how often it had been made by another cell."""
    cells = json.loads((out / "matrix.json").read_text())["cells"]
    stages = [cell["last"]["build"] for cell in cells]
    ran, reused = (sum(len(stage.get(name, ())) for stage in stages) for name in ("ran", "reused"))
    seconds = [stage["seconds"] for stage in stages]
    print(
        f"  {'stages that ran, and were reused':<34} {ran:7} and {reused};"
        f" cells took {min(seconds):.1f} to {max(seconds):.1f} s",
        flush=True,
    )

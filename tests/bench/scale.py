"""What a matrix and a shared cache cost and save: planning, cells beside each other, a second machine's first build.

The demo, for this machine's architecture: its lock, debs and tools are there before anything is timed. Each round has a
store of its own that has them and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from builder.core.store import Store
from builder.matrix.cells import load_matrix
from builder.matrix.plan import plan_cells
from builder.signatures.pem import make_ed25519_pair
from tests.bench.measuring import Run, compare, measured, show

REPOSITORY = Path(__file__).parent.parent.parent
DEMO = REPOSITORY / "configs" / "demo.yaml"
BUILD = [sys.executable, "-m", "builder"]


def measure(work: Path, runs: int) -> None:
    """Print a row for each."""
    work.mkdir(parents=True)
    _measure_plans(work)
    print("scale: 12 cells of the demo, 3 sets of variables x 2 of features x 2 formats, cold stages")
    matrix = _write_matrix(work, sets=3, outputs=("raw", "qcow2"), features=2)
    rows: dict[int, list[Run]] = {1: [], 2: []}
    for number in range(runs):
        for jobs, results in rows.items():
            environment = _make_store(work / f"matrix-{jobs}-{number}")
            out = work / "out"
            results.append(
                measured([*BUILD, "matrix", "build", matrix, "-o", out, "--jobs", jobs, "--offline"], environment)
            )
            if number == 0:
                _say_shared(out)
            shutil.rmtree(out)
    one, two = show("one after the other", rows[1]), show("two at once", rows[2])
    compare("one at a time, against two", one, two)
    _measure_cache(work, runs)


def _measure_plans(work: Path) -> None:
    print("scale: planning, one process, nothing built yet")
    for count, limits in ((1_000, ""), (10_000, "limits: {cells: 10000}\n")):
        matrix = load_matrix(
            _write_matrix(
                work, sets=count // 10, outputs=("raw", "qcow2", "gce", "aws", "azure"), features=2, more=limits
            )
        )
        wall, cpu = time.monotonic(), time.process_time()
        planned = plan_cells(matrix.cells, work / "nothing", Store.open())
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        print(f"  {len(planned)} cells{'':<26} {wall:7.2f} s  {cpu:7.2f} CPU s", flush=True)


def _measure_cache(work: Path, runs: int) -> None:
    print("scale: the first build of a machine that has debs and nothing else")
    private, public = make_ed25519_pair()
    (work / "cache.key").write_bytes(private)
    (work / "cache.pub").write_bytes(public)
    cache = ["--cache", str(work / "cache")]
    results: dict[str, list[Run]] = {"without a cache": [], "an empty cache, filled": [], "a warm cache": []}
    words = {
        "without a cache": [],
        "an empty cache, filled": [*cache, "--cache-sign-key", str(work / "cache.key")],
        "a warm cache": [*cache, "--cache-key", str(work / "cache.pub")],
    }
    for number in range(runs):
        shutil.rmtree(work / "cache", ignore_errors=True)
        for index, (title, more) in enumerate(words.items()):
            environment = _make_store(work / f"machine-{number}-{index}", tools=False)
            argv = [*BUILD, "build", str(DEMO), "-o", str(work / "out"), "--offline", "--locked", *more]
            results[title].append(measured(argv, environment))
            shutil.rmtree(work / "out")
    rows = {title: show(title, row) for title, row in results.items()}
    compare("without, against a warm one", rows["without a cache"], rows["a warm cache"])
    argv = [*BUILD, "cache", "stats", "--json", *cache, "--cache-key", str(work / "cache.pub")]
    stats = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    for row in stats["entries"]:
        print(f"  {row['section']:<34} {row['count']:4} entries  {row['size'] / 1e6:7.1f} MB")


def _make_store(path: Path, *, tools: bool = True) -> dict[str, str]:
    """An environment whose store has downloads, and the tools if they are wanted."""
    path.mkdir()
    for section in ("blobs", *(["tools"] if tools else [])):
        (path / section).symlink_to(Store.open().root / section)
    return {**os.environ, "BUILD_OS_CACHE": str(path)}


def _write_matrix(work: Path, *, sets: int, outputs: tuple[str, ...], features: int, more: str = "") -> Path:
    path = work / "matrix.yaml"
    lines = [f"definitions: [{os.path.relpath(DEMO, work)}]", f"outputs: [{', '.join(outputs)}]", "variables:"]
    lines += [f"  v{number}: {{place: p{number}}}" for number in range(sets)]
    lines += ["features:", *(f"  f{number}: [ssh]" for number in range(features))]
    path.write_text("\n".join(lines) + f"\n{more}")
    return path


def _say_shared(out: Path) -> None:
    cells = json.loads((out / "matrix.json").read_text())["cells"]
    stages = [cell["last"]["build"] for cell in cells]
    ran, reused = (sum(len(stage.get(name, ())) for stage in stages) for name in ("ran", "reused"))
    seconds = [stage["seconds"] for stage in stages]
    print(
        f"  {'stages that ran, and were reused':<34} {ran:7} and {reused};"
        f" cells took {min(seconds):.1f} to {max(seconds):.1f} s"
    )

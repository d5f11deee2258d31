"""Many images of few definitions: planned together, built, verified and tested beside each other.

matrix.yaml says which; a cell is one of them. One that fails stops no other. What cells have in common is done once.

  build-os matrix plan                            what there is, what would run, and why
  build-os matrix build                           all cells, each into out/matrix/CELL
  build-os matrix build --only 'demo-*-raw'       by name
  build-os matrix build --failed                  those that failed the last time
  build-os matrix build --changed-since main      those that git says are others now
  build-os matrix verify                          each twice, and compared
  build-os matrix test                            the tests, on each image that was built
  build-os matrix emit github                     the same cells for GitHub; or for gitlab, kubernetes

Prints the path of matrix.json; beside it is a page for people, index.html.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import add_locked, can_relock
from builder.cli.sharing import (
    add_sharing,
    find_cache,
    list_sharing_words,
    open_sharing_store,
    require_cache,
    say_what_came,
)
from builder.core.console import Console, format_seconds

if TYPE_CHECKING:
    from builder.build import BuildRequest
    from builder.core.store import Store
    from builder.matrix.cells import Cell, LoadedMatrix
    from builder.matrix.plan import PlannedCell
    from builder.matrix.records import Outcome

HELP = "plan, build, verify and test many images"
ACTIONS = ("plan", "build", "verify", "test", "emit")
SYSTEMS = ("kubernetes", "github", "gitlab")
DEFAULT_MATRIX = Path("matrix.yaml")
LOCAL = "local"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MATRIX",
        help=f"(default: {DEFAULT_MATRIX}); emit: before it {', '.join(SYSTEMS)}",
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("out/matrix"), metavar="DIR", help="for artifacts (default: out/matrix)"
    )
    which = parser.add_argument_group("which cells")
    which.add_argument("--only", action="append", default=[], metavar="GLOB", help="by name; may be repeated")
    which.add_argument("--failed", action="store_true", help="only those that failed the last time")
    which.add_argument("--changed-since", metavar="REV", help="only those that are others than at a revision of git's")
    which.add_argument(
        "--cell",
        action="append",
        default=[],
        metavar="NAME",
        help="this one alone, in this process, as a part of a larger run; of several the one that --number says",
    )
    which.add_argument("--number", type=int, metavar="N", help="the N-th of those that --cell names, from 0")
    parser.add_argument(
        "--on", default=LOCAL, metavar="tcp://HOST:PORT", help="build, test: on the workers of a scheduler of Dask's"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="cells at the same time (test: 1)")
    parser.add_argument("--offline", action="store_true", help="download nothing")
    parser.add_argument("--json", action="store_true", help="plan: as JSON")
    # Of the processes that bring what workers have built: there is no other way to it.
    parser.add_argument("--patient", action="store_true", help=argparse.SUPPRESS)
    add_locked(parser)
    add_sharing(parser)
    emit = parser.add_argument_group("emit")
    emit.add_argument(
        "--image", metavar="NAME", help="a container image with build-os, for Kubernetes with all it builds"
    )
    emit.add_argument("--install", metavar="COMMAND", help="what brings build-os onto a machine (pip install ...)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what is asked for the cells that are meant."""
    from builder.core.errors import InputError
    from builder.core.store import Store
    from builder.matrix.cells import load_matrix

    args.system, args.file = split_words(args.action, args.words)
    if args.on != LOCAL and args.action not in ("build", "test"):
        raise InputError(f"{args.action} runs on this machine", hint="--on is for 'build-os matrix build' and 'test'")
    if args.cell and (args.action == "emit" or args.on != LOCAL):
        raise InputError("--cell does one cell in this process", hint="'--only NAME' chooses cells")
    if args.jobs is not None and args.jobs < 1:
        raise InputError("--jobs: at least one cell at a time")
    if not args.file.is_file():
        raise InputError(f"there is no {args.file}", hint="docs/scale.md says how to write one")
    matrix = load_matrix(args.file)
    store = open_sharing_store(args, console) if args.cell else Store.open()
    if args.cell:
        from builder.build.shared import find_shared_cache

        if (cache := find_shared_cache(store)) is not None:
            cache.is_patient = args.patient
        return run_cell(args, _choose_one(args, matrix), matrix, store)
    cells = _choose(args, matrix, store)
    if args.action == "emit":
        from builder.matrix.emit import INSTALL, Wanted, emit_matrix

        sharing = list_sharing_words(args)
        wanted = Wanted(matrix, cells, args.out, args.image, args.install or INSTALL, sharing, args.cache)
        sys.stdout.write(emit_matrix(args.system, wanted))
        return 0
    if args.action == "plan":
        return show_plan(args, matrix, cells, store, console)
    return run_all(args, matrix, cells, store, console)


def split_words(action: str, words: list[str]) -> tuple[str | None, Path]:
    """For which system cells are emitted, and the matrix.

    Raises:
        InputError: it is for none that is known, or there are more words than that.
    """
    from builder.core.errors import InputError

    system = None
    if action == "emit":
        if not words or words[0] not in SYSTEMS:
            raise InputError("say what is to run the cells", hint=f"build-os matrix emit {'|'.join(SYSTEMS)}")
        system, words = words[0], words[1:]
    if len(words) > 1:
        raise InputError(f"one matrix at a time, not {', '.join(words)}")
    return system, Path(words[0]) if words else DEFAULT_MATRIX


def _choose_one(args: argparse.Namespace, matrix: LoadedMatrix) -> Cell:
    """The cell that this process is for."""
    from builder.core.errors import InputError
    from builder.matrix.cells import choose_cells

    if args.number is None and len(args.cell) > 1:
        raise InputError("several cells are named, and this process does one", hint="--number N says which")
    if not 0 <= (number := args.number or 0) < len(args.cell):
        raise InputError(f"--number {number}: {len(args.cell)} cells are named, and the first is 0")
    cells = choose_cells(matrix.cells, [args.cell[number]])
    if len(cells) > 1:
        raise InputError(
            f"'{args.cell[number]}' names {len(cells)} cells, and this process does one", hint="'--only' takes globs"
        )
    return cells[0]


def _choose(args: argparse.Namespace, matrix: LoadedMatrix, store: Store) -> tuple[Cell, ...]:
    """The cells that the command line means; all if it names none."""
    from builder.matrix.cells import choose_cells
    from builder.matrix.changes import list_changed
    from builder.matrix.records import read_outcomes

    cells = choose_cells(matrix.cells, args.only) if args.only else matrix.cells
    if args.failed:
        command = "build" if args.action == "plan" else args.action
        last = {cell.id: read_outcomes(args.out / cell.id).get(command) for cell in cells}
        cells = tuple(cell for cell in cells if (outcome := last[cell.id]) is not None and outcome.status != 0)
    if args.changed_since is not None:
        cells = list_changed(cells, args.file, args.changed_since, store)
    return cells


def show_plan(
    args: argparse.Namespace, matrix: LoadedMatrix, cells: tuple[Cell, ...], store: Store, console: Console
) -> int:
    """Print it; changes nothing."""
    import json

    from builder.matrix.plan import plan_cells
    from builder.matrix.report import format_plan, make_results
    from builder.matrix.run import count_jobs

    planned = plan_cells(cells, args.out, store)
    if (cache := find_cache(args, os.environ, console)) is not None:
        from builder.build.shared import IMAGES
        from builder.core.kept import derive_shared_name
        from builder.matrix.plan import mark_shared

        planned = mark_shared(planned, lambda key: cache.has(derive_shared_name(IMAGES, key)))
    if args.json:
        sys.stdout.write(json.dumps(make_results(args.file, planned), indent=1, ensure_ascii=False) + "\n")
    else:
        jobs = count_jobs(args.jobs or matrix.matrix.limits.jobs)
        sys.stdout.write("".join(f"{line}\n" for line in format_plan(planned, jobs)))
    return 0


def run_all(
    args: argparse.Namespace, matrix: LoadedMatrix, cells: tuple[Cell, ...], store: Store, console: Console
) -> int:
    """Run the cells, a process for each; print the path of the results."""
    from time import monotonic

    from builder.matrix.plan import LOCK, REFUSED, plan_cells
    from builder.matrix.records import Outcome, write_outcome
    from builder.matrix.report import write_report
    from builder.matrix.run import Crew, choose_status, count_jobs, run_cells
    from builder.matrix.work import lock_cells

    started = monotonic()
    planned = plan_cells(cells, args.out, store)
    outcomes: dict[str, Outcome] = {}
    if args.action != "test":
        outcomes |= lock_cells(
            planned, args.out, console, lambda row, path: _make_request(args, row.cell, store, console, path)
        )
        if any(row.state == LOCK for row in planned):
            planned = plan_cells(cells, args.out, store)
    for row in planned:
        if row.state == REFUSED:
            outcomes[row.cell.id] = Outcome(2, 0.0, row.reason)
            console.warn(f"{row.cell.id} is refused:\n{row.reason}")
        elif row.cell.id in outcomes:
            console.warn(f"{row.cell.id} has no lock: {outcomes[row.cell.id].error}")
    to_run = [row for row in planned if row.cell.id not in outcomes and not (args.action == "build" and row.is_built)]
    limits = matrix.matrix.limits
    jobs = count_jobs(args.jobs or (1 if args.action == "test" else limits.jobs))
    crew = Crew(lambda row: _make_argv(args, row), args.action, args.out, console, limits.seconds)
    if args.on != LOCAL and to_run:
        far = run_elsewhere(args, matrix, to_run, console)
        outcomes |= far
        # What was built comes from the cache now.
        to_run = [row for row in to_run if far[row.cell.id].status == 0] if args.action == "build" else []
    near: dict[str, Outcome] = {}
    if to_run or args.on == LOCAL:
        with console.open_step(f"{args.action} {len(to_run)} of {len(planned)} cells, {jobs} at once"):
            near = run_cells(to_run, crew, jobs)
    for name in near:
        if near[name].status == 0 and name in outcomes:
            write_outcome(args.out / name, args.action, outcomes[name])
        else:
            outcomes[name] = near[name]
    # Of every cell, also where only some were meant: what is known of the others is in their directories.
    path = write_report(args.out, args.file, plan_cells(matrix.cells, args.out, store))
    failed = [name for name, outcome in outcomes.items() if outcome.status != 0]
    console.note(
        f"{len(planned) - len(failed)} of {len(planned)} cells are well, in {format_seconds(monotonic() - started)}"
    )
    sys.stdout.write(f"{path}\n")
    return choose_status(outcome.status for outcome in outcomes.values())


def run_elsewhere(
    args: argparse.Namespace, matrix: LoadedMatrix, to_run: list[PlannedCell], console: Console
) -> dict[str, Outcome]:
    """Have cells built or tested by workers; what they built is in the shared cache then."""
    from builder.matrix.elsewhere import CellsElsewhere
    from builder.matrix.records import write_outcome
    from builder.workers.scheduler import Scheduler

    cache = require_cache(args, console, to_write=True)
    cache.is_patient = True  # there is no other way to what workers have made
    engine = CellsElsewhere(
        Scheduler(args.on), cache, args.out, console, matrix.matrix.limits.seconds, offline=args.offline
    )
    with console.open_step(f"{args.action} {len(to_run)} cells on {args.on}"):
        outcomes = engine.run_cells(args.action, to_run, args.file)
    for name, outcome in outcomes.items():
        if outcome.status != 0 or args.action == "test":
            write_outcome(args.out / name, args.action, outcome)
    return outcomes


def _make_argv(args: argparse.Namespace, row: PlannedCell) -> list[str]:
    """The command line that does one cell."""
    # -P: a directory builder/ where we are started is not ours.
    words = [sys.executable, "-P", "-m", "builder", "matrix", args.action, str(args.file), "-o", str(args.out)]
    words += ["--cell", row.cell.id, "--end-with-input", "--progress", "plain"]
    words += [*list_sharing_words(args), *(["--patient"] if args.on != LOCAL else [])]
    return words + [f"--{name}" for name in ("offline", "locked", "debug") if getattr(args, name)]


def run_cell(args: argparse.Namespace, cell: Cell, matrix: LoadedMatrix, store: Store) -> int:
    """One cell, here."""
    from builder.core.console import make_console
    from builder.core.errors import InputError
    from builder.definition.load import load
    from builder.locking import locate_lock
    from builder.matrix.plan import REFUSED, plan_cells
    from builder.matrix.work import build_cell, record_work

    directory = args.out / cell.id
    own = make_console(args.progress, directory / "build.log")
    (row,) = plan_cells([cell], args.out, store)
    if args.action == "plan":
        return show_plan(args, matrix, (cell,), store, own)
    if row.state == REFUSED:
        raise InputError(row.reason)

    def work() -> Outcome:
        if args.action == "test":
            return _test_cell(directory, matrix, store)
        path = locate_lock(load(cell.definition, variation=cell.variation).resolved, cell.variation.locked_as)
        request = _make_request(args, cell, store, own, path)
        outcome = _verify_cell(request) if args.action == "verify" else build_cell(row, request)
        if store.tier is not None:
            say_what_came(store, own)
        return outcome

    try:
        outcome = record_work(directory, args.action, work)
    finally:
        own.close()
    sys.stdout.write(f"{directory / 'build.json'}\n")
    return outcome.status


def _make_request(args: argparse.Namespace, cell: Cell, store: Store, console: Console, lock: Path) -> BuildRequest:
    from builder.build import BuildRequest

    return BuildRequest(
        cell.definition,
        args.out / cell.id,
        store,
        console,
        offline=args.offline,
        relock=can_relock(args, os.environ, lock, console),
        variation=cell.variation,
    )


def _verify_cell(request: BuildRequest) -> Outcome:
    from dataclasses import replace

    from builder.core.errors import DifferenceError
    from builder.matrix.records import Outcome
    from builder.verify.run import verify

    # Both builds are made here: what a cache has made is no witness.
    report = verify(replace(request, store=replace(request.store, tier=None)))
    if not report.same:
        raise DifferenceError("the two builds are not the same", details=[str(row) for row in report.differences])
    return Outcome(0, 0.0)


def _test_cell(directory: Path, matrix: LoadedMatrix, store: Store) -> Outcome:
    """Tests in a process of pytest's own, as 'build-os test' runs them where the matrix is; workers do that, too."""
    from builder.cli.elsewhere import MACHINES
    from builder.cli.test import run_to_its_end
    from builder.core.errors import InputError
    from builder.matrix.records import TESTS
    from builder.matrix.work import read_tests

    if not (directory / "build.json").is_file():
        raise InputError(f"there is no image in {directory}", hint="'build-os matrix build' makes it")
    directory = directory.absolute()
    results = directory / TESTS
    argv = [sys.executable, "-P", "-m", "builder", "test", "--image", str(directory / "build.json")]
    argv += ["--results", str(results), f"--pytest={shlex.quote(f'--vm-folder={results / MACHINES}')}"]
    environment = {**os.environ, "BUILD_OS_CACHE": str(store.root.absolute())}
    status = run_to_its_end([*argv, *matrix.matrix.tests], environment, matrix.path.absolute().parent)
    return read_tests(results / "results.json", status, 0.0)

"""The work of one cell, in the process that was started for it; what came of it stays in the cell's directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from builder.build import BuildRequest, build_definition
from builder.build.inputs import require_lock
from builder.build.shared import find_shared_cache
from builder.build.workspace import open_store
from builder.core.console import Console
from builder.core.errors import BuildError
from builder.definition.load import load
from builder.locking import locate_lock, make_lock_path
from builder.matrix.plan import LOCK, PlannedCell
from builder.matrix.records import Outcome, write_outcome
from builder.outputs.manifest import read_manifest

Work = Callable[[], Outcome]


def record_work(directory: Path, command: str, work: Work) -> Outcome:
    """Do it, and leave in the directory what came of it, also of a failure.

    Raises:
        BuildError: what the work raised.
    """
    started = time.monotonic()
    try:
        outcome = work()
    except BuildError as error:
        write_outcome(directory, command, Outcome(error.exit_code, time.monotonic() - started, str(error)))
        raise
    outcome = replace(outcome, seconds=time.monotonic() - started)
    write_outcome(directory, command, outcome)
    return outcome


def build_cell(planned: PlannedCell, request: BuildRequest) -> Outcome:
    """Build it as any definition."""
    result = build_definition(request)
    cache = find_shared_cache(request.store)
    data = read_manifest(result.manifest)
    assert data is not None
    stages = data["timings"]["stages"]
    return Outcome(
        0,
        result.seconds,
        reused=result.reused,
        ran={name: (planned.ran or {}).get(name, planned.reason) for name in stages} if result.seconds else {},
        stages=stages,
        size=sum(artifact["size"] for artifact in data["artifacts"].values()),
        cache={} if cache is None else asdict(cache.counts),
        key=data["key"],
    )


def read_tests(results: Path, status: int, seconds: float) -> Outcome:
    """What ``results.json`` of a run of tests says; nothing where there is none."""
    try:
        data = json.loads(results.read_text(encoding="utf-8"))
        failed = [str(test["test"]) for test in data["tests"] if test["outcome"] in ("failed", "error")]
        tests = {str(name): int(count) for name, count in data["outcomes"].items()}
    except (OSError, ValueError, TypeError, LookupError):
        failed, tests = [], {}
    return Outcome(status, seconds, "\n".join(failed), tests=tests)


def lock_cells(
    planned: Sequence[PlannedCell],
    out: Path,
    console: Console,
    make_request: Callable[[PlannedCell, Path], BuildRequest],
) -> dict[str, Outcome]:
    """Make each lock that is missing or stale, once for all cells that have it; returns those that failed, by cell.

    Args:
        make_request: what a cell's build is asked, whose lock is at the path.
    """
    failed: dict[str, Outcome] = {}
    known: dict[Path, Outcome | None] = {}
    for row in planned:
        if row.state != LOCK:
            continue
        started = time.monotonic()
        resolved = load(row.cell.definition, variation=row.cell.variation).resolved  # it was planned: it can be loaded
        path = make_lock_path(resolved.path)
        try:
            path = locate_lock(resolved, row.cell.variation.locked_as)
            if path not in known:
                with console.open_step(f"lock {path}"), open_store(make_request(row, path)) as workspace:
                    require_lock(workspace, resolved)
                known[path] = None
            outcome = known[path]
        except BuildError as error:
            outcome = known[path] = Outcome(error.exit_code, time.monotonic() - started, str(error))
        if outcome is not None:
            failed[row.cell.id] = outcome
            write_outcome(out / row.cell.id, "build", outcome)
    return failed

"""Cells on other machines: what workers are told of each, and how each ended.

What a worker has built is in the shared cache then, and what its tests have left comes from there, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from builder.core.console import Console
from builder.matrix.plan import PlannedCell
from builder.matrix.records import FILE, TESTS, Outcome, parse_outcomes
from builder.matrix.run import say_outcome
from builder.sharing.cache import SharedCache
from builder.workers.results import bring_results
from builder.workers.scheduler import Scheduler
from builder.workers.sources import push_sources
from builder.workers.task import ANOTHER_IMAGE, NOT_HERE, Done, Task, locate_out, make_run_name


@dataclass
class CellsElsewhere:
    """A scheduler that is asked to build cells, and to test them.

    Attributes:
        out: where a cell's directory is on this machine.
        seconds: how long a cell may take.
    """

    scheduler: Scheduler
    cache: SharedCache
    out: Path
    console: Console
    seconds: float | None = None
    offline: bool = False

    def run_cells(self, action: str, planned: Sequence[PlannedCell], matrix: Path) -> dict[str, Outcome]:
        """Have every cell built or tested (``action``). One that fails stops no other.

        Raises:
            CapabilityError: there is no scheduler, it has gone, or no worker fits.
        """
        self.scheduler.require_workers()
        sources, directory = push_sources(self.cache, matrix.parent, [row.cell.definition for row in planned])
        where = _Where(sources, directory, matrix.name, make_run_name())
        rows = {row.cell.id: row for row in planned}
        outcomes: dict[str, Outcome] = {}
        with closing(self.scheduler.run([self._make_task(action, row, where) for row in planned])) as ended:
            for task, done in ended:
                outcome = read_outcome(action, done, rows[task.name].key)
                if done.gave and not bring_results(self.cache, done.gave, self.out / task.name / TESTS):
                    said = f"what its tests have left cannot be brought from {self.cache.place.url}"
                    outcome = replace(outcome, status=NOT_HERE, error=said)
                outcomes[task.name] = outcome
                say_outcome(task.name, outcome, self.console)
                self.console.report_progress(len(outcomes), len(planned), "cells")
        return outcomes

    def _make_task(self, action: str, row: PlannedCell, where: _Where) -> Task:
        cell = row.cell.id
        words = [where.matrix, "-o", locate_out(where.directory), "--cell", cell]
        build = ["matrix", "build", *words, "--locked", *(["--offline"] if self.offline else [])]
        commands = [build] if action == "build" else [build, ["matrix", action, *words]]
        return Task(
            name=cell,
            sources=where.sources,
            directory=where.directory,
            commands=tuple(tuple(command) for command in commands),
            tells=f"{cell}/{FILE}",
            run=where.run,
            gives=f"{cell}/{TESTS}" if action == "test" else "",
            shares=hashlib.sha256("\n".join(sorted(row.claims)).encode()).hexdigest() if row.claims else "",
            seconds=self.seconds,
        )


@dataclass(frozen=True)
class _Where:
    """What is the same for all tasks of a command."""

    sources: str
    directory: str
    matrix: str
    run: str


def read_outcome(action: str, done: Done, key: str) -> Outcome:
    """How a cell ended, as its own process said it, or as it looked from outside.

    Args:
        key: of all that decides the cell's artifacts, as they are known here.
    """
    said = parse_outcomes(done.told)
    built = said.get("build")
    if built is not None and built.status == 0 and key and built.key != key:
        return Outcome(NOT_HERE, done.seconds, ANOTHER_IMAGE, worker=done.worker)
    outcome = said.get(action, built)
    if outcome is not None and outcome.status == done.status:
        return replace(outcome, worker=done.worker)
    return Outcome(done.status, done.seconds, done.error, worker=done.worker)

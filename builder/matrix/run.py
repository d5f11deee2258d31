"""Carry a plan out on this machine: a process for each cell, as many at once as may be, none twice at the same work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from builder.core.console import Console, format_seconds
from builder.core.processes import ENDED, Processes, read_tail
from builder.matrix.plan import PlannedCell
from builder.matrix.records import Outcome, read_outcomes, write_outcome

# What a build has in memory at most, with what its programs have.
MEMORY = 2 << 30
LOG = "output.log"


@dataclass
class Crew:
    """Processes that work on cells.

    Attributes:
        argv: the command line for a cell, which leaves its own outcome in the cell's directory.
        command: ``build``, ``verify``, ``test``.
        seconds: how long one may take.
    """

    argv: Callable[[PlannedCell], Sequence[str]]
    command: str
    out: Path
    console: Console
    seconds: float | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    _processes: Processes = field(default_factory=Processes)

    def run_cell(self, row: PlannedCell) -> Outcome:
        """Run one cell; what it says is in ``output.log`` in its directory."""
        directory = self.out / row.cell.id
        directory.mkdir(parents=True, exist_ok=True)
        started = time.time()
        log = directory / LOG
        log.unlink(missing_ok=True)
        ended = self._processes.run(self.argv(row), log, self.seconds, environment=self.environment)
        if ended is None:
            return Outcome(ENDED, 0.0, "not begun")
        status, error = ended
        said = read_outcomes(directory).get(self.command)
        if said is not None and (directory / "cell.json").stat().st_mtime >= started and said.status == status:
            return said
        # It was killed, or ended before it knew what it was to do.
        outcome = Outcome(status, time.time() - started, error or read_tail(log))
        write_outcome(directory, self.command, outcome)
        return outcome

    def end(self) -> None:
        """End all that runs; nothing more begins."""
        self._processes.end()


def run_cells(planned: Sequence[PlannedCell], crew: Crew, jobs: int) -> dict[str, Outcome]:
    """Run every cell; one that fails stops no other.

    A cell waits while another makes something that it needs as well: it finds that in the store afterwards.
    """
    waiting = sorted(planned, key=lambda row: -len(row.claims))
    running: dict[Future[Outcome], PlannedCell] = {}
    outcomes: dict[str, Outcome] = {}
    made: set[str] = set()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                while len(running) < jobs and (row := choose_next(waiting, running.values(), made)) is not None:
                    waiting.remove(row)
                    running[pool.submit(crew.run_cell, row)] = row
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    row, outcome = running.pop(future), future.result()
                    outcomes[row.cell.id] = outcome
                    if outcome.status == 0:
                        made |= row.claims
                    say_outcome(row.cell.id, outcome, crew.console, crew.out / row.cell.id / LOG)
                    crew.console.report_progress(len(outcomes), len(planned), "cells")
        except BaseException:
            crew.end()
            raise
    return outcomes


def choose_next(
    waiting: Sequence[PlannedCell], running: Iterable[PlannedCell], made: set[str] | frozenset[str]
) -> PlannedCell | None:
    """The first cell that needs nothing of what is being made just now; ``None`` if all have to wait."""
    busy = {claim for row in running for claim in row.claims} - made
    return next((row for row in waiting if not (row.claims - made) & busy), None)


def count_jobs(limit: int | None, memory: int | None = None) -> int:
    """How many cells at once: what was asked for, else what processors and free memory (bytes) bear."""
    if limit is not None:
        return limit
    free = _read_free_memory() if memory is None else memory
    return max(1, min(os.cpu_count() or 1, free // MEMORY))


def _read_free_memory() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return MEMORY


def say_outcome(cell: str, outcome: Outcome, console: Console, log: Path | None = None) -> None:
    """Tell how a cell ended: in a line where there is a log that has the rest, else with all that is known."""
    if outcome.status == 0:
        reused = f", {len(outcome.reused)} stages reused" if outcome.reused else ""
        console.note(f"{cell}: done in {format_seconds(outcome.seconds)}{reused}")
        return
    error = outcome.error.strip() or "it said nothing"
    said = error if log is None else f"{error.splitlines()[0]} ({log})"
    console.warn(f"{cell} failed with status {outcome.status}: {said}")


def choose_status(statuses: Iterable[int]) -> int:
    """The exit code of all: that of the failures if it is one, 1 if they are of several kinds."""
    failed = set(statuses) - {0}
    if not failed:
        return 0
    status = failed.pop() if len(failed) == 1 else 1
    return status if 0 < status < 128 else 1

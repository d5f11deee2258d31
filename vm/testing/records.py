"""What a run of tests with machines leaves: ``results.json``, ``index.html`` and ``junit.xml`` in one directory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from builder.core.files import write_file
from vm.machine import Machine
from vm.machine.counts import Counts
from vm.machine.timeline import Moment
from vm.testing.rerun import FLAKY, OUTCOME

PROPERTY = "machines"
RESULTS, PAGE, JUNIT = "results.json", "index.html", "junit.xml"
SCHEMA = 1
COUNTS_OF_WORKER = "build_os_tally"


@dataclass(frozen=True)
class MachineRecord:
    """One machine in one test. ``cpu_seconds`` is processor time of the host."""

    name: str
    folder: str
    boots: int
    cpu_seconds: float
    seconds: float
    timeline: tuple[Moment, ...]

    @classmethod
    def describe(cls, machine: Machine, cpu_before: float = 0.0) -> MachineRecord:
        """A machine at the end of a test; a machine that serves many had used ``cpu_before`` until then."""
        timeline = machine.timeline
        boots = sum(moment.what in ("power on", "reboots") for moment in timeline.moments)
        cpu = round(machine.cpu_seconds() - cpu_before, 2)
        folder = machine.folder.root
        return cls(folder.name, str(folder), boots, cpu, round(timeline.seconds, 2), timeline.moments)


@dataclass
class TestRecord:
    """One test. ``seconds`` with what it took to get its machines and to put them away.

    Of a test that was run again (:mod:`vm.testing.rerun`), ``seconds`` and ``machines`` are those of all attempts, and
    ``earlier`` says how the first of them failed.
    """

    __test__ = False

    test: str
    outcome: str = "passed"
    seconds: float = 0.0
    message: str = ""
    earlier: str = ""
    machines: list[dict[str, Any]] = field(default_factory=list)


class Results:
    """A pytest plugin that writes what happened into ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started = datetime.now(UTC)
        self._before = Counts.measure()
        self._workers: list[Counts] = []
        self._tests: dict[str, TestRecord] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up, call and tear-down of a test are one line."""
        record = self._tests.setdefault(report.nodeid, TestRecord(report.nodeid))
        record.seconds = round(record.seconds + report.duration, 2)
        if report.outcome == "failed":
            record.outcome = "failed" if report.when == "call" else "error"
            record.message = record.message or report.longreprtext
        elif report.outcome == "skipped" and record.outcome == "passed":
            record.outcome = "skipped"
            record.message = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        elif report.outcome == OUTCOME and report.longrepr:
            record.earlier = record.earlier or report.longreprtext
        if report.when == "teardown" or report.outcome == OUTCOME:
            machines = [json.loads(str(value)) for name, value in report.user_properties if name == PROPERTY]
            record.machines += [machine for machine in machines if machine not in record.machines]
        for name, value in report.user_properties:
            if name == FLAKY:
                record.outcome, record.message = FLAKY, str(value)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of xdist has done its part."""
        if (text := getattr(node, "workeroutput", {}).get(COUNTS_OF_WORKER)) is not None:
            self._workers.append(Counts(**text))

    def compute_costs(self) -> Counts:
        """What the run has cost so far. Where there are workers, children of this process, they did it all."""
        parts = self._workers or [Counts.measure().subtract(self._before)]
        cpu = round(sum(part.cpu_seconds for part in parts), 1)
        return Counts(sum(part.boots for part in parts), sum(part.restores for part in parts), cpu)

    def pytest_sessionfinish(self) -> None:
        """Write what there is; a run that was interrupted leaves what it came to."""
        self._directory.mkdir(parents=True, exist_ok=True)
        write_results(self.summarize(), self._directory)

    def summarize(self) -> dict[str, Any]:
        """What ``results.json`` holds."""
        tests = list(self._tests.values())
        outcomes = [test.outcome for test in tests]
        machines = [machine for test in tests for machine in test.machines]
        cost = self.compute_costs()
        return {
            "schema": SCHEMA,
            "directory": str(self._directory),
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round((datetime.now(UTC) - self._started).total_seconds(), 1),
            "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
            "boots": cost.boots,
            "restores": cost.restores,
            "cpu_seconds": cost.cpu_seconds,
            "machines_cpu_seconds": round(sum(machine["cpu_seconds"] for machine in machines), 1),
            "tests": [asdict(test) for test in tests],
        }

    def format_summary(self) -> str:
        """The summary in one line."""
        return format_summary(self.summarize())


def format_summary(summary: Mapping[str, Any]) -> str:
    """What a run has cost, in one line."""
    said = f"{len(summary['tests'])} tests, {summary['boots']} boots, {summary['restores']} restores"
    return f"{said}, {summary['seconds']:.0f} s, {summary['cpu_seconds']:.0f} CPU seconds"


def write_results(summary: Mapping[str, Any], directory: Path) -> None:
    """Write ``results.json``, and ``index.html`` for people."""
    write_file(directory / RESULTS, json.dumps(summary, indent=2) + "\n")
    write_file(directory / PAGE, render_page(summary, lambda folder: os.path.relpath(folder, directory)))


def make_machine_property(record: MachineRecord) -> tuple[str, str]:
    """A record as a property of a test, which survives JUnit and the way from a worker to its controller."""
    return PROPERTY, json.dumps(asdict(record))


def render_page(summary: Mapping[str, Any], link: Callable[[str], str]) -> str:
    """``index.html`` of a summary. ``link`` makes a folder's name relative to it."""
    environment = Environment(
        loader=PackageLoader("vm.testing", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    longest = max((machine["seconds"] for machine in _machines(summary)), default=0.0) or 1.0
    return environment.get_template("results.html.j2").render(summary=summary, link=link, longest=longest)


def _machines(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for test in summary["tests"]:
        yield from test["machines"]

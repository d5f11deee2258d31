"""A test that failed is run again at the end, on machines that nobody has used: what passes then is told as flaky.

What kola's ``--rerun --allow-rerun-success`` does. pytest-rerunfailures does not: it runs a test again at once, beside
the machines of the session that the first attempt may have broken. By the time this begins pytest has put away all
fixtures, so that each is made anew, and :class:`vm.testing.pool.Pool` boots instead of waking up what was kept. A run
that is interrupted, or that cannot be collected, runs nothing again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vm.testing import FOLDERS, MACHINE_FIXTURES

ATTEMPT = pytest.StashKey[int]()  # of the configuration
FAILED = pytest.StashKey[bool]()  # of a test: this attempt has failed
OUTCOME = "rerun"  # of the reports of an attempt after which there is another
FLAKY = "flaky"  # category and property of a test that failed and then passed
MARKERS = "vm_rerun_markers"
MOST = 20  # more failures are no accident, and each may have lasted as long as its deadline


def make_suffix(config: pytest.Config) -> str:
    """For names of folders, so that an attempt does not overwrite what an earlier one has left."""
    attempt = config.stash.get(ATTEMPT, 1)
    return "" if attempt == 1 else f"-attempt{attempt}"


def make_session_suffix(config: pytest.Config) -> str:
    """The same for machines of a session, of which each worker of xdist has one."""
    worker = getattr(config, "workerinput", {}).get("workerid")
    return make_suffix(config) if worker is None else f"-{worker}{make_suffix(config)}"


def can_run_again(item: pytest.Item) -> bool:
    """Whether a test has to do with machines: by its fixtures, or by a marker that the ini option names."""
    markers = {mark.name for mark in item.iter_markers()}
    fixtures = getattr(item, "fixturenames", ())
    return bool(MACHINE_FIXTURES.intersection(fixtures) or markers.intersection(item.config.getini(MARKERS)))


@dataclass
class Failure:
    """An attempt that failed. ``reports`` are those of its failures, as pytest would have told them."""

    item: pytest.Item
    reports: list[pytest.TestReport] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def summarize(self) -> str:
        """One line: why, and the folders of its machines."""
        longrepr = self.reports[0].longrepr
        crash = getattr(longrepr, "reprcrash", None)
        lines = str(longrepr if crash is None else crash.message).split("\n")
        return f"{lines[0][:300]}{format_folders(self.folders)}"


class Rerun:
    """A pytest plugin.

    Args:
        times: how often a test that failed is run again.
    """

    def __init__(self, times: int) -> None:
        self._times = times
        self._failures: dict[str, Failure] = {}  # not told yet
        self._earlier: dict[str, Failure] = {}
        self._flaky: list[str] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """Keep a failure for later while there is another attempt."""
        report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy sends the hook's result
        if report.failed and item.config.stash.get(ATTEMPT, 1) <= self._times and can_run_again(item):
            failure = self._failures.setdefault(item.nodeid, Failure(item))
            failure.reports.append(copy.copy(report))
            report.outcome = OUTCOME  # type: ignore[assignment]  # pytest_report_teststatus knows it
        if report.when == "teardown" and item.nodeid in self._failures:
            self._failures[item.nodeid].folders = item.stash.get(FOLDERS, [])
            # The test is not over. What writes JUnit takes a tear-down for its end.
            report.outcome, report.when = OUTCOME, "call"  # type: ignore[assignment]
        first = self._earlier.get(item.nodeid)
        if first is not None and report.passed and report.when == "call":
            report.flaky = True  # type: ignore[attr-defined]  # what a report has goes to xdist's controller as well
        if first is not None and report.passed and report.when == "teardown":
            now = format_folders(item.stash.get(FOLDERS, []))
            report.user_properties.append((FLAKY, f"{first.summarize()}, and passed when it was run again{now}"))
        if first is not None and report.failed:
            report.sections.append(("earlier attempt", self._earlier.pop(item.nodeid).summarize()))
        return report  # type: ignore[return-value]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        """After all others, run those again that failed."""
        try:
            result = yield
            while 0 < len(self._failures) <= MOST and not (session.shouldfail or session.shouldstop):
                self._run_again(session)
        finally:
            self._tell()
        return result

    def _run_again(self, session: pytest.Session) -> None:
        session.config.stash[ATTEMPT] = session.config.stash.get(ATTEMPT, 1) + 1
        waiting, self._failures = list(self._failures.values()), {}
        try:
            while waiting and not (session.shouldfail or session.shouldstop):
                failure = waiting.pop(0)
                item = failure.item
                self._earlier[item.nodeid] = failure
                item.stash[FOLDERS] = []
                item.stash[FAILED] = False
                item.user_properties.clear()
                _announce(item)
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=waiting[0].item if waiting else None)
        finally:
            self._failures |= {failure.item.nodeid: failure for failure in waiting}

    def _tell(self) -> None:
        """Report failures of tests that will not be run again after all."""
        for failure in self._failures.values():
            for report in failure.reports:
                if len(self._failures) > MOST:
                    report.sections.append(("not run again", f"more than {MOST} tests have failed"))
                _announce(failure.item)
                failure.item.ihook.pytest_runtest_logreport(report=report)

    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
        """What the terminal shows; a category without a name is not counted."""
        if report.outcome == OUTCOME:
            return ("", "R", ("RERUN", {"yellow": True})) if report.longrepr else ("", "", "")
        return (FLAKY, "f", ("FLAKY", {"yellow": True})) if getattr(report, "flaky", False) else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what was flaky, also on a worker of xdist."""
        self._flaky += [f"{report.nodeid}: {value}" for name, value in report.user_properties if name == FLAKY]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say so, because the run is green."""
        if self._flaky:
            terminalreporter.section("flaky tests", yellow=True)
        for line in self._flaky:
            terminalreporter.write_line(line)


def _announce(item: pytest.Item) -> None:
    """A worker of xdist tells its controller which of its tests a report is of; it counts them itself."""
    if hasattr(item.config, "workerinput"):
        for plugin in item.config.pluginmanager.get_plugins():
            if hasattr(plugin, "item_index"):
                plugin.item_index = item.session.items.index(item)


def format_folders(folders: list[Path]) -> str:
    """Folders at the end of a line."""
    return "".join(f" [{folder}]" for folder in folders)

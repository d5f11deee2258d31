"""Results of runs in different places, as one report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import pytest

from vm.testing.merge import Part, list_remarkable, merge_results
from vm.testing.records import JUNIT, PROPERTY, RESULTS, MachineRecord, Results

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PHASES: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")
Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run("w1", "test_a.py::test_one", failed=...)``: a run on a worker, whose results have come to us since."""

    def make(name: str, *tests: str, failed: str = "", seconds: float = 1.0) -> Path:
        there = tmp_path / "worker" / name
        results = Results(there)
        for test in tests:
            folder = there / "machines" / test.rpartition("::")[2]
            folder.mkdir(parents=True)
            machine = json.dumps(asdict(MachineRecord("web", str(folder), 1, 2.0, 3.0, ())))
            for when in PHASES:
                fails = test == failed and when == "call"
                outcome: Literal["passed", "failed"] = "failed" if fails else "passed"
                properties = [(PROPERTY, machine)] if when == "teardown" else []
                results.pytest_runtest_logreport(
                    pytest.TestReport(
                        test,
                        ("x", 1, test),
                        {},
                        outcome,
                        "it broke" if fails else None,
                        when,
                        user_properties=properties,
                        duration=seconds if when == "call" else 0.0,
                    )
                )
        results.pytest_sessionfinish()
        (there / JUNIT).write_text(f'<testsuites><testsuite name="pytest" tests="{len(tests)}"/></testsuites>')
        return there.rename(tmp_path / name)

    return make


def test_what_several_workers_have_left_is_one_report(run: Run, tmp_path: Path) -> None:
    one = Part(run("w1", "test_a.py::test_one", "test_a.py::test_two"), ("test_a.py::test_one", "test_a.py::test_two"))
    two = Part(run("w2", "test_b.py::test_three", failed="test_b.py::test_three"), ("test_b.py::test_three",))
    out = tmp_path / "all"
    summary = merge_results([one, two], out, NOW, 12.0)
    assert json.loads((out / RESULTS).read_text()) == summary
    assert summary["outcomes"] == {"failed": 1, "passed": 2}
    assert summary["machines_cpu_seconds"] == 6.0
    assert summary["seconds"] == 12.0
    assert len(ElementTree.parse(out / JUNIT).getroot().findall("testsuite")) == 2
    assert 'href="../w2/machines/test_three/"' in (out / "index.html").read_text()
    assert summary["tests"][2]["machines"][0]["folder"] == str(tmp_path / "w2/machines/test_three")


def test_a_worker_that_left_nothing_has_lost_its_tests(run: Run, tmp_path: Path) -> None:
    one = Part(run("w1", "test_a.py::test_one"), ("test_a.py::test_one", "test_a.py::test_two"), "it was <killed>")
    two = Part(tmp_path / "nothing", ("test_b.py::test_three",), "pytest is not installed here")
    summary = merge_results([one, two], tmp_path / "all", NOW, 1.0)
    said = {test["test"]: (test["outcome"], test["message"]) for test in summary["tests"]}
    assert said == {
        "test_a.py::test_one": ("passed", ""),
        "test_a.py::test_two": ("error", "it was <killed>"),
        "test_b.py::test_three": ("error", "pytest is not installed here"),
    }
    root = ElementTree.parse(tmp_path / "all" / JUNIT).getroot()
    lost = [(case.get("name"), case[0].get("message")) for case in root.iter("testcase")]
    assert lost == [
        ("test_a.py::test_two", "it was <killed>"),
        ("test_b.py::test_three", "pytest is not installed here"),
    ]


def test_failures_and_the_slowest_are_named(run: Run, tmp_path: Path) -> None:
    parts = [
        Part(run(f"w{number}", f"test_a.py::test_{number}", failed="test_a.py::test_2", seconds=number), ())
        for number in range(8)
    ]
    assert list_remarkable(merge_results(parts, tmp_path / "all", NOW, 1.0)) == [
        "failed: test_a.py::test_2",
        *(f"{number} s: test_a.py::test_{number}" for number in (7, 6, 5, 4, 3)),
    ]

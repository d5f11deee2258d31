"""What a cell's tests have come to, as the run of tests itself writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from builder.matrix.records import Outcome
from builder.matrix.work import read_tests
from vm.testing.records import RESULTS, Results

pytestmark = pytest.mark.unit

PHASES: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")


def test_the_tests_that_failed_are_named(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for name, fails in (("test_a.py::test_one", False), ("test_a.py::test_two", True)):
        for when in PHASES:
            is_failure = fails and when == "call"
            results.pytest_runtest_logreport(
                pytest.TestReport(
                    name,
                    ("test_a.py", 1, name),
                    {},
                    "failed" if is_failure else "passed",
                    "it broke" if is_failure else None,
                    when,
                )
            )
    results.pytest_sessionfinish()
    read = read_tests(tmp_path / RESULTS, 7, 1.5)
    assert read == Outcome(7, 1.5, "test_a.py::test_two", tests={"failed": 1, "passed": 1})


def test_a_run_that_left_nothing_says_nothing(tmp_path: Path) -> None:
    assert read_tests(tmp_path / RESULTS, 2, 1.5) == Outcome(2, 1.5)

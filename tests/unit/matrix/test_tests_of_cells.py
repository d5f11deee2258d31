"""What a cell's tests have come to, as the run of tests itself writes it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from builder.cli.main import make_parser
from builder.matrix.records import Outcome
from builder.matrix.work import read_tests
from tests.support.command import run_command
from tests.unit.matrix.conftest import MakeMatrix
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


def test_a_matrix_names_tests_from_where_it_is(
    make_matrix: MakeMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On workers, too, there is nothing but the repository."""
    asked: list[tuple[list[str], str, Path | None]] = []

    def run_to_its_end(argv: list[str], environment: Mapping[str, str], directory: Path | None) -> int:
        asked.append((argv, environment["BUILD_OS_CACHE"], directory))
        return 0

    monkeypatch.setattr("builder.cli.test.run_to_its_end", run_to_its_end)
    make_matrix("outputs: [raw]\ntests: [tests/test_boot.py]\n", locked=True)
    here = tmp_path / "here"
    (here / "out/matrix/one-raw").mkdir(parents=True)
    (here / "out/matrix/one-raw/build.json").write_text("{}")
    monkeypatch.chdir(here)
    monkeypatch.setenv("BUILD_OS_CACHE", "store")
    assert run_command(capsys, "matrix", "test", "../matrix.yaml", "--cell", "one-raw").status == 0
    ((argv, store, directory),) = asked
    assert (directory, store) == (here / "..", f"{here}/store")
    args = make_parser("test").parse_args(argv[argv.index("test") :])
    assert args.patterns == ["tests/test_boot.py"]
    assert (args.image, args.results) == (here / "out/matrix/one-raw/build.json", here / "out/matrix/one-raw/tests")
    assert shlex.split(args.pytest) == [f"--vm-folder={args.results}/vm-tests"]

"""What ``build-os test --on`` tells workers, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.cli.elsewhere import Group, list_groups, make_tasks
from builder.cli.main import make_parser
from tests.support.command import run_command

pytestmark = pytest.mark.unit

ON = ("--on", "tcp://127.0.0.1:1")


def test_tests_that_share_a_machine_are_one_group() -> None:
    listing = [
        {"test": "tests/test_a.py::test_one", "argument": "test_a.py::test_one", "group": "machine"},
        {"test": "tests/test_b.py::test_two", "argument": "test_b.py::test_two", "group": "/tests/test_b.py"},
        {"test": "tests/test_c.py::test_three", "argument": "test_c.py::test_three", "group": "machine"},
    ]
    assert list_groups(listing) == [
        Group(
            "001-test_a-2-tests",
            ("tests/test_a.py::test_one", "tests/test_c.py::test_three"),
            ("test_a.py::test_one", "test_c.py::test_three"),
        ),
        Group("002-test_b-1-test", ("tests/test_b.py::test_two",), ("test_b.py::test_two",)),
    ]


def test_a_worker_builds_the_image_and_runs_the_tests_as_they_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--rerun", "1", "--timeout-scale", "3", "--denylist", "known.yaml", "--pytest", "-x -k 'a or b'"]
    args = make_parser("test").parse_args(["test", *words])
    group = Group("001-test_a-1-test", ("test_a.py::test_one",), ("test_a.py::test_one",))
    (task,) = make_tasks(args, [group], tmp_path / "configs/os.yaml", "sources-1-x", "systems")
    assert task.commands == (
        ("build", "configs/os.yaml", "-o", "../../made", "--locked"),
        (
            *("test", "test_a.py::test_one", "--image", "../../made/build.json", "--results", "../../made/results"),
            "--pytest=--vm-folder=../../made/results/vm-tests -x -k 'a or b'",
            *("--rerun", "1", "--timeout-scale", "3.0", "--denylist", "known.yaml"),
        ),
    )
    assert (task.gives, task.directory) == ("results", "systems")
    make_parser("test").parse_args(task.commands[1])


@pytest.mark.parametrize("option", ["--shell-on-failure", "--keep", "--rerun-failed"])
def test_what_only_this_host_can_do_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "test", *ON, option)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {option} is for machines and results of this host")

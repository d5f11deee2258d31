"""What ``build-os test --on`` tells workers, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.cli import elsewhere
from builder.cli.elsewhere import Group, list_groups, make_tasks
from builder.cli.main import make_parser
from builder.core.console import QuietConsole
from builder.sharing.cache import SharedCache
from builder.sharing.places import DirectoryPlace
from builder.signatures.pem import make_ed25519_pair, parse_private_key
from builder.workers.scheduler import Scheduler
from builder.workers.task import ANOTHER_IMAGE, Done, Task
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


class Session:
    """An image, two groups of tests, and a scheduler that says how each ended."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results = directory / "results"
        self.ended: list[Done] = []
        self.console = QuietConsole()
        (directory / "out").mkdir()
        (directory / "out/build.json").write_text(json.dumps({"key": "0123"}))
        image = SimpleNamespace(directory=directory / "out")
        key = parse_private_key(make_ed25519_pair()[0])
        cache = SharedCache(DirectoryPlace(directory / "cache"), [key.public], self.console, key)
        monkeypatch.chdir(directory)
        monkeypatch.setattr(elsewhere, "require_cache", lambda *_, **__: cache)
        monkeypatch.setattr(elsewhere, "require_current_image", lambda *_: directory / "os.yaml")
        monkeypatch.setattr("builder.core.image.read_image", lambda _: image)
        monkeypatch.setattr("builder.workers.sources.push_sources", lambda *_: ("sources-2-x", "."))
        monkeypatch.setattr(Scheduler, "require_workers", lambda _: None)
        monkeypatch.setattr(Scheduler, "run", lambda _, tasks: self.end_tasks(tasks))

    def end_tasks(self, tasks: list[Task]) -> Iterator[tuple[Task, Done]]:
        yield from zip(tasks, self.ended, strict=False)
        if len(self.ended) < len(tasks):
            raise KeyboardInterrupt

    def run(self) -> int:
        args = make_parser("test").parse_args(["test", *ON])
        listing = [
            {"test": f"{name}::test_it", "argument": f"{name}::test_it", "group": name} for name in ("a.py", "b.py")
        ]
        return elsewhere.run_tests_elsewhere(args, self.console, listing, Path("out/build.json"), self.results)

    def read(self) -> list[tuple[str, str, str]]:
        data = json.loads((self.results / "results.json").read_text())
        return [(test["test"], test["outcome"], test["message"]) for test in data["tests"]]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    return Session(tmp_path, monkeypatch)


def test_a_run_that_is_stopped_says_what_it_came_to_and_not_what_the_last_one_did(session: Session) -> None:
    session.results.mkdir()
    (session.results / "junit.xml").write_text("old")
    session.ended = [Done(3, 1.0, "no room")]
    with pytest.raises(KeyboardInterrupt):
        session.run()
    assert session.read() == [
        ("a.py::test_it", "error", "no room"),
        ("b.py::test_it", "error", "the run was ended before it had"),
    ]
    assert "old" not in (session.results / "junit.xml").read_text()


def test_tests_of_another_image_count_as_not_run(session: Session) -> None:
    session.ended = [Done(0, 1.0, told='{"key": "4567"}'), Done(0, 1.0, told='{"key": "4567"}')]
    assert session.run() == 3
    assert {message for _, _, message in session.read()} == {ANOTHER_IMAGE}


def test_tests_that_nobody_heard_of_again_are_no_success(session: Session) -> None:
    session.ended = [Done(0, 1.0, told='{"key": "0123"}'), Done(0, 1.0, told='{"key": "0123"}')]
    assert session.run() == 5
    assert {message for _, _, message in session.read()} == {"nothing was said of it"}


@pytest.mark.parametrize("option", ["--shell-on-failure", "--keep", "--rerun-failed"])
def test_what_only_this_host_can_do_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "test", *ON, option)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {option} is for machines and results of this host")

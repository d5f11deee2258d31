"""What a plan says of each cell before anything runs, and which cells may run beside each other."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from builder.build.request import BuildRequest
from builder.core import processes
from builder.core.architecture import Arch
from builder.core.console import PlainConsole, QuietConsole
from builder.core.store import Store
from builder.definition.variation import Variation
from builder.matrix.plan import LOCK, REFUSED, PlannedCell, derive_keys, mark_shared, plan_cells
from builder.matrix.records import Outcome, read_outcomes, write_outcome
from builder.matrix.report import draw_page, format_plan, make_results
from builder.matrix.run import Crew, choose_next, choose_status, count_jobs, run_cells
from builder.verify.compare import Compared
from builder.verify.locate import Difference
from builder.verify.run import Report
from tests.support.command import run_command
from tests.unit.matrix.conftest import MakeMatrix, write_lock

pytestmark = pytest.mark.unit


def test_cells_of_one_lock_share_their_stages(make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path) -> None:
    made = make_matrix("outputs: [raw, gce]\n", locked=True)
    first, second = plan_cells(made.cells, tmp_path / "out", empty_store)
    assert (first.state, first.shares) == ("to build", "")
    assert (second.state, second.shares) == ("to build", "one-raw")
    assert first.claims == second.claims != frozenset()
    assert set(first.ran or {}) == set(second.ran or {})


def test_a_cell_without_a_lock_says_which_it_would_have(
    make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path
) -> None:
    made = make_matrix("arch: [amd64, arm64]\n", locked=True)
    amd64, arm64 = plan_cells(made.cells, tmp_path / "out", empty_store)
    assert amd64.state == "to build"  # the definition's own lock fits it
    assert (arm64.state, arm64.reason) == (LOCK, "there is no one.arm64.lock")
    write_lock(tmp_path / "one.yaml", tmp_path / "one.arm64.lock", Variation(Arch.ARM64))
    assert plan_cells(made.cells, tmp_path / "out", empty_store)[1].state == "to build"


def test_a_lock_that_cannot_be_read_is_a_cell_s_own_trouble(
    make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path
) -> None:
    made = make_matrix("features: {plain: [], shell: [ssh]}\n", ("one", "two"), locked=True)
    (tmp_path / "one.lock").write_text("<<<<<<< HEAD")
    states = [row.state for row in plan_cells(made.cells, tmp_path / "out", empty_store)]
    assert states == [LOCK, LOCK, "to build", LOCK]


def test_a_plan_knows_what_a_cache_has(make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path) -> None:
    made = make_matrix("outputs: [raw, gce]\n", locked=True)
    planned = plan_cells(made.cells, tmp_path / "out", empty_store)
    key = derive_keys(made.cells, empty_store)["one-gce"]
    raw, gce = mark_shared(planned, lambda wanted: wanted == key)
    assert (raw.state, gce.state) == ("to build", "in the cache")
    assert "one-gce  in the cache" in format_plan([raw, gce], 1)


def test_a_cell_that_is_refused_leaves_the_others_alone(
    make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path
) -> None:
    made = make_matrix("features: {plain: [], wrong: [nothing]}\n", locked=True)
    plain, wrong = plan_cells(made.cells, tmp_path / "out", empty_store)
    assert plain.state == "to build"
    assert wrong.state == REFUSED
    assert "there is no feature 'nothing'" in wrong.reason
    text = "\n".join(format_plan([plain, wrong], 2))
    assert "one-wrong  refused" in text
    assert text.endswith("2 cells: 1 to build, 1 refused; 2 of which nobody knows how long they take")


def test_earlier_runs_say_how_long_it_will_take(make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = make_matrix("outputs: [raw, gce, aws]\n", locked=True)
    stages = {"packages": 8.0, "seal": 1.0}
    write_outcome(out / "one-raw", "build", Outcome(0, 12.0, stages=stages))
    write_outcome(out / "one-gce", "build", Outcome(0, 5.0, stages={"seal": 1.0}))
    raw, gce, aws = plan_cells(made.cells, out, empty_store)
    assert raw.seconds == 12.0  # all its stages, and 3 s for the rest
    assert gce.seconds == 4.0  # the stages are made by the first
    assert aws.seconds == 3.0  # as the one of this definition that did most
    assert raw.last is not None
    assert raw.last["build"].stages == stages


def test_a_thousand_cells_are_planned_in_five_seconds(
    make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path
) -> None:
    """Of processor time: the machine may have more to do."""
    sets = "".join(f"  v{number}: {{place: p{number}}}\n" for number in range(25))
    outputs = "[raw, qcow2, gce, aws, azure]"
    text = f"arch: [amd64, arm64]\noutputs: {outputs}\nvariables:\n{sets}"
    made = make_matrix(text, ("one", "two", "three", "four"), locked=True)
    for name in ("one", "two", "three", "four"):
        write_lock(tmp_path / f"{name}.yaml", tmp_path / f"{name}.arm64.lock", Variation(Arch.ARM64))
    assert len(made.cells) == 1000
    started = time.process_time()
    planned = plan_cells(made.cells, tmp_path / "out", empty_store)
    assert time.process_time() - started < 5.0
    assert {row.state for row in planned} == {"to build"}


# --- running ---------------------------------------------------------------------------------------


def make_rows(make_matrix: MakeMatrix, **claims: str) -> list[PlannedCell]:
    """A row for each name, which makes what is named by the letters."""
    (cell,) = make_matrix("").cells
    return [PlannedCell(replace(cell, id=name), "to build", claims=frozenset(what)) for name, what in claims.items()]


def test_a_cell_waits_for_what_another_makes_and_then_finds_it(make_matrix: MakeMatrix) -> None:
    a, b, c = make_rows(make_matrix, a="xy", b="yz", c="z")
    assert choose_next([a, b, c], [], set()) is a
    assert choose_next([b, c], [a], set()) is c
    assert choose_next([b], [a], set()) is None
    assert choose_next([b], [c], {"z"}) is b


class FakeCrew(Crew):
    """Works without processes, and looks at who works beside whom."""

    def prepare(self, work: Callable[[str], Outcome]) -> FakeCrew:
        self.work, self.beside, self.lock = work, set[frozenset[str]](), threading.Lock()
        self.now: set[str] = set()
        return self

    def run_cell(self, row: PlannedCell) -> Outcome:
        with self.lock:
            self.now.add(row.cell.id)
            self.beside.add(frozenset(self.now))
        try:
            return self.work(row.cell.id)
        finally:
            with self.lock:
                self.now.remove(row.cell.id)


def make_crew(tmp_path: Path, work: Callable[[str], Outcome]) -> FakeCrew:
    return FakeCrew(lambda _: [], "build", tmp_path, QuietConsole()).prepare(work)


def test_a_cell_that_fails_stops_no_other(
    make_matrix: MakeMatrix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(make_matrix, a="x", b="x", c="x")
    crew = make_crew(tmp_path, lambda name: Outcome(4 if name == "a" else 0, 1.0, "mkfs failed"))
    crew.console = PlainConsole()
    outcomes = run_cells(rows, crew, jobs=2)
    assert {name: outcome.status for name, outcome in outcomes.items()} == {"a": 4, "b": 0, "c": 0}
    assert "warning: a failed with status 4: mkfs failed" in capsys.readouterr().err


def test_the_same_work_is_never_done_twice_at_once(make_matrix: MakeMatrix, tmp_path: Path) -> None:
    rows = make_rows(make_matrix, a="x", b="x", c="y", d="y")
    met = threading.Barrier(2)
    first = iter([True, True, False, False])  # two are there at the same time, or the test hangs

    def work(name: str) -> Outcome:
        if next(first):
            met.wait(60)
        return Outcome(0, 1.0)

    crew = make_crew(tmp_path, work)
    run_cells(rows, crew, jobs=4)
    assert frozenset("ab") not in crew.beside
    assert frozenset("cd") not in crew.beside


def test_an_interrupt_ends_all_cells_and_begins_none(make_matrix: MakeMatrix, tmp_path: Path) -> None:
    rows = make_rows(make_matrix, a="x", b="y", c="z")
    ended: list[str] = []

    def work(name: str) -> Outcome:
        raise KeyboardInterrupt

    crew = make_crew(tmp_path, work)
    crew.end = partial(ended.append, "ended")  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        run_cells(rows, crew, jobs=1)
    assert ended == ["ended"]
    assert crew.beside == {frozenset("a")}


def test_a_cell_that_begins_while_all_are_ended_is_ended_too(
    make_matrix: MakeMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(lambda _: ["build"], "build", tmp_path / "out", QuietConsole())
    ending = threading.Thread(target=crew.end)

    class Process:
        """Is ended in the moment in which it begins."""

        def __init__(self, *_: object, **_named: object) -> None:
            self.stdin, self.ended = io.BytesIO(), threading.Event()
            ending.start()
            ending.join(0.2)

        def terminate(self) -> None:
            """It is asked, and then waited for by ``stop``."""

        def wait(self, _: float | None) -> int:
            assert self.ended.wait(5), "nobody ends it"
            return -15

    def stop(process: Process, patience: float = 0.0) -> None:
        process.ended.set()

    monkeypatch.setattr(processes.subprocess, "Popen", Process)
    monkeypatch.setattr(processes, "stop", stop)
    (row,) = make_rows(make_matrix, a="x")
    assert crew.run_cell(row).status == -15
    ending.join(5)
    assert crew.run_cell(row).status == 130


def test_the_exit_code_is_that_of_the_failures() -> None:
    statuses = [(0, 0), (0, 6, 6), (2, 6), (0, 143), (-9,)]
    assert [choose_status(codes) for codes in statuses] == [0, 6, 1, 1, 1]


def test_as_many_cells_at_once_as_memory_bears() -> None:
    assert count_jobs(7) == 7
    assert count_jobs(None, memory=1 << 30) == 1
    assert count_jobs(None, memory=1 << 40) >= 1


# --- what stays ------------------------------------------------------------------------------------


def test_what_came_of_a_cell_is_read_back(tmp_path: Path) -> None:
    outcome = Outcome(4, 2.5, "mkfs failed", ("packages",), {"users": "name changed"}, {"users": 0.5}, 7, {"passed": 3})
    write_outcome(tmp_path, "build", outcome)
    write_outcome(tmp_path, "test", Outcome(0, 1.0))
    assert read_outcomes(tmp_path) == {"build": outcome, "test": Outcome(0, 1.0)}
    (tmp_path / "cell.json").write_text('{"schema": 1, "outcomes": {"build": {"status": "x"')
    assert read_outcomes(tmp_path) == {}


def test_the_page_and_the_json_have_every_cell(make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = make_matrix("outputs: [raw, gce]\n", locked=True)
    write_outcome(out / "one-gce", "build", Outcome(4, 2.0, "mkfs <failed>"))
    planned = plan_cells(made.cells, out, empty_store)
    page = draw_page(made.path, planned)
    assert "mkfs &lt;failed&gt;" in page
    assert "<b>failed</b>" in page
    rows = json.loads(json.dumps(make_results(made.path, planned)))["cells"]
    assert [(row["id"], row["outputs"], row["state"]) for row in rows] == [
        ("one-raw", ["raw"], "to build"),
        ("one-gce", ["gce"], "to build"),
    ]
    assert rows[1]["last"]["build"] == {"status": 4, "seconds": 2.0, "error": "mkfs <failed>"}


# --- the command -----------------------------------------------------------------------------------


def test_the_plan_changes_nothing_and_says_what_would_run(
    make_matrix: MakeMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_matrix("outputs: [raw, gce]\n", locked=True)
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    outcome = run_command(capsys, "matrix", "plan", "--only", "*-gce", "--jobs", "1")
    assert outcome.status == 0
    assert outcome.out.startswith("one-gce  to build, because it has not run before;")
    rows = json.loads(run_command(capsys, "matrix", "plan", "--json").out)["cells"]
    assert [row["id"] for row in rows] == ["one-raw", "one-gce"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_cell_that_is_not_the_same_the_second_time_is_named(
    make_matrix: MakeMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def verify(request: BuildRequest) -> Report:
        asked.append(request.store.tier)
        same, other = Compared("root", "a", "a"), Compared("raw", "a", "b")
        return Report({}, (same, other), (Difference("raw", path="/etc/date", what="content"),))

    monkeypatch.setattr("builder.verify.run.verify", verify)
    make_matrix("outputs: [raw]\n", locked=True)
    monkeypatch.chdir(tmp_path)
    run_command(capsys, "key", "keys", "--for", "cache")
    words = ("--cache", "cache", "--cache-key", "keys/cache.pub")
    assert run_command(capsys, "matrix", "verify", "--cell", "one-raw", *words).status == 7
    assert asked == [None]  # what a cache has made is no witness
    outcome = read_outcomes(tmp_path / "out/matrix/one-raw")["verify"]
    assert outcome.status == 7
    assert "raw: /etc/date: content" in outcome.error


def test_some_cells_leave_what_is_known_of_the_others(
    make_matrix: MakeMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_cell(crew: Crew, row: PlannedCell) -> Outcome:
        outcome = Outcome(4 if row.cell.id == "one-gce" else 0, 1.0)
        write_outcome(crew.out / row.cell.id, "build", outcome)
        return outcome

    make_matrix("outputs: [raw, gce, aws]\n", locked=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Crew, "run_cell", run_cell)
    assert run_command(capsys, "matrix", "build").status == 4
    for words in (("--only", "one-raw"), ("--failed",)):
        run_command(capsys, "matrix", "build", *words)
        cells = json.loads((tmp_path / "out/matrix/matrix.json").read_text())["cells"]
        states = {row["id"]: row["last"]["build"]["status"] for row in cells}
        assert states == {"one-raw": 0, "one-gce": 4, "one-aws": 0}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ("emit", "github", "--cell", "one-raw"),
            "--cell does one cell in this process\n  = '--only NAME' chooses cells",
        ),
        (("build", "--cell", "one-raw", "--on", "tcp://127.0.0.1:1"), "--cell does one cell in this process"),
        (("build", "--cell", "one-*"), "'one-*' names 2 cells, and this process does one\n  = '--only' takes globs"),
    ],
)
def test_one_cell_is_built_here_and_no_other(
    make_matrix: MakeMatrix,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    error: str,
) -> None:
    make_matrix("outputs: [raw, gce]\n", locked=True)
    monkeypatch.chdir(tmp_path)
    outcome = run_command(capsys, "matrix", *words)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {error}\n")
    assert not list(tmp_path.rglob("cell.json"))


def test_without_a_matrix_the_command_says_where_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_command(capsys, "matrix", "build")
    assert (outcome.status, outcome.err) == (
        2,
        "error: there is no matrix.yaml\n  = docs/scale.md says how to write one\n",
    )

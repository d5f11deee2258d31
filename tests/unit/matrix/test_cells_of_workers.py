"""How a cell ended that another machine has worked on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from builder.build.request import BuildRequest
from builder.build.shared import find_shared_cache
from builder.matrix.elsewhere import read_outcome
from builder.matrix.plan import PlannedCell
from builder.matrix.records import SCHEMA, Outcome
from builder.matrix.run import Crew
from builder.workers.task import ANOTHER_IMAGE, Done
from tests.support.command import run_command
from tests.unit.matrix.conftest import MakeMatrix

pytestmark = pytest.mark.unit

KEY = "0123"


def tell(**outcomes: Outcome) -> str:
    return json.dumps({"schema": SCHEMA, "outcomes": {name: asdict(each) for name, each in outcomes.items()}})


@pytest.mark.parametrize("on", [(), ("--on", "tcp://127.0.0.1:1")])
def test_an_image_that_a_worker_built_is_waited_for(
    make_matrix: MakeMatrix,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    on: tuple[str, ...],
) -> None:
    """However slow the way from the cache is: built here, it would cost what workers were to do."""
    argvs: list[Sequence[str]] = []
    patient: list[bool] = []

    def run_cell(crew: Crew, row: PlannedCell) -> Outcome:
        argvs.append(crew.argv(row))
        return Outcome(0, 1.0)

    def build_cell(_: PlannedCell, request: BuildRequest) -> Outcome:
        cache = find_shared_cache(request.store)
        patient.append(cache is not None and cache.is_patient)
        return Outcome(0, 1.0)

    make_matrix("outputs: [raw]\n", locked=True)
    monkeypatch.chdir(tmp_path)
    run_command(capsys, "key", "keys", "--for", "cache")
    monkeypatch.setattr(Crew, "run_cell", run_cell)
    monkeypatch.setattr("builder.matrix.work.build_cell", build_cell)
    monkeypatch.setattr("builder.cli.matrix.run_elsewhere", lambda *_: {"one-raw": Outcome(0, 1.0)})
    words = ("--cache", "cache", "--cache-sign-key", "keys/cache.key")
    assert run_command(capsys, "matrix", "build", *on, *words).status == 0
    (argv,) = argvs
    own = [word for word in argv[argv.index("matrix") :] if word != "--end-with-input"]
    assert run_command(capsys, *own).status == 0
    assert patient == [bool(on)]


def test_its_own_process_says_how_it_ended() -> None:
    built = Outcome(0, 3.0, key=KEY, size=7)
    tested = Outcome(5, 9.0, "test_a.py::test_one", tests={"failed": 1})
    assert read_outcome("build", Done(0, 4.0, told=tell(build=built), worker="w"), KEY).size == 7
    outcome = read_outcome("test", Done(5, 10.0, told=tell(build=built, test=tested), worker="w"), KEY)
    assert (outcome.error, outcome.worker) == ("test_a.py::test_one", "w")


def test_a_cell_whose_image_could_not_be_built_was_not_tested() -> None:
    outcome = read_outcome("test", Done(4, 4.0, "mke2fs failed", tell(build=Outcome(4, 3.0, "mke2fs failed"))), KEY)
    assert (outcome.status, outcome.error) == (4, "mke2fs failed")


def test_what_was_killed_is_known_from_outside() -> None:
    outcome = read_outcome("build", Done(1, 4.0, "killed", tell(build=Outcome(0, 3.0, key=KEY))), KEY)
    assert (outcome.status, outcome.error, outcome.seconds) == (1, "killed", 4.0)
    assert read_outcome("build", Done(5, 9.0, "took longer"), KEY).status == 5


def test_a_worker_that_builds_another_image_has_tested_nothing_of_ours() -> None:
    said = tell(build=Outcome(0, 3.0, key="4567"), test=Outcome(0, 9.0, tests={"passed": 1}))
    outcome = read_outcome("test", Done(0, 10.0, told=said), KEY)
    assert (outcome.status, outcome.error) == (3, ANOTHER_IMAGE)

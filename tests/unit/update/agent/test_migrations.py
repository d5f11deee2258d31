"""Units of a definition change the form of the state once for each version, and are told from which to which."""

from __future__ import annotations

import json

import pytest

from tests.unit.update.agent.conftest import FakeMachine
from update.agent.command import main
from update.agent.migrations import FIRST_BOOT, PENDING, STATE_VERSION

pytestmark = pytest.mark.unit


def start(machine: FakeMachine, version: str, *, migrations: bool = True) -> str | None:
    """A boot of a version, as far as its units: their environment, or ``None`` where they have nothing to do."""
    settings = {"arch": "amd64", "migrations": ["shop.service"] if migrations else []}
    (machine.root / "usr/lib/build-os/updates.json").write_text(json.dumps(settings))
    machine.boot(version, "b" * 32)
    assert main(["boot"], machine.host) == 0
    if migrations:
        assert main(["migrate"], machine.host) == 0
    pending = machine.root / PENDING.lstrip("/")
    return pending.read_text() if pending.exists() else None


def finish(machine: FakeMachine) -> None:
    assert main(["migrated"], machine.host) == 0
    assert not (machine.root / PENDING.lstrip("/")).exists()


def test_a_new_machine_has_nothing_to_change(machine: FakeMachine) -> None:
    flag = machine.root / FIRST_BOOT.lstrip("/")
    machine.boot("1", "a" * 32)
    flag.parent.mkdir(parents=True)
    flag.touch()
    assert main(["migrate"], machine.host) == 0
    assert not (machine.root / PENDING.lstrip("/")).exists()
    assert (machine.root / STATE_VERSION.lstrip("/")).read_text() == "1\n"
    assert start(machine, "1") is None
    assert start(machine, "2") == "UPDATE_FROM=1\nUPDATE_TO=2\n"


def test_it_is_done_until_it_has_succeeded_once(machine: FakeMachine) -> None:
    assert start(machine, "2") == "UPDATE_FROM=\nUPDATE_TO=2\n"
    assert start(machine, "2") == "UPDATE_FROM=\nUPDATE_TO=2\n"
    finish(machine)
    assert start(machine, "2") is None


def test_an_older_version_is_told_that_the_state_is_newer(machine: FakeMachine) -> None:
    start(machine, "2")
    finish(machine)
    assert start(machine, "1") == "UPDATE_FROM=2\nUPDATE_TO=1\n"


def test_after_a_version_that_knows_no_such_units_it_is_done_again(machine: FakeMachine) -> None:
    start(machine, "2")
    finish(machine)
    assert start(machine, "1", migrations=False) is None
    assert start(machine, "2") == "UPDATE_FROM=1\nUPDATE_TO=2\n"


def test_what_is_noted_and_makes_no_sense_is_not_passed_on(machine: FakeMachine) -> None:
    path = machine.root / STATE_VERSION.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1\nLD_PRELOAD=/tmp/x\n")
    assert start(machine, "2") == "UPDATE_FROM=\nUPDATE_TO=2\n"

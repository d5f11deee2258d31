"""The demo that runs, asked everything at once; then broken on purpose, to see that it would be noticed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.suite import gather
from tests.suite.machine import CHECKS, Facts
from tests.suite.machine_mutations import LIES, MUTATIONS
from vm.machine import Machine

DEMO = Path(__file__).parents[2] / "configs" / "machines" / "demo.yaml"
pytestmark = [pytest.mark.boot, pytest.mark.vm(config=DEMO, memory=1024)]
PROGRAM = Path(gather.__file__).read_text(encoding="utf-8")


def facts_of(vm: Machine) -> Facts:
    gathered: dict[str, Any] = json.loads(vm.succeed("python3", "-c", PROGRAM))
    return gathered


@pytest.fixture(scope="module")
def known() -> dict[str, Facts]:
    """The machine's facts, gathered once for all tests of this module."""
    return {}


@pytest.mark.vm(config=DEMO, memory=1024, isolation="shared")
@pytest.mark.parametrize("name", CHECKS)
def test_the_machine(vm: Machine, known: dict[str, Facts], name: str) -> None:
    if not known:
        known |= facts_of(vm)
    CHECKS[name](known)


def break_it(vm: Machine, *names: str) -> set[str]:
    """Break a machine, and say which checks fail."""
    for name in names:
        vm.succeed("/bin/sh", "-c", MUTATIONS[name].change)
    return CHECKS.failing(facts_of(vm))


@pytest.mark.vm(config=DEMO, memory=1024, isolation="shared")
@pytest.mark.parametrize("name", LIES)
def test_a_machine_that_says_otherwise_is_noticed_by_the_right_check_and_no_other(
    vm: Machine, known: dict[str, Facts], name: str
) -> None:
    if not known:
        known |= facts_of(vm)
    facts = copy.deepcopy(known)
    LIES[name].change(facts)
    assert CHECKS.failing(facts) == LIES[name].fails


def test_every_check_can_fail() -> None:
    assert set().union(*(each.fails for each in (*LIES.values(), *MUTATIONS.values()))) == set(CHECKS)


@pytest.mark.allow_console("ordering cycle")
def test_a_machine_broken_in_many_ways_is_noticed_in_just_those(vm: Machine) -> None:
    every = set().union(*(mutation.fails for mutation in MUTATIONS.values()))
    assert break_it(vm, *MUTATIONS) == every


@pytest.mark.slow
@pytest.mark.allow_console("ordering cycle")
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_machine_broken_in_one_way_is_noticed_by_the_right_check_and_no_other(vm: Machine, name: str) -> None:
    assert break_it(vm, name) == MUTATIONS[name].fails

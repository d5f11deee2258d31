"""The demo's root as it is built; then broken on purpose, to see that it would be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.definition.load import load
from builder.locking import make_lock_path
from builder.stages import list_stages
from builder.stages.plan import load_snapshot, make_plan
from builder.toolstree import derive_tools_key
from builder.tree.tree import Tree
from tests.suite import units
from tests.suite.tree import CHECKS
from tests.suite.tree_mutations import MUTATIONS, UNIT_MUTATIONS
from tests.support.machines import build

pytestmark = pytest.mark.image

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


@pytest.fixture(scope="module")
def root(demo: Path, store: Store) -> Tree:
    """The tree that the image was made of; made again if other builds have pushed it out of the store since."""
    build(DEMO, demo.parent, store)
    resolved = load(DEMO).resolved
    lock = Lock.load(make_lock_path(resolved.path))
    plan = make_plan(list_stages(resolved, lock), store, resolved.path, tools=derive_tools_key(lock.tools))
    return load_snapshot(store, plan.key)


@pytest.mark.parametrize("name", CHECKS)
def test_the_root(root: Tree, name: str) -> None:
    CHECKS[name](root)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_root_is_noticed_by_the_right_check_and_no_other(root: Tree, name: str) -> None:
    broken = root.copy()
    MUTATIONS[name].change(broken)
    assert CHECKS.failing(broken) == MUTATIONS[name].fails


@pytest.fixture(scope="module")
def judged(root: Tree, tools: Tools) -> units.Judged:
    """What systemd says of the units as they are built."""
    return units.judge(units.with_all_units(root), tools)


@pytest.mark.parametrize("name", units.CHECKS)
def test_the_units(judged: units.Judged, name: str) -> None:
    units.CHECKS[name](judged)


@pytest.mark.parametrize("name", UNIT_MUTATIONS)
def test_broken_units_are_noticed_by_the_right_check_and_no_other(root: Tree, tools: Tools, name: str) -> None:
    broken = units.with_all_units(root)
    UNIT_MUTATIONS[name].change(broken)
    found = CHECKS.failing(broken) | units.CHECKS.failing(units.judge(broken, tools))
    assert found == UNIT_MUTATIONS[name].fails


def test_every_check_can_fail() -> None:
    every = (*MUTATIONS.values(), *UNIT_MUTATIONS.values())
    assert set().union(*(mutation.fails for mutation in every)) == {*CHECKS, *units.CHECKS}

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
from builder.stages.plan import Plan, load_snapshot, make_plan
from builder.toolstree import derive_tools_key
from builder.tree.tree import Tree
from tests.suite import units
from tests.suite.tree import CHECKS
from tests.suite.tree_mutations import MUTATIONS, UNIT_MUTATIONS
from tests.support.machines import build

pytestmark = pytest.mark.image

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


SYSTEM = "/usr/lib/systemd/system"
# Units of ours in place of systemd's, since a drop-in takes no order back: the lines that theirs has and ours has not,
# and the other way round.
IN_PLACE = {
    "systemd-resolved.service": (
        {
            "After=systemd-sysctl.service systemd-sysusers.service",
            "Before=sysinit.target network.target nss-lookup.target shutdown.target initrd-switch-root.target",
            "WantedBy=sysinit.target",
        },
        {
            "After=sysinit.target systemd-sysctl.service systemd-sysusers.service",
            "Before=network.target nss-lookup.target shutdown.target initrd-switch-root.target",
            "WantedBy=multi-user.target",
        },
    ),
    "systemd-user-sessions.service": (
        {"After=remote-fs.target nss-user-lookup.target network.target home.mount"},
        {"After=remote-fs.target nss-user-lookup.target home.mount"},
    ),
}


@pytest.fixture(scope="module")
def plan(demo: Path, store: Store) -> Plan:
    """The stages of the demo, whose trees are in the store; made again if other builds have pushed them out since."""
    build(DEMO, demo.parent, store)
    resolved = load(DEMO).resolved
    lock = Lock.load(make_lock_path(resolved.path))
    return make_plan(list_stages(resolved, lock), store, resolved.path, tools=derive_tools_key(lock.tools))


@pytest.fixture(scope="module")
def root(plan: Plan, store: Store) -> Tree:
    """The tree that the image was made of."""
    return load_snapshot(store, plan.key)


@pytest.mark.parametrize("name", CHECKS)
def test_the_root(root: Tree, name: str) -> None:
    CHECKS[name](root)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_root_is_noticed_by_the_right_check_and_no_other(root: Tree, name: str) -> None:
    broken = root.copy()
    MUTATIONS[name].change(broken)
    assert CHECKS.failing(broken) == MUTATIONS[name].fails


@pytest.mark.parametrize("unit", IN_PLACE)
def test_a_unit_in_place_of_systemds_is_like_it_but_for_what_is_said(
    plan: Plan, root: Tree, store: Store, unit: str
) -> None:
    packages = next(planned.key for planned in plan.stages if planned.stage.name == "packages")
    theirs, ours = (
        [line for line in tree.read_text(f"{SYSTEM}/{unit}").splitlines() if line and not line.startswith("#")]
        for tree in (load_snapshot(store, packages), root)
    )
    only_theirs, only_ours = IN_PLACE[unit]
    assert ({*theirs} - {*ours}, {*ours} - {*theirs}) == (only_theirs, only_ours)
    assert len(theirs) == len(ours)


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

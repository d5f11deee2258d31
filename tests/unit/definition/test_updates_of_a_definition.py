"""``updates`` in a definition: what it may say, and what becomes of it in the image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.errors import InputError
from builder.definition.load import load
from builder.definition.update_models import Updates
from builder.stages.updates import UNITS, make_target, order_migrations
from builder.tree.node import make_file
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
HEAD = 'name: a\nversion: "1"\n'


def test_an_image_that_takes_no_updates_cannot_say_how(project: Project) -> None:
    path = project.write("os.yaml", f"{HEAD}updates: {{tries: 2}}\n")
    with pytest.raises(InputError) as caught:
        load(path, shipped=ROOT)
    assert "os.yaml:3:1: nothing in this image takes updates" in str(caught.value)
    assert "add 'updates' to features" in str(caught.value)


def test_without_a_word_an_image_with_the_feature_has_what_is_usual(project: Project) -> None:
    path = project.write("os.yaml", f"{HEAD}features: [base, updates]\n")
    assert load(path, shipped=ROOT).resolved.updates == Updates()
    assert load(project.write("os.yaml", HEAD), shipped=ROOT).resolved.updates is None


TWICE = "health: [a.service, a.service]"


@pytest.mark.parametrize(
    "said",
    ["tries: 0", "tries: 10", "boot_minutes: 0", "health: [web]", TWICE, "migrations: [a.target]", "url_: x"],
)
def test_what_makes_no_sense_is_refused_at_its_line(project: Project, said: str) -> None:
    path = project.write("os.yaml", f"{HEAD}features: [base, updates]\nupdates:\n  {said}\n")
    with pytest.raises(InputError) as caught:
        load(path, shipped=ROOT)
    assert "os.yaml:5:" in str(caught.value)


def test_a_boot_is_complete_when_the_definition_s_units_are_active() -> None:
    assert make_target(Updates(boot_minutes=5, health=("web.service",))) == (
        "[Unit]\nJobTimeoutSec=5min\nRequires=web.service\nAfter=web.service\n"
    )


def test_what_changes_the_state_comes_before_what_works_with_it() -> None:
    tree = Tree()
    for unit in ("one.service", "two.service", "shop.service", "many@.service"):
        tree.put(f"{UNITS}/{unit}", make_file("", origin="test"))
    order_migrations(tree, ("one.service", "two.service"), ("shop", "many"))

    def read(unit: str) -> list[str]:
        return tree.read_text(f"{UNITS}/{unit}.d/60-migrations.conf").splitlines()

    assert read("two.service") == [
        "[Unit]",
        "Requires=update-migrate.service one.service",
        "After=update-migrate.service one.service",
        "Before=update-migrated.service",
        "ConditionPathExists=/run/update/migration",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "EnvironmentFile=/run/update/migration",
    ]
    assert read("update-migrated.service")[1] == "Requires=one.service two.service"
    waits = ["[Unit]", "Requires=update-migrated.service", "After=update-migrated.service"]
    assert read("shop.service") == read("many@.service") == waits
    assert "Requires=update-migrated.service" in make_target(Updates(migrations=("one.service",)))


def test_a_unit_that_the_image_has_not_cannot_change_the_state() -> None:
    with pytest.raises(InputError, match=r"the image has no unit one\.service"):
        order_migrations(Tree(), ("one.service",), ())

"""Slips that systemd or a mirror would pass over are shown at the user's line, with what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.core.errors import InputError
from builder.core.suggest import find_nearest, make_suggestion
from builder.definition.where import point_at_names

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

SYSTEM = "name: demo\nversion: 1.0.0\n"
UNIT = "[Unit]\nDescription=x\nAfter={after}\n[Service]\nExecStart=/usr/bin/true\n[Install]\nWantedBy={wanted}\n"


@pytest.mark.parametrize(
    ("after", "wanted", "complaint"),
    [
        ("network.target", "multi-user.taget", "7:1: WantedBy=multi-user.taget: this is no unit's name"),
        ("network.tagret x.service", "multi-user.target", "3:1: After=network.tagret: this is no unit's name"),
        ("network", "multi-user.target", "3:1: After=network: this is no unit's name"),
    ],
)
def test_names_that_no_unit_can_have_are_shown_at_their_line(
    project: Project, after: str, wanted: str, complaint: str
) -> None:
    project.write("units/app/app.service", UNIT.format(after=after, wanted=wanted))
    text = project.refusal(SYSTEM + "units: [app]\n")
    assert text.startswith(f"units/app/app.service:{complaint}")
    assert text.count("this is no unit's name") == 1


def test_the_name_that_was_meant_is_said(project: Project) -> None:
    project.write("units/app/app.service", UNIT.format(after="a.service", wanted="multi-user.taget"))
    assert "did you mean 'multi-user.target'?" in project.refusal(SYSTEM + "units: [app]\n")


def test_names_that_units_have_are_not_complained_about(project: Project) -> None:
    after = "a@%i.service dev-sda.device x.scope -.mount foo.container %n var-lib.mount system-\\x2d.slice"
    project.write("units/app/app.service", UNIT.format(after=after, wanted="multi-user.target"))
    assert project.load(SYSTEM + "units: [app]\n").warnings == ()


def test_a_unit_in_two_directories_is_refused_at_the_second(project: Project) -> None:
    unit = UNIT.format(after="a.service", wanted="multi-user.target")
    for name in ("units/one/app.service", "units/two/app.service.j2", "units/two/other.service", "units/one/README.md"):
        project.write(name, unit)
    project.write("units/two/README.md", "notes")
    text = project.refusal(SYSTEM + "units: [one, two]\n")
    assert "'app.service' is in the units 'one' as well, and an image has one" in text
    assert "$.units[1]" in text
    assert text.count("as well") == 1
    project.write("units/two/app.service.d/10-mine.conf", "[Service]\nRestart=always\n")
    (project.root / "units/two/app.service.j2").unlink()
    assert project.load(SYSTEM + "units: [one, two]\n").warnings == ()


@pytest.mark.parametrize("text", [SYSTEM + "suite: bookwork\n", SYSTEM + "suite: jammy\n"])
def test_a_suite_that_has_no_keys_is_refused_before_a_mirror_is_asked(project: Project, text: str) -> None:
    said = project.refusal(text)
    assert "$.suite" in said
    assert ("did you mean 'bookworm'?" if "bookwork" in text else "they are trixie, forky") in said


def test_names_that_only_the_archive_knows_to_be_wrong_are_shown_at_their_line(project: Project) -> None:
    project.write("features/web.yaml", "description: web\npackages: [nginxx]\n")
    loaded = project.load(SYSTEM + "features: [web]\npackages: [basj=1, good]\npresets: {enable: [nope.service]}\n")
    names = {"basj": "there is no package 'basj'", "nginxx": "there is no 'nginxx'", "nope.service": "no such unit"}
    with pytest.raises(InputError) as caught, point_at_names(loaded.resolved):
        raise InputError("some names are wrong", hint="look", names={**names, "odd": "from nowhere"})
    text = str(caught.value)
    assert "os.yaml:4:12: there is no package 'basj'" in text
    assert "os.yaml:5:20: no such unit" in text
    assert "features/web.yaml:2:12: there is no 'nginxx'" in text
    assert "from nowhere" in text
    with pytest.raises(InputError, match=r"^another\Z"), point_at_names(loaded.resolved):
        raise InputError("another")


def test_what_all_units_end_in_says_nothing_about_what_was_meant() -> None:
    known = ("ldconfig.service", "ngnix.service", "nginx.socket", "sshd.service")
    assert find_nearest("nginx.service", ("ldconfig.service", "sshd.service", "finalrd.service")) == []
    assert make_suggestion("nginx.service", known) == " (did you mean 'ngnix.service'?)"
    assert make_suggestion("nginx.service", ("nginx.socket", "ldconfig.service")) == " (did you mean 'nginx.socket'?)"
    assert make_suggestion("virtio_blk", ("virtio_blk_x",)) == " (did you mean 'virtio_blk_x'?)"

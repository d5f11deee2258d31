"""``include``: fragments merged under a config, and what is said about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from firstboot.config.butane import Surroundings
from firstboot.config.butane.encoding import encode_compactly
from firstboot.config.butane.files import LocalFiles
from firstboot.config.document import read
from firstboot.config.loaded import Document

pytestmark = pytest.mark.unit

BUILDOS = "variant: buildos\nversion: 1.0.0\n"


def document(text: str, directory: Path | None, **fragments: str) -> Document:
    for name, fragment in fragments.items():
        assert directory is not None
        (directory / f"{name}.yaml").write_text(fragment)
    return read(BUILDOS + text, "x", Surroundings(LocalFiles(directory), encode_compactly))


def said(found: Document) -> list[str]:
    return [f"{each.severity} {'.'.join(map(str, each.path))}: {each.message}" for each in found.problems]


def test_later_fragments_win_and_the_config_wins_over_all(tmp_path: Path) -> None:
    user = "passwd: {{users: [{{name: u, uid: {}, gecos: {}}}]}}\n"
    found = document(
        "include: [a.yaml, b.yaml]\npasswd: {users: [{name: u, uid: 3}]}\n",
        tmp_path,
        a=BUILDOS + user.format(1, "one") + "hostname: from-a\n",
        b="variant: fcos\nversion: 1.4.0\n" + user.format(2, "two"),
    )
    data = found.compile()
    assert data["passwd"]["users"] == [{"name": "u", "uid": 3, "gecos": "two"}]
    assert data["storage"]["files"][0]["path"] == "/etc/hostname"
    assert data["ignition"] == {"version": "3.6.0"}


def test_fragments_include_others_but_never_themselves(tmp_path: Path) -> None:
    nested = BUILDOS + "include: [b.yaml]\n"
    assert document("include: [a.yaml]\n", tmp_path, a=nested, b=BUILDOS + "timezone: UTC\n").compile()["storage"]
    circle = document("include: [a.yaml]\n", tmp_path, a=nested, b=BUILDOS + "include: [./a.yaml]\n")
    assert len(circle.errors) == 1
    assert "a.yaml -> b.yaml -> a.yaml" in circle.errors[0].message


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        ("variant: nothing\n", "error include.0: a.yaml:1:10: the variant 'nothing' is not supported"),
        (BUILDOS + "hostname: -x\n", "error include.0: a.yaml:3:11: this is not a host name"),
        ("variant: fcos\nversion: 1.4.0\nbogus: 1\n", "warning include.0: a.yaml:3:1: unknown setting, ignored"),
        (
            "variant: fcos\nversion: 1.8.0-experimental\n",
            "error include.0: 'a.yaml' is of Ignition 3.7.0-experimental, which is later than this config",
        ),
    ],
)
def test_what_is_wrong_in_a_fragment_is_told_with_its_line(tmp_path: Path, fragment: str, message: str) -> None:
    assert said(document("include: [a.yaml]\n", tmp_path, a=fragment)) == [message]


def test_what_only_makes_no_sense_together_names_the_fragment_too(tmp_path: Path) -> None:
    found = document(
        "include: [a.yaml]\nstorage: {links: [{path: /a, target: b}]}\n",
        tmp_path,
        a=BUILDOS + "storage:\n  files:\n    - path: /a/b\n",
    )
    assert said(found) == ["error include: a.yaml:5:7: '/a/b' is below '/a', which this config makes a link"]


@pytest.mark.parametrize("text", ["include: 3\n", "include: [1]\n", "include: [missing.yaml]\n", "include: [../x]\n"])
def test_what_cannot_be_included_is_refused(tmp_path: Path, text: str) -> None:
    assert [each.path[0] for each in document(text, tmp_path).errors] == ["include"]


def test_a_machine_has_no_fragments() -> None:
    found = read(BUILDOS + "include: [a.yaml]\n", "x")
    assert "build-os config compile" in (found.errors[0].hint or "")

"""What a build says of its root, and that it is looked at as the machine will find it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.core.errors import InputError
from builder.outputs.facts import make_facts
from builder.provisioning.image_facts import ImagePrograms, ImageRoot, read_facts
from builder.tree.tree import Tree
from firstboot.apply.accounts import Names
from tests.unit.provisioning.conftest import LAYOUT, Build

pytestmark = pytest.mark.unit


@pytest.fixture
def root(build: Build) -> ImageRoot:
    return ImageRoot(read_facts(build()))


def test_the_same_tree_gives_the_same_facts_in_whatever_order_it_was_made(image_tree: Tree) -> None:
    backwards = Tree()
    for path, node in reversed(list(image_tree.walk())):
        if path != "/":
            backwards.put(path, node)
    assert make_facts(backwards, LAYOUT, "x") == make_facts(image_tree, LAYOUT, "x")


def test_paths_are_followed_as_the_machine_follows_them(root: ImageRoot) -> None:
    assert root.see("/bin/bash").path == "/usr/bin/bash"
    assert root.see("/home/core/.ssh").path == "/var/home/core/.ssh"
    assert root.see("/etc/../../etc/./motd").path == "/etc/motd"
    assert root.see("/bin").target == "usr/bin"
    assert root.has("/bin/sh")
    assert not root.has("/bin/zsh")
    with pytest.raises(NotADirectoryError):
        root.see("/etc/motd/x")


def test_kinds_and_modes_are_told_apart(root: ImageRoot) -> None:
    assert root.see("/etc/motd").is_file
    assert root.see("/etc").is_directory
    secret, program = root.see("/etc/secret").stat, root.see("/usr/bin/cat").stat
    assert secret is not None
    assert program is not None
    assert (secret.st_mode & 0o777, program.st_mode & 0o777) == (0o700, 0o755)


def test_what_can_be_written_is_what_the_initrd_makes_writable(root: ImageRoot) -> None:
    read_only = [path for path in ("/etc/x", "/var/x", "/home/x", "/usr/x", "/x", "/tmp/x") if root.see(path).read_only]
    assert read_only == ["/usr/x", "/x", "/tmp/x"]


def test_what_the_state_partition_hides_is_not_there(root: ImageRoot) -> None:
    assert not root.has("/var/lib/dpkg/status")


def test_texts_that_decide_are_there_and_others_are_not_made_up(root: ImageRoot) -> None:
    assert Names(root).users["www"].uid == 33
    assert dict(root.facts.list_units())["timesync.service"] == "[Service]\nExecStart=/usr/bin/cat\n"
    with pytest.raises(OSError, match="not among the facts"):
        root.read("/etc/motd")


def test_programs_and_enabled_units_are_the_images(root: ImageRoot) -> None:
    programs = ImagePrograms.make(root)
    assert programs.find("cat") == "/usr/bin/cat"
    assert programs.find("mdadm") is None
    asked = [
        programs.run_for_status(["systemctl", "is-enabled", "--", name])[0] for name in ("tmp.mount", "idle.mount")
    ]
    assert asked == [0, 1]


def test_a_build_without_facts_says_what_to_do(build: Build) -> None:
    path = build()
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "artifacts": {}}))
    with pytest.raises(InputError, match="no facts") as caught:
        read_facts(path)
    assert "build-os build" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99}', '{"schema": 1, "paths": {}}'])
def test_facts_that_are_none_are_refused(build: Build, text: str) -> None:
    path = build()
    facts = path.with_name("small.facts.json")
    facts.write_text(text)
    data = json.loads(path.read_text())
    data["artifacts"]["facts"]["size"] = len(text)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"small\.facts\.json"):
        read_facts(path)
    assert Path(facts).read_text() == text

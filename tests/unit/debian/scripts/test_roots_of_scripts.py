"""What is read back from the directory that a script was run over."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.sandbox import Owner
from builder.core.tools import Tools
from builder.debian.scripts.sandbox.root import LargeFiles, ScriptRoot
from builder.tree.node import Node, make_directory, make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

STAFF, MAIL = 50, 8


@pytest.fixture
def root(tmp_path: Path) -> Iterator[ScriptRoot]:
    """With a directory that is setgid, and one that is not."""
    tree = Tree()
    tree.put("/shared", make_directory(0o2775, gid=STAFF, origin="package:a"))
    tree.put("/shared/old", make_file("old\n", origin="package:a"))
    tree.put("/plain/moved", make_file("moved\n", origin="package:a"))
    tree.put("/plain/tree/file", make_file("file\n", origin="package:a"))
    tools, large = Tools(tmp_path / "tools", QuietConsole()), LargeFiles(tmp_path / "large")
    with ScriptRoot.make(tools, tmp_path, tree, {}, large, "package:a") as made:
        yield made


def give(root: ScriptRoot, path: str, uid: int, gid: int, mode: int) -> None:
    """As faked notes it when a script calls chown or chmod."""
    status = (root.root / path).lstat()
    root.sandbox.owners[status.st_ino] = Owner(uid, gid, stat.S_IFMT(status.st_mode) | mode)


def changes(root: ScriptRoot) -> Mapping[str, tuple[int, int, str]]:
    found = {path: node for path, node in root.list_changes("package:a").items() if isinstance(node, Node)}
    return {path: (node.uid, node.gid, f"{node.mode:04o}") for path, node in found.items()}


def make(place: Path, text: str = "x") -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def test_what_is_made_in_a_setgid_directory_gets_its_group_and_directories_the_bit(root: ScriptRoot) -> None:
    make(root.root / "shared/new/below/file")
    (root.root / "shared/link").symlink_to("new")
    make(root.root / "plain/new/file")
    give(root, "shared/new", 0, 0, 0o750)
    assert changes(root) == {
        "/shared/new": (0, STAFF, "2750"),
        "/shared/new/below": (0, STAFF, "2755"),
        "/shared/new/below/file": (0, STAFF, "0644"),
        "/shared/link": (0, STAFF, "0777"),
        "/plain/new": (0, 0, "0755"),
        "/plain/new/file": (0, 0, "0644"),
    }


def test_below_a_setgid_directory_that_the_script_made_itself_too(root: ScriptRoot) -> None:
    make(root.root / "plain/mails/box")
    give(root, "plain/mails", 0, MAIL, 0o2775)
    assert changes(root) == {"/plain/mails": (0, MAIL, "2775"), "/plain/mails/box": (0, MAIL, "0644")}


def test_what_was_given_to_somebody_keeps_its_group_and_directories_get_the_bit_nevertheless(root: ScriptRoot) -> None:
    make(root.root / "shared/given/file")
    give(root, "shared/given", 7, MAIL, 0o755)
    make(root.root / "shared/root_s")
    give(root, "shared/root_s", 7, 0, 0o600)
    assert changes(root) == {
        "/shared/given": (7, MAIL, "2755"),
        "/shared/given/file": (0, MAIL, "0644"),
        "/shared/root_s": (7, 0, "0600"),
    }


@pytest.mark.parametrize(
    ("change", "path", "mode"),
    [
        (lambda root: (root / "plain/moved").rename(root / "shared/moved"), "/shared/moved", "0644"),
        (lambda root: (root / "plain/tree").rename(root / "shared/tree"), "/shared/tree", "0755"),
        (lambda root: os.link(root / "plain/moved", root / "shared/moved"), "/shared/moved", "0644"),
        (lambda root: (root / "shared/old").write_text("changed"), "/shared/old", "0644"),
        (lambda root: make(root / "shared/.old").rename(root / "shared/old"), "/shared/old", "0644"),
    ],
    ids=["file moved", "directory moved", "linked", "written", "replaced"],
)
def test_what_was_there_before_keeps_its_group(
    change: Callable[[Path], object], path: str, mode: str, root: ScriptRoot
) -> None:
    change(root.root)
    assert changes(root)[path] == (0, 0, mode)


def test_a_new_file_is_new_though_it_has_the_number_of_one_that_is_gone(root: ScriptRoot) -> None:
    gone = (root.root / "plain/moved").stat()
    seen = dict(root.before)
    (root.root / "plain/moved").unlink()
    made = make(root.root / "shared/new")
    number = made.stat().st_ino
    root.before["/plain/moved"] = type(seen["/plain/moved"])(number, 0, 0, 0, gone.st_mode, gone.st_mtime_ns)
    assert changes(root)["/shared/new"] == (0, STAFF, "0644")

"""Part of a tree as a real directory, and what comes back when a program has been at it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from builder.tree.materialise import materialise, read_tree
from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree, TreeError

pytestmark = pytest.mark.unit


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    tree.put("/lib", make_symlink("usr/lib", origin="package:base"))
    tree.put("/usr/bin/su", make_file("su", 0o4755, uid=0, gid=7, origin="package:login"))
    tree.put("/usr/lib/libc.so", make_symlink("libc.so.6", origin="package:libc6"))
    tree.put("/usr/lib/libc.so.6", make_file(b"\x7fELF", 0o644, origin="package:libc6"))
    tree.put("/etc", make_directory(origin="package:base"))
    tree.put("/etc/shadow", make_file("root:*:\n", 0o640, gid=42, origin="package:passwd"))
    tree.put("/etc/empty", make_directory(0o700, uid=3, origin="package:a"))
    return tree


def test_only_what_was_named_is_written(tree: Tree, tmp_path: Path) -> None:
    materialise(tree, tmp_path, ["/etc/shadow", "/not/there"])
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["etc", "etc/shadow", "lib"]
    assert (tmp_path / "etc/shadow").read_text() == "root:*:\n"


def test_a_path_through_a_link_is_written_where_the_link_leads(tree: Tree, tmp_path: Path) -> None:
    materialise(tree, tmp_path, ["/lib/libc.so.6"])
    assert (tmp_path / "lib").readlink() == Path("usr/lib")
    assert (tmp_path / "usr/lib/libc.so.6").read_bytes() == b"\x7fELF"
    assert (tmp_path / "lib/libc.so.6").exists()


def test_programs_are_executable_and_never_privileged(tree: Tree, tmp_path: Path) -> None:
    materialise(tree, tmp_path, ["/usr/bin", "/etc"])
    assert stat.S_IMODE((tmp_path / "usr/bin/su").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "etc/shadow").stat().st_mode) == 0o640


def test_devices_are_left_out_and_stay_in_the_tree(tree: Tree, tmp_path: Path) -> None:
    tree.put("/dev/null", Node(Kind.CHARACTER, 0o666, device=(1, 3)))
    tree.put("/dev/pipe", Node(Kind.FIFO, 0o600))
    part = materialise(tree, tmp_path, ["/dev"])
    assert list((tmp_path / "dev").iterdir()) == []
    assert part.absorb(tree, origin="stage:x") == []
    assert tree.require("/dev/null").device == (1, 3)
    assert "/dev/pipe" in tree


def test_nothing_done_means_nothing_changed(tree: Tree, tmp_path: Path) -> None:
    before = tree.copy()
    part = materialise(tree, tmp_path, ["/usr", "/etc"])
    os.utime(tmp_path / "etc/shadow", (1, 1))
    assert part.absorb(tree, origin="stage:x") == []
    assert tree == before


def test_new_things_come_back_owned_by_root(tree: Tree, tmp_path: Path) -> None:
    part = materialise(tree, tmp_path, ["/etc"])
    (tmp_path / "etc/new").mkdir(mode=0o755)
    (tmp_path / "etc/new/file").write_text("x")
    (tmp_path / "etc/new/file").chmod(0o600)
    (tmp_path / "etc/new/link").symlink_to("/dangling/target")
    assert sorted(part.absorb(tree, origin="stage:x")) == ["/etc/new", "/etc/new/file", "/etc/new/link"]
    found = tree.require("/etc/new/file")
    assert (found.mode, found.uid, found.gid, found.origin) == (0o600, 0, 0, "stage:x")
    assert tree.require("/etc/new/link", follow=False).target == "/dangling/target"
    assert tree.require("/etc/new").kind is Kind.DIRECTORY


def test_a_changed_file_keeps_its_owner_and_origin(tree: Tree, tmp_path: Path) -> None:
    part = materialise(tree, tmp_path, ["/etc"])
    (tmp_path / "etc/shadow").write_text("root:!:\n")
    assert part.absorb(tree, origin="stage:x") == ["/etc/shadow"]
    found = tree.require("/etc/shadow")
    assert tree.read("/etc/shadow") == b"root:!:\n"
    assert (found.mode, found.gid, found.origin) == (0o640, 42, "package:passwd")


def test_a_change_of_the_same_length_is_seen(tree: Tree, tmp_path: Path) -> None:
    part = materialise(tree, tmp_path, ["/etc"])
    (tmp_path / "etc/shadow").write_text("root:!:\n")
    os.utime(tmp_path / "etc/shadow", (0, 0))
    assert part.absorb(tree, origin="stage:x") == ["/etc/shadow"]


def test_a_link_with_another_target_and_a_link_that_became_a_file_come_back(tree: Tree, tmp_path: Path) -> None:
    tree.put("/usr/lib/other.so", make_symlink("x", origin="package:a"))
    part = materialise(tree, tmp_path, ["/usr/lib"])
    (tmp_path / "usr/lib/libc.so").unlink()
    (tmp_path / "usr/lib/libc.so").symlink_to("libc.so.7")
    (tmp_path / "usr/lib/other.so").unlink()
    (tmp_path / "usr/lib/other.so").write_text("a file now")
    assert sorted(part.absorb(tree, origin="stage:x")) == ["/usr/lib/libc.so", "/usr/lib/other.so"]
    assert tree.require("/usr/lib/libc.so", follow=False).target == "libc.so.7"
    assert tree.read("/usr/lib/other.so") == b"a file now"


def test_what_is_gone_is_removed_with_all_below(tree: Tree, tmp_path: Path) -> None:
    tree.put("/etc/d/e/f", make_file("x", origin="package:a"))
    part = materialise(tree, tmp_path, ["/etc"])
    (tmp_path / "etc/d/e/f").unlink()
    (tmp_path / "etc/d/e").rmdir()
    (tmp_path / "etc/d").rmdir()
    assert part.absorb(tree, origin="stage:x") == ["/etc/d", "/etc/d/e", "/etc/d/e/f"]
    assert "/etc/d" not in tree
    assert "/etc/shadow" in tree


def test_only_what_was_asked_for_is_taken_over(tree: Tree, tmp_path: Path) -> None:
    part = materialise(tree, tmp_path, ["/usr", "/etc"])
    (tmp_path / "usr/lib/made-on-the-way").write_text("x")
    (tmp_path / "usr/bin/su").unlink()
    (tmp_path / "etc/new").write_text("x")
    (tmp_path / "etcetera").write_text("x")
    assert part.absorb(tree, origin="stage:x", below="/etc") == ["/etc/new"]
    assert "/usr/lib/made-on-the-way" not in tree
    assert "/usr/bin/su" in tree
    assert "/etcetera" not in tree


def test_one_file_can_be_taken_over(tree: Tree, tmp_path: Path) -> None:
    part = materialise(tree, tmp_path, ["/etc"])
    (tmp_path / "etc/ld.so.cache").write_text("x")
    (tmp_path / "etc/ld.so.cache~").write_text("x")
    assert part.absorb(tree, origin="stage:x", below="/etc/ld.so.cache") == ["/etc/ld.so.cache"]


def test_a_socket_that_a_program_left_is_an_error(tree: Tree, tmp_path: Path) -> None:
    part = materialise(tree, tmp_path, ["/etc"])
    os.mkfifo(tmp_path / "etc/pipe")
    with pytest.raises(TreeError, match="etc/pipe is neither file, directory nor link"):
        part.absorb(tree, origin="stage:x")


def test_a_users_directory_loses_what_the_umask_did(tmp_path: Path) -> None:
    for name, mode in (("script", 0o775), ("secret", 0o600), ("own", 0o700), ("odd", 0o4711)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    (tmp_path / "dir").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("script")
    tree = read_tree(tmp_path, origin="overlay:web")
    modes = {path: oct(node.mode) for path, node in tree.walk() if path != "/"}
    assert modes == {
        "/dir": "0o755",
        "/link": "0o777",
        "/odd": "0o755",
        "/own": "0o755",
        "/script": "0o755",
        "/secret": "0o644",
    }
    assert {node.origin for path, node in tree.walk() if path != "/"} == {"overlay:web"}


def test_names_that_are_not_utf8_survive_the_round_trip(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "caf\udce9").write_text("x")
    (tmp_path / "in" / "l").symlink_to("caf\udce9")
    tree = read_tree(tmp_path / "in", origin="overlay:a")
    materialise(tree, tmp_path / "out", ["/"])
    assert {os.fsencode(path.name) for path in (tmp_path / "out").iterdir()} == {b"caf\xe9", b"l"}
    assert os.fsencode((tmp_path / "out" / "l").readlink()) == b"caf\xe9"

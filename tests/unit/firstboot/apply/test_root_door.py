"""The door that no path leads out of."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstboot.apply.root import Root

pytestmark = pytest.mark.unit


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What must never change."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "precious").write_text("precious")
    return directory


@pytest.fixture
def root(tree: Path, outside: Path) -> Iterator[Root]:
    with Root(tree) as door:
        yield door
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"precious": "precious"}


def test_an_absolute_link_on_the_way_stays_inside(root: Root, tree: Path, outside: Path) -> None:
    (tree / "link").symlink_to(outside)
    root.write("/link/new", b"x", mode=0o644)
    assert (tree / str(outside).lstrip("/") / "new").read_bytes() == b"x"


@pytest.mark.parametrize("path", ["/../../outside/precious", "/a/../../../outside/precious", "/./..//outside/precious"])
def test_dots_stop_at_the_root(root: Root, tree: Path, path: str) -> None:
    root.write(path, b"x", mode=0o644)
    assert (tree / "outside/precious").read_bytes() == b"x"


def test_a_relative_link_with_too_many_dots_stops_at_the_root(root: Root, tree: Path) -> None:
    (tree / "a").mkdir()
    (tree / "a/up").symlink_to("../../../../outside")
    root.write("/a/up/precious", b"x", mode=0o644)
    assert (tree / "outside/precious").read_bytes() == b"x"


def test_a_link_at_the_end_is_replaced_not_followed(root: Root, tree: Path, outside: Path) -> None:
    (tree / "file").symlink_to(outside / "precious")
    root.write("/file", b"x", mode=0o644)
    assert not (tree / "file").is_symlink()


def test_removing_a_link_leaves_what_it_points_to(root: Root, tree: Path, outside: Path) -> None:
    (tree / "link").symlink_to(outside)
    root.remove("/link")
    assert not os.path.lexists(tree / "link")


def test_removing_a_tree_does_not_follow_links_in_it(root: Root, tree: Path, outside: Path) -> None:
    (tree / "d").mkdir()
    (tree / "d/link").symlink_to(outside)
    root.remove("/d")
    assert not (tree / "d").exists()


def test_the_mode_of_a_linked_file_is_not_changed(root: Root, tree: Path, outside: Path) -> None:
    (outside / "precious").chmod(0o600)
    (tree / "link").symlink_to(outside / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        root.set_mode("/link", 0o777)
    assert stat.S_IMODE((outside / "precious").stat().st_mode) == 0o600


def test_appending_does_not_follow_a_link(root: Root, tree: Path, outside: Path) -> None:
    (tree / "link").symlink_to(outside / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        root.append("/link", b"x")


def test_a_hard_link_cannot_reach_outside(root: Root, tree: Path, outside: Path) -> None:
    (tree / "link").symlink_to(outside)
    with pytest.raises(FileNotFoundError):
        root.make_hard_link("/stolen", "/link/precious")


def test_reading_stays_inside(root: Root, tree: Path, outside: Path) -> None:
    (tree / "link").symlink_to(outside / "precious")
    with pytest.raises(FileNotFoundError):
        root.read("/link")


def test_reading_a_fifo_does_not_wait(root: Root, tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        root.read("/fifo")


def test_links_that_point_at_each_other_are_an_error(root: Root, tree: Path) -> None:
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    with pytest.raises(OSError, match="point at each other"):
        root.write("/a/x", b"", mode=0o644)
    with pytest.raises(OSError, match="point at each other"):
        root.has("/a")


def test_a_file_on_the_way_is_an_error_that_names_it(root: Root, tree: Path) -> None:
    (tree / "file").touch()
    with pytest.raises(NotADirectoryError, match="'/file' is not a directory"):
        root.write("/file/x", b"", mode=0o644)


@pytest.mark.parametrize("path", ["/", "/..", "/a/.."])
def test_the_root_itself_is_not_written(root: Root, path: str) -> None:
    with pytest.raises(OSError, match="root"):
        root.write(path, b"", mode=0o644)
    with pytest.raises(OSError, match="root"):
        root.remove(path)


def test_links_to_directories_that_are_missing_are_filled(root: Root, tree: Path) -> None:
    """``/home -> var/home`` on a machine whose ``/var`` is empty."""
    (tree / "home").symlink_to("var/home")
    root.make_parents("/home/core")
    assert (tree / "var/home").is_dir()
    assert stat.S_IMODE((tree / "var/home").stat().st_mode) == 0o755


def test_a_chain_of_links_is_followed_inside(root: Root, tree: Path) -> None:
    (tree / "l1").symlink_to("/l2")
    (tree / "l2").symlink_to("/real")
    (tree / "real").mkdir()
    root.write("/l1/x", b"x", mode=0o644)
    assert (tree / "real/x").read_bytes() == b"x"


def test_a_file_is_whole_or_not_there(root: Root, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "file").write_text("old")

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        root.write("/file", b"new", mode=0o644)
    assert [(path.name, path.read_text()) for path in tree.iterdir()] == [("file", "old")]


def test_modes_are_exact_whatever_the_umask(root: Root, tree: Path) -> None:
    before = os.umask(0o077)
    try:
        root.write("/d/file", b"", mode=0o4755)
        root.make_directory("/d/sub", 0o1777)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tree / name).stat().st_mode) for name in ("d", "d/file", "d/sub")}
    assert modes == {"d": 0o755, "d/file": 0o4755, "d/sub": 0o1777}


def test_seeing_says_what_is_there_and_where(root: Root, tree: Path) -> None:
    (tree / "link").symlink_to("real")
    (tree / "real").mkdir()
    (tree / "real/file").touch()
    assert root.see("/link").target == "real"
    assert root.see("/link/file").path == "/real/file"
    assert root.see("/link/file").is_file
    assert root.see("/link/a/b").path == "/real/a/b"
    assert root.see("/link/a/b").stat is None
    assert root.see("/").is_directory
    assert not root.see("/link").read_only


def test_a_read_only_filesystem_is_noticed(monkeypatch: pytest.MonkeyPatch, root: Root) -> None:
    class Answer:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "fstatvfs", lambda _fd: Answer())
    assert root.see("/usr/new").read_only


def test_no_descriptors_are_left_open(root: Root, tree: Path) -> None:
    (tree / "file").touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        root.write("/a/b/c", b"x", mode=0o644)
        root.see("/a/b/../../nothing/there")
        with pytest.raises(NotADirectoryError):
            root.see("/file/x")
        root.remove("/a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before

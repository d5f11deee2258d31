"""Overlays and units come from repositories that strangers may have written: refused, or harmless in the image."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.definition.load import load
from builder.definition.shipped import NamedDirectory
from builder.stages.overlays import lay_over
from builder.tree.node import Kind, make_directory, make_symlink
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

WITH_OVERLAY = "name: demo\nversion: 1.0.0\noverlays: [app]\n"
WITH_UNITS = "name: demo\nversion: 1.0.0\nunits: [app]\n"


def listen(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: reading it never ends
    except PermissionError:
        pytest.skip("only root can make a device")


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "a pipe cannot be put into an image"),
        (listen, "a socket cannot be put into an image"),
        (device, "a device cannot be put into an image"),
        (sparse, "of 1.1 TB"),
    ],
)
@pytest.mark.parametrize("name", ["thing", "thing.j2", "app.service"])
@pytest.mark.parametrize(("definition", "room"), [(WITH_OVERLAY, "overlays"), (WITH_UNITS, "units")])
def test_what_would_be_read_without_end_is_refused_by_name(
    project: Project, make: Callable[[Path], object], says: str, name: str, definition: str, room: str
) -> None:
    (project.root / room / "app").mkdir(parents=True)
    make(project.root / room / "app" / name)
    text = project.refusal(definition)
    assert text.startswith(f"{room}/app/{name}: ")
    assert says in text


def test_a_template_that_is_a_link_does_not_bring_a_file_of_the_builder(project: Project, tmp_path: Path) -> None:
    (project.root / "overlays/app/etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("the builder's")
    (project.root / "overlays/app/etc/motd.j2").symlink_to(tmp_path / "secret")
    assert "a template must be a file, and this is a link" in project.refusal(WITH_OVERLAY)


@pytest.fixture
def laid_over(project: Project) -> Callable[[], Tree]:
    """The overlay on a merged-/usr root with a link that leads nowhere good."""

    def lay() -> Tree:
        project.load(WITH_OVERLAY)
        values = load(Path("os.yaml"), shipped=project.root / "shipped").resolved.values
        tree = Tree()
        tree.put("/usr/lib", make_directory(origin="package:a"))
        tree.put("/tmp", make_directory(origin="package:a"))
        tree.put("/lib", make_symlink("usr/lib", origin="package:a"))
        tree.put("/out", make_symlink("../../../../tmp", origin="package:a"))
        lay_over(tree, [NamedDirectory("app", project.root / "overlays/app")], values)
        return tree

    (project.root / "overlays/app").mkdir(parents=True)
    return lay


def test_a_link_stays_a_link_and_is_not_read(project: Project, tmp_path: Path, laid_over: Callable[[], Tree]) -> None:
    (tmp_path / "secret").write_text("the builder's")
    (project.root / "overlays/app/passwd").symlink_to(tmp_path / "secret")
    (project.root / "overlays/app/dir").symlink_to(tmp_path)
    tree = laid_over()
    assert tree.require("/passwd", follow=False).target == str(tmp_path / "secret")
    assert tree.require("/dir", follow=False).kind is Kind.SYMLINK
    assert [path for path, _ in tree.walk() if path.startswith("/dir/")] == []


def test_writing_through_a_link_of_the_image_stays_in_the_image(
    project: Project, laid_over: Callable[[], Tree]
) -> None:
    project.write("overlays/app/out/file", "x")
    project.write("overlays/app/lib/file", "x")
    tree = laid_over()
    assert tree.resolve("/out") == "/tmp"
    assert tree.read("/tmp/file") == b"x"
    assert tree.read("/usr/lib/file") == b"x"
    assert not Path("/tmp/file").exists()


def test_nothing_of_an_overlay_runs_with_other_rights(project: Project, laid_over: Callable[[], Tree]) -> None:
    path = project.write("overlays/app/su", "#!")
    path.chmod(0o6755)
    shared = project.root / "overlays/app/shared"
    shared.mkdir()
    shared.chmod(0o7777)
    tree = laid_over()
    assert tree.require("/su").mode == 0o755
    assert tree.require("/shared").mode == 0o755


def test_long_odd_and_twin_names_are_names(project: Project, laid_over: Callable[[], Tree]) -> None:
    names = ["n" * 255, "é" * 127, "README", "Readme", "e\u0301", "\u00e9", "a b\n$(c)'\"", os.fsdecode(b"\xff\xfe")]
    for name in names:
        (project.root / "overlays/app" / name).write_text(name, errors="surrogateescape")
    tree = laid_over()
    for name in names:
        assert tree.read(f"/{name}") == os.fsencode(name)

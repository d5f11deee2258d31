"""The tools tree: it is unpacked once, and again where it is not as it was unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import CapabilityError
from builder.core.store import Store
from builder.debian import unpack
from builder.debian.lock import LockedPackage
from builder.toolstree import open_tools
from builder.tree.node import make_directory, make_file, make_symlink
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

CONSOLE = QuietConsole()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def locked(name: str = "bash") -> LockedPackage:
    digest = name.encode().hex().zfill(64)
    return LockedPackage(name, "1", "amd64", digest, 10, f"pool/{name}.deb", f"{name} 1", "trixie")


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Packages make a small tree, and how often is counted."""
    seen: list[object] = []
    tree = Tree()
    tree.put("/usr/bin/su", make_file("su", 0o4755, origin="package:a"))
    tree.put("/usr/bin/zstd", make_file("zstd", 0o755, origin="package:a"))
    tree.put("/etc/default", make_directory(origin="package:a"))
    tree.put("/bin", make_symlink("usr/bin", origin="package:a"))
    monkeypatch.setattr(unpack, "unpack_all", lambda packages, *_, **__: seen.append(packages) or [])
    monkeypatch.setattr(unpack, "unpack_tree", lambda packs: tree)
    return seen


def test_the_tools_tree_is_unpacked_once_and_runs_nothing_with_other_rights(
    store: Store, unpacked: list[object]
) -> None:
    packages = (locked("a"), locked("b"))
    tools = open_tools(packages, store, CONSOLE)
    assert tools.require("zstd") == "/usr/bin/zstd"
    assert (tools.root / "usr/bin/su").stat().st_mode & 0o7777 == 0o755
    assert (tools.root / ".root").is_dir()
    assert tools.root.stat().st_mode & 0o777 == 0o755
    assert (tools.root / "bin").readlink() == Path("usr/bin")
    assert {path.name for path in (tools.root / "etc").iterdir()} == {
        "default",
        "group",
        "hosts",
        "passwd",
        "resolv.conf",
    }
    assert open_tools(packages[::-1], store, CONSOLE).root == tools.root
    assert len(unpacked) == 1
    assert open_tools(packages[:1], store, CONSOLE).root != tools.root


@pytest.mark.usefixtures("unpacked")
def test_tools_for_another_machine_are_refused_before_they_are_unpacked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(CapabilityError, match="the lock's tools are for amd64, and this machine is aarch64"):
        open_tools((locked(),), store, CONSOLE)


def test_a_tools_tree_that_was_not_finished_is_unpacked_anew(store: Store, unpacked: list[object]) -> None:
    root = open_tools((locked(),), store, CONSOLE).root
    root.with_name(f"{root.name}.seal").unlink()
    (root / "usr/bin/zstd").unlink()
    assert open_tools((locked(),), store, CONSOLE).require("zstd")
    assert len(unpacked) == 2


def edited(path: Path) -> None:
    """Other content of the same length; the clock has moved on."""
    path.write_text("ZSTD")
    os.utime(path, (1, 1))


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("usr/bin/zstd", edited),
        ("usr/bin/zstd", lambda path: os.truncate(path, 0)),
        ("usr/bin/zstd", linked),
        ("usr/bin/zstd", lambda path: path.chmod(0o644)),
        ("bin", lambda path: path.unlink() or path.symlink_to("sbin")),
        ("usr/bin/added", lambda path: path.touch()),
        ("etc/added", lambda path: path.symlink_to("passwd")),
        ("", lambda root: root.with_name(f"{root.name}.seal").write_text("")),
    ],
    ids=[
        "edited",
        "emptied",
        "a link",
        "not executable",
        "a link elsewhere",
        "a file more",
        "a link more",
        "no seal",
    ],
)
def test_a_tools_tree_that_was_changed_is_unpacked_anew(
    store: Store, unpacked: list[object], name: str, harm: Callable[[Path], object]
) -> None:
    root = open_tools((locked(),), store, CONSOLE).root
    harm(root / name)
    assert open_tools((locked(),), store, CONSOLE).root == root
    assert len(unpacked) == 2
    assert (root / "usr/bin/zstd").read_text() == "zstd"
    assert not (root / "usr/bin/added").exists()
    assert {path.name for path in root.parent.iterdir()} == {root.name, f"{root.name}.seal"}
    open_tools((locked(),), store, CONSOLE)
    assert len(unpacked) == 2


@pytest.mark.usefixtures("unpacked")
def test_a_tools_tree_that_cannot_be_written_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builder.toolstree.write_node", fail)
    with pytest.raises(OSError, match="No space left"):
        open_tools((locked(),), store, CONSOLE)
    assert [path for room in ("tools", "scratch") for path in (store.root / room).glob("*")] == []

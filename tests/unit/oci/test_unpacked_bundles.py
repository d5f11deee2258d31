"""``build-os copy IMAGE bundle:DIR``: what a runtime starts, for the user who made it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from builder.oci.image import INDEX, LAYER_ZSTD
from builder.tree.directory import write_directory
from builder.tree.node import Kind, Node, Slice, make_directory, make_file, make_symlink
from builder.tree.tree import Tree
from tests.support.command import run_command
from tests.support.layouts import Layout, tar_of
from tests.support.oci_schemas import find_mistakes

pytestmark = pytest.mark.unit


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def run_as(command: list[str]) -> Any:
    """Changes the image's configuration to say what runs."""

    def change(config: dict[str, Any], manifest: dict[str, Any]) -> None:
        config["config"] = {"Cmd": command}

    return change


def test_the_root_lies_below_and_the_configuration_beside_it(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.image([tar_of(etc__a="1", etc__b="1"), tar_of(etc___wh_a="", etc__c="2")], change=run_as(["/bin/x", "-y"]))
    layout.finish()
    done = run_command(capsys, "copy", f"oci:{layout.root}", f"bundle:{tmp_path}/web")
    assert done.status == 0, done.err
    assert {path.name: path.read_text() for path in (tmp_path / "web/rootfs/etc").iterdir()} == {"b": "1", "c": "2"}
    config = json.loads((tmp_path / "web/config.json").read_text())
    assert find_mistakes("runtime-config", config) == []
    assert (config["process"]["args"], config["hostname"], config["root"]["path"]) == (
        ["/bin/x", "-y"],
        "web",
        "rootfs",
    )
    mapped = [{"containerID": 0, "hostID": os.getuid(), "size": 1}] if os.getuid() else None
    assert config["linux"].get("uidMappings") == mapped
    assert sorted(path.name for path in tmp_path.iterdir() if "layout" not in path.name) == ["web"]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("nothing runs", "says nothing that could be run"),
        ("zstd", "in zstd, and there is no tools tree"),
        ("all platforms", "leave --all out"),
        ("is there", "web is there already"),
        ("a source", "is no image any more"),
    ],
)
def test_what_cannot_be_unpacked_leaves_nothing(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, says: str
) -> None:
    def change(config: dict[str, Any], manifest: dict[str, Any]) -> None:
        config["config"] = {} if case == "nothing runs" else {"Cmd": ["/x"]}
        if case == "zstd":
            manifest["layers"] = [layout.blob(b"\x28\xb5\x2f\xfd", LAYER_ZSTD)]

    layout.image([tar_of(a="1")], change=change)
    if case == "all platforms":
        layout.manifests = [layout.json({"schemaVersion": 2, "manifests": layout.manifests}, INDEX)]
    layout.finish()
    if case == "is there":
        (tmp_path / "web").mkdir()
    before = sorted(tmp_path.rglob("*"))
    words = ["--all"] if case == "all platforms" else []
    source, target = f"oci:{layout.root}", f"bundle:{tmp_path}/web"
    done = run_command(capsys, "copy", *words, *((target, source) if case == "a source" else (source, target)))
    assert done.status in (2, 6)
    assert says in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_user_gets_all_that_a_user_can_have(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.write_bytes(b"content")
    tree = Tree()
    closed = make_directory(0o500, origin="t", uid=7, gid=8)
    tree.put("/closed", closed)
    linked = Node(Kind.FILE, 0o4755, 7, 8, content=Slice(str(pack), 0, 7), mtime=99)
    tree.put("/closed/one", linked)
    tree.put("/two", linked)
    tree.put("/link", make_symlink("/etc/passwd", origin="t"))
    tree.put("/pipe", Node(Kind.FIFO, 0o600))
    tree.put("/null", Node(Kind.CHARACTER, 0o666, device=(1, 3)))
    tree.put(
        "/cap",
        make_file("", origin="t").copy_with(
            xattrs=(("security.capability", bytes.fromhex("0100000200200000000000000000000000000000")),)
        ),
    )
    # Root runs this, for whom the kernel takes the attribute: what it takes from a user is in the image tests.
    left_out = write_directory(tree, tmp_path / "root", as_root=False)
    assert left_out == (["/null"] if os.getuid() == 0 else ["/cap", "/null"])
    root = tmp_path / "root"
    assert (root / "closed").stat().st_mode & 0o7777 == 0o500
    one, two = (root / "closed/one").stat(), (root / "two").stat()
    assert one.st_ino == two.st_ino
    assert (one.st_mode & 0o7777, one.st_uid, one.st_mtime) == (0o4755, os.getuid(), 99)
    assert (root / "two").read_bytes() == b"content"
    assert (root / "link").readlink() == Path("/etc/passwd")
    assert (root / "pipe").is_fifo()


@pytest.mark.skipif(os.getuid() != 0, reason="owners are for root")
def test_root_gets_owners_and_attributes(tmp_path: Path) -> None:
    tree = Tree()
    tree.put("/a", make_file("a", 0o4755, origin="t", uid=7, gid=8).copy_with(xattrs=(("user.a", b"b"),)))
    tree.put("/link", make_symlink("a", origin="t").copy_with(uid=9))
    write_directory(tree, tmp_path / "root", as_root=True)
    status = (tmp_path / "root/a").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (7, 8, 0o4755)
    assert os.getxattr(tmp_path / "root/a", "user.a") == b"b"
    assert (tmp_path / "root/link").lstat().st_uid == 9

"""What happens to files, directories and links that are, or are not, there already."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from firstboot.apply.action import Machine
from firstboot.config.loaded import LoadedConfig
from firstboot.config.origins import ConfigError
from firstboot.engine.compile import load
from firstboot.engine.errors import ActionFailed
from firstboot.engine.perform import carry_out
from firstboot.engine.plan import plan
from firstboot.log import Log

pytestmark = pytest.mark.unit

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def config(**storage: Any) -> LoadedConfig:
    return load(json.dumps({"ignition": {"version": "3.6.0"}, "storage": storage}), "x.ign")


def make(loaded: LoadedConfig, machine: Machine) -> list[str]:
    """Carry out; what was planned, as text."""
    actions = plan(loaded, machine)
    carry_out(actions, loaded, machine, Log(io.StringIO()))
    return [action.describe() for action in actions]


def refused(loaded: LoadedConfig, machine: Machine) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(loaded, machine)
    return str(caught.value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_file_is_written_with_its_parents(tree: Path, machine: Machine) -> None:
    done = make(config(files=[{"path": "/a/b", "contents": {"source": "data:,hi"}}]), machine)
    assert done == ["write file /a/b (2 bytes)"]
    assert (tree / "a/b").read_text() == "hi"
    assert (mode(tree / "a"), mode(tree / "a/b")) == (0o755, 0o644)


def test_a_second_time_nothing_is_left_to_do(machine: Machine) -> None:
    loaded = config(
        directories=[{"path": "/d"}],
        files=[{"path": "/f"}],
        links=[{"path": "/l", "target": "/f"}, {"path": "/h", "target": "/f", "hard": True}],
    )
    assert len(make(loaded, machine)) == 4
    assert make(loaded, machine) == []


def test_the_setuid_bit_survives(tree: Path, machine: Machine) -> None:
    make(config(files=[{"path": "/f", "mode": 0o4755, "user": {"id": os.geteuid()}}]), machine)
    assert mode(tree / "f") == 0o4755


@needs_root
def test_owners_are_set_by_id_and_by_the_names_of_the_root(accounts: Path, machine: Machine) -> None:
    make(
        config(
            files=[
                {"path": "/f", "user": {"name": "daemon"}, "group": {"name": "sudo"}},
                {"path": "/g", "user": {"id": 5}},
            ]
        ),
        machine,
    )
    assert [(each.st_uid, each.st_gid) for each in ((accounts / "f").stat(), (accounts / "g").stat())] == [
        (1, 27),
        (5, 0),
    ]


def test_unknown_owners_are_refused_before_anything_is_written(accounts: Path, machine: Machine) -> None:
    loaded = config(files=[{"path": "/a"}, {"path": "/b", "user": {"name": "daemn"}, "group": {"name": "nobody"}}])
    text = refused(loaded, machine)
    assert "there is no user 'daemn'" in text
    assert "did you mean 'daemon'?" in text
    assert "there is no group 'nobody'" in text
    assert not (accounts / "a").exists()


@pytest.mark.parametrize(
    ("there", "node", "says"),
    [
        ("file", {"contents": {"source": "data:,n"}}, "a file is there already"),
        ("dir", {}, "a directory is there already"),
        ("link", {}, "a link to /nowhere is there already"),
        ("fifo", {}, "something that is no file is there already"),
    ],
)
def test_what_is_there_is_not_replaced_unasked(
    tree: Path, machine: Machine, there: str, node: dict[str, Any], says: str
) -> None:
    make_node(tree / "x", there)
    text = refused(config(files=[{"path": "/x", **node}]), machine)
    assert says in text
    assert "overwrite: true" in text


def make_node(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_text("old")
        case "dir":
            path.mkdir()
            (path / "inside").touch()
        case "link":
            path.symlink_to("/nowhere")
        case _:
            os.mkfifo(path)


@pytest.mark.parametrize("order", [("/d/sub", "/d", "/d/sub/deep"), ("/d", "/d/sub/deep", "/d/sub")])
def test_what_is_in_a_directory_that_is_emptied_is_made_anew_in_whatever_order(
    tree: Path, machine: Machine, order: tuple[str, ...]
) -> None:
    (tree / "d/sub/deep").mkdir(parents=True)
    (tree / "d/sub/left").write_text("x")
    nodes = [{"path": path, **({"overwrite": True} if path == "/d" else {})} for path in order]
    make(config(directories=nodes, files=[{"path": "/d/sub/left"}]), machine)
    assert sorted(str(path.relative_to(tree)) for path in tree.rglob("*")) == ["d", "d/sub", "d/sub/deep", "d/sub/left"]
    assert (tree / "d/sub/left").read_text() == ""


@pytest.mark.parametrize("there", ["//t/", "/t/.", "/a/../t", "/t"])
def test_a_link_that_leads_to_the_same_place_is_there_already(tree: Path, machine: Machine, there: str) -> None:
    (tree / "link").symlink_to(there)
    assert make(config(links=[{"path": "/link", "target": "/t"}]), machine) == []


def test_a_hard_link_to_what_will_have_been_emptied_is_refused_before(tree: Path, machine: Machine) -> None:
    (tree / "d").mkdir()
    (tree / "d/file").write_text("x")
    link = {"path": "/link", "target": "/d/file", "hard": True}
    assert "is not there" in refused(config(directories=[{"path": "/d", "overwrite": True}], links=[link]), machine)


@pytest.mark.parametrize("there", ["file", "dir", "link", "fifo"])
def test_overwrite_replaces_whatever_is_there(tree: Path, machine: Machine, there: str) -> None:
    for name in ("file", "directory", "link"):
        make_node(tree / name, there)
    make(
        config(
            files=[{"path": "/file", "overwrite": True, "contents": {"source": "data:,n"}}],
            directories=[{"path": "/directory", "overwrite": True}],
            links=[{"path": "/link", "target": "t", "overwrite": True}],
        ),
        machine,
    )
    assert (tree / "file").read_text() == "n"
    assert list((tree / "directory").iterdir()) == []
    assert (tree / "link").readlink() == Path("t")


def test_a_file_without_contents_keeps_what_is_there(tree: Path, machine: Machine) -> None:
    (tree / "f").write_text("old")
    make(config(files=[{"path": "/f", "mode": 0o640}]), machine)
    assert ((tree / "f").read_text(), mode(tree / "f")) == ("old", 0o640)


def test_appending_keeps_the_file_and_its_mode(tree: Path, machine: Machine) -> None:
    (tree / "f").write_text("old")
    (tree / "f").chmod(0o600)
    inode = (tree / "f").stat().st_ino
    make(config(files=[{"path": "/f", "append": [{"source": "data:,1"}, {"source": "data:,2"}]}]), machine)
    assert ((tree / "f").read_text(), mode(tree / "f")) == ("old12", 0o600)
    assert (tree / "f").stat().st_ino == inode


def test_gzip_with_several_members_is_unpacked(tree: Path, machine: Machine) -> None:
    import base64
    import gzip

    data = base64.b64encode(gzip.compress(b"one ") + gzip.compress(b"two")).decode()
    source = {"source": f"data:;base64,{data}", "compression": "gzip"}
    make(config(files=[{"path": "/f", "contents": source}]), machine)
    assert (tree / "f").read_text() == "one two"


@pytest.mark.parametrize(
    ("contents", "column", "says"),
    [
        ({"source": "data:,xx", "compression": "gzip"}, "compression", "this is not valid gzip data"),
        ({"source": "data:;base64,H4sIAAAA", "compression": "gzip"}, "compression", "cut short"),
        (
            {"source": "data:,x", "verification": {"hash": "sha256-" + "0" * 64}},
            "hash",
            "is not the one given",
        ),
        (
            {"source": "data:,x", "verification": {"hash": "sha256-" + "z" * 64}},
            "hash",
            "is not the one given",
        ),
    ],
)
def test_contents_that_are_not_what_they_should_be_stop_everything(
    tree: Path, machine: Machine, contents: dict[str, Any], column: str, says: str
) -> None:
    text = refused(config(files=[{"path": "/good"}, {"path": "/bad", "contents": contents}]), machine)
    assert says in text
    assert f".contents.{'verification.' if column == 'hash' else ''}{column}" in text
    assert list(tree.iterdir()) == []


def test_a_zip_bomb_ends(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    import base64
    import gzip

    from firstboot.config import resource

    monkeypatch.setattr(resource, "MAX_BYTES", 1 << 20)
    data = base64.b64encode(gzip.compress(bytes(2 << 20))).decode()
    contents = {"source": f"data:;base64,{data}", "compression": "gzip"}
    assert "larger than 1 MiB" in refused(config(files=[{"path": "/f", "contents": contents}]), machine)


def test_hard_links_come_last_and_may_point_to_new_files(tree: Path, machine: Machine) -> None:
    make(config(links=[{"path": "/a", "target": "/z/f", "hard": True}], files=[{"path": "/z/f"}]), machine)
    assert (tree / "a").stat().st_ino == (tree / "z/f").stat().st_ino


def test_a_hard_link_to_nothing_is_refused(machine: Machine) -> None:
    assert "is not there" in refused(config(links=[{"path": "/a", "target": "/t", "hard": True}]), machine)


def test_two_names_of_one_place_are_refused(tree: Path, machine: Machine) -> None:
    (tree / "real").mkdir()
    (tree / "link").symlink_to("real")
    text = refused(config(files=[{"path": "/real/f"}, {"path": "/link/f"}]), machine)
    assert "'/link/f' and '/real/f' are the same place, /real/f" in text


def test_a_file_below_a_directory_that_is_cleared_is_new(tree: Path, machine: Machine) -> None:
    (tree / "d").mkdir()
    (tree / "d/f").write_text("old")
    (tree / "e").write_text("a file")
    make(
        config(
            directories=[{"path": "/d", "overwrite": True}, {"path": "/e", "overwrite": True}],
            files=[{"path": "/d/f", "contents": {"source": "data:,new"}}, {"path": "/e/f"}],
        ),
        machine,
    )
    assert (tree / "d/f").read_text() == "new"
    assert (tree / "e/f").read_text() == ""


def test_the_kernels_own_filesystems_are_refused(machine: Machine) -> None:
    text = refused(
        config(files=[{"path": "/proc/sys/x"}, {"path": "/sys/x"}], directories=[{"path": "/dev/x"}]), machine
    )
    assert text.count("belongs to the kernel") == 3


def test_the_read_only_image_is_refused_with_the_places_that_can_be_written(
    tree: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "usr").mkdir()
    (tree / "etc").mkdir()
    (tree / "opt").symlink_to("etc")
    inode = (tree / "usr").stat().st_ino

    class Answer:
        def __init__(self, fd: int) -> None:
            self.f_flag = os.ST_RDONLY if os.fstat(fd).st_ino == inode else 0

    monkeypatch.setattr(os, "fstatvfs", Answer)
    text = refused(config(files=[{"path": "/usr/lib/x"}, {"path": "/etc/ok"}, {"path": "/opt/ok2"}]), machine)
    assert "'/usr/lib/x' is on the read-only image" in text
    assert "/etc and /var can be written to" in text
    assert text.count("x.ign:") == 1


def test_what_changes_between_deciding_and_doing_stops_it(tree: Path, machine: Machine) -> None:
    loaded = config(files=[{"path": "/f", "contents": {"source": "data:,x"}}])
    actions = plan(loaded, machine)
    (tree / "f").write_text("surprise")
    with pytest.raises(ActionFailed, match="a file is there already") as caught:
        carry_out(actions, loaded, machine, Log(io.StringIO()))
    assert caught.value.complaint is not None
    assert (tree / "f").read_text() == "surprise"

"""A whole build with programs that only write a few bytes: what is made, what is made once, what a failure leaves."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builder import pipeline
from builder.core.errors import CapabilityError, ProgramError
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock, LockedPackage
from builder.definition.load import load
from builder.definition.model import Compression
from builder.locking import recipe
from builder.outputs import publish
from builder.outputs.disk import Layout
from builder.outputs.image import make_outputs
from builder.outputs.manifest import Manifest, read_manifest
from builder.outputs.wanted import Wanted
from builder.pipeline import Build
from builder.stages.stage import Context
from builder.tree.node import file
from builder.tree.tree import Tree
from tests.support.power import SyncedDisk

pytestmark = pytest.mark.unit

GIB = 1 << 30
Usage = namedtuple("Usage", "total used free")
DEB = b"a deb"


# --- the outputs of a tree -------------------------------------------------------------------------


@pytest.fixture
def wanted(overlay: Path) -> Wanted:
    return Wanted(
        name="demo",
        version="1.0",
        arch="amd64",
        compression=Compression.LZ4,
        level=None,
        extra_command_line=("console=ttyS0",),
        modules=("mine",),
        initrd_overlay=overlay,
        layout=Layout(disk=8 * GIB, esp=GIB, slot=2 * GIB, state_minimum=GIB),
    )


@pytest.fixture
def outputs(image: Tree, writing_tools: Tools, tmp_path: Path) -> Callable[..., list[str]]:
    """Make all outputs, as a build of its own; returns the programs that ran."""
    count = 0

    def make(wanted: Wanted, *, tree: Tree = image, key: str = "tree", tools: Tools = writing_tools) -> list[str]:
        nonlocal count
        count += 1
        scratch = tmp_path / f"scratch{count}"
        scratch.mkdir()
        context = Context(tools, Store.open(tmp_path / "store"), tools.console, scratch)
        writing_tools.calls.clear()
        seconds: dict[str, float] = {}
        made = make_outputs(tree, key, wanted, context, seconds)
        assert seconds.keys() == {"root", "initrd", "uki", "disk", "facts"}
        for path in (made.root.image, made.root.hash_tree, made.kernel, made.initrd, made.uki, made.disk):
            assert path.stat().st_size, path
        assert made.kernel.read_text() == "kernel"
        assert made.command_line.startswith(f"roothash={made.root.roothash} ")
        assert made.command_line.endswith(" ".join(("", "ro", *wanted.extra_command_line)))
        assert made.uki.read_text() == "uki: " + made.command_line
        return sorted({call[0] for call in writing_tools.calls})

    return make


ALWAYS = ["systemd-repart"]
ROOT = ["mkfs.erofs", "veritysetup"]
UKI = ["ukify"]
INITRD = ["depmod", "zstd", *UKI]


def test_root_initrd_and_uki_are_made_once(outputs: Callable[..., list[str]], wanted: Wanted) -> None:
    assert outputs(wanted) == sorted(ALWAYS + ROOT + INITRD)
    assert outputs(wanted) == ALWAYS


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"extra_command_line": ("quiet",)}, UKI),
        ({"version": "2.0"}, []),
        ({"compression": Compression.ZSTD}, ROOT),
        ({"level": 9}, ROOT),
        ({"name": "other"}, ROOT),
        ({"modules": ()}, INITRD),
    ],
    ids=str,
)
def test_only_what_depends_on_a_change_is_made_again(
    outputs: Callable[..., list[str]], wanted: Wanted, changes: dict[str, object], again: list[str]
) -> None:
    outputs(wanted)
    assert outputs(replace(wanted, **changes)) == sorted(ALWAYS + again)


def test_another_tree_gives_another_root_and_the_same_initrd_if_it_needs_nothing_new(
    outputs: Callable[..., list[str]], wanted: Wanted, image: Tree
) -> None:
    outputs(wanted)
    image.put("/usr/share/new", file("x", origin="package:a"))
    assert outputs(wanted, key="another") == sorted(ALWAYS + ROOT)
    image.put("/usr/bin/kmod", file("another", 0o755, origin="package:a"))
    assert outputs(wanted, key="a third") == sorted(ALWAYS + ROOT + INITRD)


def test_other_tools_make_everything_again(
    outputs: Callable[..., list[str]], wanted: Wanted, writing_tools: Tools
) -> None:
    outputs(wanted)
    others = replace(writing_tools, root=writing_tools.root.with_name("others"))
    assert outputs(wanted, tools=others) == sorted(ALWAYS + ROOT + INITRD)


def test_what_packages_brought_is_compressed_once(
    outputs: Callable[..., list[str]], wanted: Wanted, image: Tree, writing_tools: Tools
) -> None:
    def parts_written() -> list[str]:
        calls = [call for call in writing_tools.calls if call[0] == "mkfs.erofs"]
        return ["onto another" if "--incremental=data" in call else "from nothing" for call in calls]

    outputs(wanted)
    assert parts_written() == ["from nothing", "onto another"]
    image.put("/etc/mine", file("x", origin="overlay:mine"))
    outputs(wanted, key="another")
    assert parts_written() == ["onto another"]
    image.put("/usr/bin/b", file("x", 0o755, origin="package:b"))
    outputs(wanted, key="a third")
    assert parts_written() == ["from nothing", "onto another"]


# --- a build ---------------------------------------------------------------------------------------


@pytest.fixture
def build(tmp_path: Path, image: Tree, writing_tools: Tools, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A definition that is locked, and a build of it whose stages give the small image."""
    monkeypatch.chdir(tmp_path)
    Path("os.yaml").write_text("name: mine\nversion: 1.0.0\narch: amd64\noutputs: [qcow2, raw]\n")
    resolved = load(Path("os.yaml")).resolved
    store = Store.open(tmp_path / "store")
    package = LockedPackage("a", "1", "amd64", store.add_bytes(DEB), len(DEB), "pool/a.deb", "a 1", "trixie")
    lock = Lock(recipe_sha256=recipe(resolved), arch="amd64", suite="trixie", packages=(package,), tools=(package,))
    lock.dump(Path("os.lock"))

    def make_artifacts(names: Sequence[str], raw: Path, directory: Path, *_: object) -> dict[str, Path]:
        paths = {name: directory / f"mine.{name}" for name in names}
        for name, path in paths.items():
            path.write_text(f"{name} of {raw.read_text()}")
            path.chmod(0o600)
        return paths

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10**12))
    monkeypatch.setattr(pipeline, "open_tools", lambda *_: writing_tools)
    monkeypatch.setattr(pipeline, "run_plan", lambda *_: image.copy())
    monkeypatch.setattr(publish, "make_artifacts", make_artifacts)
    writing_tools.root.mkdir()
    return Build(Path("os.yaml"), Path("out"), store, writing_tools.console)


def visible(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir() if not path.name.startswith(".")}


def test_a_build_leaves_artifacts_that_are_described_and_nothing_else(build: Build) -> None:
    manifest = build.run()
    assert manifest == Path("out/build.json")
    found = visible(build.out)
    del found["build.json"]
    assert found["mine.qcow2"] == "qcow2 of disk"
    assert found["mine.raw"] == "raw of disk"
    kinds = ("qcow2", "raw", "efi", "vmlinuz", "initrd", "cdx.json", "facts.json")
    assert found.keys() == {f"mine.{kind}" for kind in kinds}
    data = read_manifest(manifest)
    assert data is not None
    for artifact in data["artifacts"].values():
        content = (build.out / artifact["path"]).read_bytes()
        assert artifact["size"] == len(content)
        assert artifact["sha256"] == hashlib.sha256(content).hexdigest()
        assert (build.out / artifact["path"]).stat().st_mode & 0o777 == 0o644
    assert data["lock_sha256"] == hashlib.sha256(Path("os.lock").read_bytes()).hexdigest()
    assert data["definition"] == str(Path("os.yaml").absolute())
    assert data["source_date_epoch"] == 0
    assert data["timings"]["outputs"].keys() == {"root", "initrd", "uki", "disk", "facts", "formats"}
    assert build.seconds > 0
    assert list((build.store.root / "scratch").iterdir()) == []
    assert read_image(manifest).disk()[1] == "qcow2"


def test_an_output_directory_that_cannot_be_written_is_noticed_before_anything_is_built(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*, dir: Path) -> object:
        if dir == build.out:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return io.BytesIO()

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    monkeypatch.setattr(pipeline, "run_plan", lambda *_: pytest.fail("it began to build"))
    with pytest.raises(CapabilityError, match="cannot write into out: Read-only file system"):
        build.run()


def test_a_build_with_nothing_to_do_has_its_tree_for_who_wants_to_draw_it(
    build: Build, image: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.run()
    monkeypatch.setattr(pipeline, "load_snapshot", lambda *_: image)
    monkeypatch.setattr(Build, "is_current", lambda *_: True)
    assert replace(build).run() == build.out / "build.json"
    again = replace(build, with_tree=True, tree=None)
    again.run()
    assert again.tree is image


def test_a_power_cut_after_a_build_takes_nothing_from_it(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SyncedDisk(monkeypatch)
    write = Manifest.write

    def require_durable(manifest: Manifest, path: Path) -> None:
        for artifact in manifest.artifacts.values():
            made = build.out / artifact.path
            assert disk.after_a_power_cut(made) == made.read_bytes(), "a manifest would name what may be lost"
        write(manifest, path)

    monkeypatch.setattr(Manifest, "write", require_durable)
    manifest = build.run()
    assert disk.after_a_power_cut(manifest) == manifest.read_bytes()


def test_a_power_cut_after_the_lock_is_made_leaves_the_lock(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SyncedDisk(monkeypatch)
    Lock.load(Path("os.lock")).dump(Path("other.lock"))
    assert disk.after_a_power_cut(Path("other.lock").absolute()) == Path("os.lock").read_bytes()
    assert build.require_lock(load(Path("os.yaml")).resolved) is not None


@pytest.mark.parametrize("harm", ["mine.qcow2", "mine.efi", "build.json"])
def test_a_build_whose_files_are_gone_is_made_again(build: Build, harm: str) -> None:
    build.run()
    (build.out / harm).unlink()
    build.run()
    assert (build.out / harm).exists()


def test_a_failure_at_the_end_leaves_no_manifest_that_speaks_for_half_a_build(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.run()
    Path("os.yaml").write_text(Path("os.yaml").read_text().replace("1.0.0", "2.0.0"))

    def fail(names: object, raw: object, directory: Path, *_: object) -> None:
        (directory / "half").write_text("x")
        raise ProgramError("qemu-img failed with status 1")

    monkeypatch.setattr(publish, "make_artifacts", fail)
    with pytest.raises(ProgramError):
        build.run()
    assert "build.json" not in visible(build.out)
    assert [path.name for path in build.out.iterdir() if path.name.startswith(".new")] == []
    assert list((build.store.root / "scratch").iterdir()) == []


def test_what_a_killed_build_left_in_the_output_directory_is_swept(build: Build) -> None:
    (build.out / ".new-killed").mkdir(parents=True)
    (build.out / ".new-killed" / "mine.raw").write_text("half")
    build.run()
    assert not (build.out / ".new-killed").exists()


def test_warnings_of_the_definition_are_shown(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = replace(load(Path("os.yaml")), warnings=("os.yaml:1: odd",))
    monkeypatch.setattr(pipeline, "load", lambda path: loaded)
    said: list[str] = []
    monkeypatch.setattr(build.console, "warn", said.append)
    build.run()
    assert said == ["os.yaml:1: odd"]

"""What a build refuses or puts away before it starts, and what its lock and tools depend on."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builder import locking, pipeline, toolstree
from builder.core.architecture import Arch
from builder.core.errors import CapabilityError, ConfigError
from builder.core.store import ROOMS, Store
from builder.debian.lock import Lock, LockedPackage
from builder.definition.load import Loaded, load
from builder.definition.model import Disk, Output
from builder.definition.resolved import Resolved
from builder.definition.scalars import Size
from builder.locking import load_any, lock_path, recipe
from builder.outputs.signing import KeyPair
from builder.pipeline import Build, sweep, wanted_of
from builder.stages import stages_for
from builder.toolstree import open_tools, packages_for
from builder.tree.node import directory, file, symlink
from builder.tree.tree import Tree
from tests.support.power import SyncedDisk

pytestmark = pytest.mark.unit

GIB = 1 << 30


@pytest.fixture
def definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "os.yaml"
    path.write_text("name: mine\nversion: 1.0.0\narch: amd64\n")
    return path


@pytest.fixture
def loaded(definition: Path) -> Loaded:
    return load(definition)


@pytest.fixture
def resolved(loaded: Loaded) -> Resolved:
    return loaded.resolved


def locked(name: str = "bash", version: str = "5.2-1") -> LockedPackage:
    digest = f"{abs(hash((name, version))):064x}"[-64:]
    return LockedPackage(name, version, "amd64", digest, 10, f"pool/{name}.deb", f"{name} {version}", "trixie")


def lock_for(resolved: Resolved, **changes: object) -> Lock:
    lock = Lock(
        recipe_sha256=recipe(resolved), arch="amd64", suite="trixie", packages=(locked(),), tools=(locked("zstd"),)
    )
    return replace(lock, **changes)


@pytest.fixture
def build(definition: Path, tmp_path: Path, fake_tools: object) -> Build:
    return Build(definition, tmp_path / "out", Store.open(tmp_path / "store"), fake_tools.console)


# --- the lock --------------------------------------------------------------------------------------


def test_a_definitions_lock_lies_beside_it() -> None:
    assert lock_path(Path("configs/demo.yaml")) == Path("configs/demo.lock")


def test_a_current_lock_is_used_as_it_is(build: Build, resolved: Resolved) -> None:
    lock_for(resolved).dump(lock_path(resolved.path))
    assert build.require_lock(resolved) == lock_for(resolved)
    assert build.timings.lock > 0


def test_a_stale_lock_is_refused_with_what_to_type_if_it_may_not_be_renewed(build: Build, resolved: Resolved) -> None:
    lock_for(resolved, recipe_sha256="0" * 64).dump(lock_path(resolved.path))
    build.relock = False
    with pytest.raises(ConfigError, match=r"os\.lock is stale") as caught:
        build.require_lock(resolved)
    assert "'build-os lock'" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("stale", [True, False])
def test_without_a_network_no_lock_is_made(build: Build, resolved: Resolved, stale: bool) -> None:
    build.offline = True
    if stale:
        lock_for(resolved, recipe_sha256="0" * 64).dump(lock_path(resolved.path))
    with pytest.raises(ConfigError, match=r"there is no current .*os\.lock"):
        build.require_lock(resolved)


@pytest.mark.parametrize("stale", [True, False])
def test_a_lock_is_made_where_there_is_none_or_when_told_to(
    build: Build, resolved: Resolved, stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def make_lock(resolved: Resolved, store: Store, console: object, *, newest: Lock | None, update: object) -> Lock:
        asked.append(newest)
        return lock_for(resolved)

    monkeypatch.setattr(pipeline, "make_lock", make_lock)
    old = lock_for(resolved, recipe_sha256="0" * 64)
    if stale:
        old.dump(lock_path(resolved.path))
    assert build.require_lock(resolved) == lock_for(resolved)
    assert Lock.load(lock_path(resolved.path)) == lock_for(resolved)
    assert asked == [old if stale else None]


def test_relocking_a_current_lock_keeps_it(build: Build, resolved: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "make_lock", lambda *_, **__: pytest.fail("would go to the network"))
    lock_for(resolved).dump(lock_path(resolved.path))
    assert build.require_lock(resolved) == lock_for(resolved)


def test_a_decision_about_scripts_that_changed_makes_the_lock_stale_and_needs_no_network_to_be_locked(
    build: Build, definition: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with definition.open("a") as file:
        file.write("scripts: {bash: {ignore: nobody needs it}}\n")
    resolved = load(definition).resolved
    lock_for(resolved).dump(lock_path(resolved.path))
    build.relock = False
    with pytest.raises(ConfigError, match=r"os\.lock is stale") as caught:
        build.require_lock(resolved)
    assert "scripts of bash (image): no decision -> ignore (nobody needs it)" in str(caught.value)
    monkeypatch.setattr(pipeline, "make_lock", lambda *_, **__: pytest.fail("would go to the network"))
    build.relock = build.offline = True
    lock = build.require_lock(resolved)
    assert [(d.group, d.package, d.answer) for d in lock.decisions] == [("image", "bash", "ignore")]
    assert Lock.load(lock_path(resolved.path)) == lock
    build.relock = False
    assert build.require_lock(resolved) == lock


def test_a_lock_depends_on_what_is_asked_for_and_on_our_own_tools(
    resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recipe(resolved)
    assert recipe(replace(resolved, packages=(*resolved.packages, "nginx"))) != before
    assert recipe(replace(resolved, exclude=("perl",))) != before
    assert recipe(replace(resolved, tools_packages=("jq",))) != before
    assert recipe(replace(resolved, name="another", variables={"a": 1}, overlays=(), mirrors=("x",))) == before
    monkeypatch.setattr(toolstree, "PACKAGES", (*toolstree.PACKAGES, "jq"))
    assert recipe(resolved) != before
    monkeypatch.undo()
    assert recipe(resolved) == before
    monkeypatch.setattr(locking, "EXCLUDE", (*locking.EXCLUDE, "perl"))
    assert recipe(resolved) != before


def test_tools_for_another_architecture_have_its_emulator() -> None:
    amd64, arm64 = set(packages_for("amd64")), set(packages_for("arm64"))
    assert amd64 - arm64 == {"qemu-system-x86", "ovmf"}
    assert arm64 - amd64 == {"qemu-system-arm", "qemu-efi-aarch64"}
    assert list(packages_for("amd64")) == sorted(packages_for("amd64"))


def test_both_kinds_of_definition_can_be_locked(definition: Path) -> None:
    assert isinstance(load_any(definition), Resolved)
    definition.write_text("kind: container\nname: web\nversion: 1.0.0\narch: amd64\ncommand: [sh]\n")
    assert load_any(definition).name == "web"


def test_a_machine_that_we_have_no_tools_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert locking.require_host_arch() in tuple(Arch)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(CapabilityError, match="build-os has no tools for riscv64"):
        locking.require_host_arch()


# --- room ------------------------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


def test_a_disk_that_is_nearly_full_is_refused_before_it_is_full(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1_234_000_000))
    with pytest.raises(CapabilityError, match=r"store has 1\.2 GB left; a build needs 2\.0 GB") as caught:
        build.require_room()
    assert "'build-os cache clear --stages'" in str(caught.value)
    assert caught.value.exit_code == 3


def test_the_output_directory_needs_room_as_well(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10**12 if path == build.store.root else 0))
    with pytest.raises(CapabilityError, match="out has 0 B left"):
        build.require_room()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10**12))
    build.require_room()
    assert build.out.is_dir()


def test_a_disk_that_an_output_cannot_have_is_refused_before_anything_is_built(
    build: Build, resolved: Resolved
) -> None:
    disk = Disk(size=Size(8 * GIB + (1 << 20)))
    wrong = replace(resolved, disk=disk, outputs=(Output.QCOW2, Output.GCE, Output.EXOSCALE))
    with pytest.raises(ConfigError, match="gce takes disks of whole GiB") as caught:
        build.require_sizes(wrong)
    assert "exoscale takes disks of exactly 10 GiB" in str(caught.value)
    build.require_sizes(replace(resolved, outputs=(Output.QCOW2, Output.GCE)))


# --- scratch ---------------------------------------------------------------------------------------


def test_only_what_dead_builds_left_is_swept(tmp_path: Path) -> None:
    for name in ("build-dead", "build-alive", "build-new", "other"):
        (tmp_path / name / "sub").mkdir(parents=True)
        if name != "build-new":
            (tmp_path / name / ".alive").touch()
    with (tmp_path / "build-alive" / ".alive").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build-alive", "build-new", "other"]
    sweep(tmp_path / "not-there")


def test_a_builds_scratch_is_gone_afterwards_and_safe_from_others_until_then(build: Build) -> None:
    with build.scratch() as scratch:
        (scratch / "large").write_text("x")
        sweep(scratch.parent)
        assert (scratch / "large").exists()
        with build.scratch() as second:
            assert second != scratch
            assert (scratch / "large").exists()
    assert list((build.store.root / "scratch").iterdir()) == []


def test_a_build_sweeps_up_after_those_that_were_killed(build: Build) -> None:
    left = build.store.root / "scratch" / "build-killed"
    left.mkdir(parents=True)
    (left / ".alive").touch()
    with build.scratch():
        assert not left.exists()


def test_a_failing_build_leaves_no_scratch(build: Build) -> None:
    def fail() -> None:
        with build.scratch() as scratch:
            (scratch / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list((build.store.root / "scratch").iterdir()) == []


# --- keys ------------------------------------------------------------------------------------------


def key_of_build(build: Build, loaded: Loaded, lock: Lock) -> str:
    return build.key(loaded.resolved, lock, build.plan(loaded, lock))


def test_a_builds_key_covers_definition_lock_and_outputs(build: Build, loaded: Loaded) -> None:
    lock = lock_for(loaded.resolved)
    before = key_of_build(build, loaded, lock)
    assert key_of_build(build, loaded, lock) == before

    def changed(**fields: object) -> str:
        return key_of_build(build, replace(loaded, resolved=replace(loaded.resolved, **fields)), lock)

    keys = [
        changed(version="2.0.0"),
        changed(command_line=("quiet",)),
        changed(modules=("mine",)),
        changed(outputs=(Output.RAW,)),
        changed(disk=Disk(size=Size(16 * GIB))),
        changed(remove=("/usr/share/doc/*",)),
        key_of_build(build, loaded, replace(lock, packages=(locked("bash", "5.3-1"),))),
        key_of_build(build, loaded, replace(lock, tools=(locked("zstd", "2"),))),
    ]
    assert before not in keys
    assert len(set(keys)) == len(keys)
    assert changed(mirrors=("another",)) == before


def test_who_signs_is_a_reason_to_build_and_where_the_key_lies_is_none(
    build: Build, loaded: Loaded, resolved: Resolved
) -> None:
    lock = lock_for(resolved)
    unsigned = key_of_build(build, loaded, lock)
    build.key_pair = KeyPair(Path("a.key"), Path("a.crt"), b"certificate")
    signed = key_of_build(build, loaded, lock)
    build.key_pair = KeyPair(Path("elsewhere"), Path("elsewhere.too"), b"certificate")
    assert key_of_build(build, loaded, lock) == signed
    build.key_pair = KeyPair(Path("a.key"), Path("a.crt"), b"another")
    assert len({unsigned, signed, key_of_build(build, loaded, lock)}) == 3


def test_a_container_is_not_signed(build: Build) -> None:
    build.key_pair = KeyPair(Path("a.key"), Path("a.crt"), b"certificate")
    with pytest.raises(ConfigError, match="a container has nothing that firmware starts"):
        build.run_container()


def test_what_the_outputs_want_comes_from_the_definition(resolved: Resolved) -> None:
    wanted = wanted_of(replace(resolved, command_line=("quiet",), modules=("mine",)))
    assert (wanted.name, wanted.version, wanted.extra_command_line, wanted.modules) == (
        "mine",
        "1.0.0",
        ("quiet",),
        ("mine",),
    )
    assert wanted.layout.slot == int(resolved.disk.slot)
    assert (wanted.initrd_overlay / "usr").is_dir()


def test_the_stages_are_read_aloud_in_order(resolved: Resolved) -> None:
    names = [stage.name for stage in stages_for(resolved, lock_for(resolved))]
    assert names == [
        "packages",
        "firstboot",
        "overlays",
        "units",
        "accounts",
        "identity",
        "containers",
        "seal",
    ]


def test_two_definitions_have_two_records(build: Build, tmp_path: Path) -> None:
    other = replace(build, definition=tmp_path / "other.yaml")
    assert build.record() != other.record()
    assert replace(build, definition=Path("os.yaml")).record() == build.record()


def test_nothing_is_fetched_that_is_there(build: Build, resolved: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("builder.debian.fetch.fetch_packages", lambda packages, *_, **__: asked.extend(packages))
    there = replace(locked(), sha256=build.store.add_bytes(b"a deb"), size=5)
    build.fetch(resolved, lock_for(resolved, packages=(there,), tools=()))
    assert asked == []
    build.fetch(resolved, lock_for(resolved, packages=(there, locked("new")), tools=()))
    assert {package.name for package in asked} == {"bash", "new"}


@pytest.mark.parametrize("signed", [True, False])
def test_a_build_that_starts_anew_believes_nothing_but_downloads(
    build: Build, resolved: Resolved, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = build.store.add_bytes(b"a deb")
    for room in ROOMS:
        (build.store.root / room).mkdir(exist_ok=True)
        (build.store.root / room / "planted").touch()
    build.no_cache = not signed
    if signed:
        build.key_pair = KeyPair(Path("key"), Path("certificate"), b"")

    def make_lock(resolved: Resolved, store: Store, *_: object, **__: object) -> Lock:
        assert store.has_blob(blob)
        assert [room for room in ROOMS if (store.root / room / "planted").exists()] == ["blobs", "partial"]
        return lock_for(resolved)

    monkeypatch.setattr(pipeline, "make_lock", make_lock)
    with build.kept_apart():
        lock = build.require_lock(resolved)
        (build.kept.root / "stages").mkdir()
        plan = build.plan(load(resolved.path), lock)
        assert {planned.reason for planned in plan.stages} == {build.starts_anew}
        assert not build.is_current(resolved, lock, plan)
    assert build.kept is build.store
    assert list((build.store.root / "scratch").iterdir()) == []


# --- the tools tree --------------------------------------------------------------------------------


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Packages make a small tree, and how often is counted."""
    seen: list[object] = []
    tree = Tree()
    tree.put("/usr/bin/su", file("su", 0o4755, origin="package:a"))
    tree.put("/usr/bin/zstd", file("zstd", 0o755, origin="package:a"))
    tree.put("/etc/default", directory(origin="package:a"))
    tree.put("/bin", symlink("usr/bin", origin="package:a"))
    monkeypatch.setattr(toolstree, "unpack_all", lambda packages, *_, **__: seen.append(packages) or [])
    monkeypatch.setattr(toolstree, "unpack_tree", lambda packs: tree)
    return seen


def test_the_tools_tree_is_unpacked_once_and_runs_nothing_with_other_rights(
    build: Build, unpacked: list[object]
) -> None:
    packages = (locked("a"), locked("b"))
    tools = open_tools(packages, build.store, build.console)
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
    assert open_tools(packages[::-1], build.store, build.console).root == tools.root
    assert len(unpacked) == 1
    assert open_tools(packages[:1], build.store, build.console).root != tools.root


@pytest.mark.usefixtures("unpacked")
def test_tools_for_another_machine_are_refused_before_they_are_unpacked(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(CapabilityError, match="the lock's tools are for amd64, and this machine is aarch64"):
        open_tools((locked(),), build.store, build.console)


def test_a_tools_tree_that_was_not_finished_is_unpacked_anew(build: Build, unpacked: list[object]) -> None:
    root = open_tools((locked(),), build.store, build.console).root
    (root / ".complete").unlink()
    (root / "usr/bin/zstd").unlink()
    assert open_tools((locked(),), build.store, build.console).require("zstd")
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
        (".complete", lambda path: path.write_text("")),
        (".complete", lambda path: path.write_text("build-os tools 99 " + path.read_text())),
    ],
    ids=[
        "edited",
        "emptied",
        "a link",
        "not executable",
        "a link elsewhere",
        "a file more",
        "a link more",
        "no list",
        "another version's list",
    ],
)
def test_a_tools_tree_that_was_changed_is_unpacked_anew(
    build: Build, unpacked: list[object], name: str, harm: Callable[[Path], object]
) -> None:
    root = open_tools((locked(),), build.store, build.console).root
    harm(root / name)
    assert open_tools((locked(),), build.store, build.console).root == root
    assert len(unpacked) == 2
    assert (root / "usr/bin/zstd").read_text() == "zstd"
    assert not (root / "usr/bin/added").exists()
    assert [path.name for path in root.parent.iterdir()] == [root.name]
    open_tools((locked(),), build.store, build.console)
    assert len(unpacked) == 2


@pytest.mark.usefixtures("unpacked")
def test_a_tools_tree_is_on_the_disk_before_its_list_says_that_it_is_whole(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SyncedDisk(monkeypatch)
    write = toolstree.write_sealed

    def require_durable(path: Path, kind: str, *pieces: bytes) -> None:
        assert disk.after_a_power_cut(path.parent / "usr/bin/zstd") == b"zstd"
        write(path, kind, *pieces)

    monkeypatch.setattr(toolstree, "write_sealed", require_durable)
    assert open_tools((locked(),), build.store, build.console).require("zstd")


@pytest.mark.usefixtures("unpacked")
def test_a_tools_tree_that_cannot_be_written_leaves_nothing(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(toolstree, "write_node", fail)
    with pytest.raises(OSError, match="No space left"):
        open_tools((locked(),), build.store, build.console)
    assert list((build.store.root / "tools").iterdir()) == []

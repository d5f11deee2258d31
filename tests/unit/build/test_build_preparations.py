"""What a build refuses or puts away before it starts, and what its lock and tools depend on."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections import namedtuple
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from builder import locking, toolstree
from builder.build import inputs
from builder.build.container import build_container
from builder.build.inputs import fetch_missing_debs, require_lock
from builder.build.request import BuildRequest
from builder.build.system import (
    build_system,
    is_up_to_date,
    make_image_settings,
    make_system_key,
    plan_system,
    refuse_development_keys,
)
from builder.build.workspace import Workspace, open_store, require_room
from builder.core.architecture import Arch
from builder.core.errors import CapabilityError, InputError, SourceError
from builder.core.scratch import open_scratch, sweep_scratch
from builder.core.store import SECTIONS, Store
from builder.debian.lock import Lock, LockedPackage
from builder.definition.load import Loaded, load
from builder.definition.model import Disk
from builder.definition.resolved import Resolved
from builder.definition.scalars import Size
from builder.definition.update_models import Updates
from builder.locking import hash_recipe, load_any, make_lock_path
from builder.outputs.signing import KeyPair, make_key_pair
from builder.sharing.downloads import push_downloads
from builder.sharing.places import DirectoryPlace
from builder.stages import list_stages
from builder.toolstree import list_tool_packages
from firstboot.config.update_words import DEVELOPMENT
from tests.unit.sharing.conftest import Machines, cache_of

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
        recipe_sha256=hash_recipe(resolved), arch="amd64", suite="trixie", packages=(locked(),), tools=(locked("zstd"),)
    )
    return replace(lock, **changes)


@pytest.fixture
def system_request(definition: Path, tmp_path: Path, fake_tools: object) -> BuildRequest:
    return BuildRequest(definition, tmp_path / "out", Store.open(tmp_path / "store"), fake_tools.console)


def unlocked(request: BuildRequest, **changes: object) -> Workspace:
    """The workspace of a request with these changes, without the locks of a build."""
    request = replace(request, **changes)
    return Workspace(request, request.store)


# --- the lock --------------------------------------------------------------------------------------


def test_a_definitions_lock_lies_beside_it() -> None:
    assert make_lock_path(Path("configs/demo.yaml")) == Path("configs/demo.lock")


def test_a_current_lock_is_used_as_it_is(system_request: BuildRequest, resolved: Resolved) -> None:
    lock_for(resolved).dump(make_lock_path(resolved.path))
    workspace = unlocked(system_request)
    assert require_lock(workspace, resolved) == lock_for(resolved)
    assert workspace.timings.lock > 0


def test_a_stale_lock_is_refused_with_what_to_type_if_it_may_not_be_renewed(
    system_request: BuildRequest, resolved: Resolved
) -> None:
    lock_for(resolved, recipe_sha256="0" * 64).dump(make_lock_path(resolved.path))
    with pytest.raises(InputError, match=r"os\.lock is stale") as caught:
        require_lock(unlocked(system_request, relock=False), resolved)
    assert "'build-os lock'" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("stale", [True, False])
def test_without_a_network_no_lock_is_made(system_request: BuildRequest, resolved: Resolved, stale: bool) -> None:
    if stale:
        lock_for(resolved, recipe_sha256="0" * 64).dump(make_lock_path(resolved.path))
    with pytest.raises(InputError, match=r"there is no current .*os\.lock"):
        require_lock(unlocked(system_request, offline=True), resolved)


@pytest.mark.parametrize("stale", [True, False])
def test_a_lock_is_made_where_there_is_none_or_when_told_to(
    system_request: BuildRequest, resolved: Resolved, stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def make_lock(resolved: Resolved, store: Store, console: object, *, newest: Lock | None, update: object) -> Lock:
        asked.append(newest)
        return lock_for(resolved)

    monkeypatch.setattr(inputs, "make_lock", make_lock)
    old = lock_for(resolved, recipe_sha256="0" * 64)
    if stale:
        old.dump(make_lock_path(resolved.path))
    assert require_lock(unlocked(system_request), resolved) == lock_for(resolved)
    assert Lock.load(make_lock_path(resolved.path)) == lock_for(resolved)
    assert asked == [old if stale else None]


def test_relocking_a_current_lock_keeps_it(
    system_request: BuildRequest, resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "make_lock", lambda *_, **__: pytest.fail("would go to the network"))
    lock_for(resolved).dump(make_lock_path(resolved.path))
    assert require_lock(unlocked(system_request), resolved) == lock_for(resolved)


def test_a_decision_about_scripts_that_changed_makes_the_lock_stale_and_needs_no_network_to_be_locked(
    system_request: BuildRequest, definition: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with definition.open("a") as file:
        file.write("scripts: {bash: {ignore: nobody needs it}}\n")
    resolved = load(definition).resolved
    lock_for(resolved).dump(make_lock_path(resolved.path))
    with pytest.raises(InputError, match=r"os\.lock is stale") as caught:
        require_lock(unlocked(system_request, relock=False), resolved)
    assert "scripts of bash (image): no decision -> ignore (nobody needs it)" in str(caught.value)
    monkeypatch.setattr(inputs, "make_lock", lambda *_, **__: pytest.fail("would go to the network"))
    lock = require_lock(unlocked(system_request, offline=True), resolved)
    assert [(d.group, d.package, d.answer) for d in lock.decisions] == [("image", "bash", "ignore")]
    assert Lock.load(make_lock_path(resolved.path)) == lock
    assert require_lock(unlocked(system_request, relock=False), resolved) == lock


def test_a_lock_depends_on_what_is_asked_for_and_on_our_own_tools(
    resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hash_recipe(resolved)
    assert hash_recipe(replace(resolved, packages=(*resolved.packages, "nginx"))) != before
    assert hash_recipe(replace(resolved, exclude=("perl",))) != before
    assert hash_recipe(replace(resolved, tools_packages=("jq",))) != before
    assert hash_recipe(replace(resolved, name="another", variables={"a": 1}, overlays=(), mirrors=("x",))) == before
    monkeypatch.setattr(toolstree, "PACKAGES", (*toolstree.PACKAGES, "jq"))
    assert hash_recipe(resolved) != before
    monkeypatch.undo()
    assert hash_recipe(resolved) == before
    monkeypatch.setattr(locking, "EXCLUDE", (*locking.EXCLUDE, "perl"))
    assert hash_recipe(resolved) != before


def test_tools_for_another_architecture_have_its_emulator() -> None:
    amd64, arm64 = set(list_tool_packages("amd64")), set(list_tool_packages("arm64"))
    assert amd64 - arm64 == {"qemu-system-x86", "ovmf"}
    assert arm64 - amd64 == {"qemu-system-arm", "qemu-efi-aarch64"}
    assert list(list_tool_packages("amd64")) == sorted(list_tool_packages("amd64"))


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


def test_a_disk_that_is_nearly_full_is_refused_before_it_is_full(
    system_request: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1_234_000_000))
    with pytest.raises(CapabilityError, match=r"store has 1\.2 GB left; a build needs 2\.0 GB") as caught:
        require_room(system_request.store.root, system_request.out)
    assert "'build-os cache clear --stages'" in str(caught.value)
    assert caught.value.exit_code == 3


def test_the_output_directory_needs_room_as_well(system_request: BuildRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: Usage(0, 0, 10**12 if path == system_request.store.root else 0)
    )
    with pytest.raises(CapabilityError, match="out has 0 B left"):
        require_room(system_request.store.root, system_request.out)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10**12))
    require_room(system_request.store.root, system_request.out)
    assert system_request.out.is_dir()


# --- scratch ---------------------------------------------------------------------------------------


def test_only_what_dead_builds_left_is_swept(tmp_path: Path) -> None:
    for name in ("build-dead", "build-alive", "build-new", "other"):
        (tmp_path / name / "sub").mkdir(parents=True)
        if name != "build-new":
            (tmp_path / name / ".alive").touch()
    with (tmp_path / "build-alive" / ".alive").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        sweep_scratch(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build-alive", "build-new", "other"]
    sweep_scratch(tmp_path / "not-there")


def test_a_builds_scratch_is_gone_afterwards_and_safe_from_others_until_then(system_request: BuildRequest) -> None:
    with open_scratch(system_request.store, system_request.console) as scratch:
        (scratch / "large").write_text("x")
        sweep_scratch(scratch.parent)
        assert (scratch / "large").exists()
        with open_scratch(system_request.store, system_request.console) as second:
            assert second != scratch
            assert (scratch / "large").exists()
    assert list((system_request.store.root / "scratch").iterdir()) == []


def test_a_build_sweeps_up_after_those_that_were_killed(system_request: BuildRequest) -> None:
    left = system_request.store.root / "scratch" / "build-killed"
    left.mkdir(parents=True)
    (left / ".alive").touch()
    with open_scratch(system_request.store, system_request.console):
        assert not left.exists()


def test_a_failing_build_leaves_no_scratch(system_request: BuildRequest) -> None:
    def fail() -> None:
        with open_scratch(system_request.store, system_request.console) as scratch:
            (scratch / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list((system_request.store.root / "scratch").iterdir()) == []


# --- keys ------------------------------------------------------------------------------------------


def key_of_build(system_request: BuildRequest, loaded: Loaded, lock: Lock) -> str:
    plan = plan_system(unlocked(system_request), loaded.resolved, lock)
    return make_system_key(system_request, loaded.resolved, lock, plan)


def test_a_builds_key_covers_definition_lock_and_outputs(system_request: BuildRequest, loaded: Loaded) -> None:
    lock = lock_for(loaded.resolved)
    before = key_of_build(system_request, loaded, lock)
    assert key_of_build(system_request, loaded, lock) == before

    def changed(**fields: object) -> str:
        return key_of_build(system_request, replace(loaded, resolved=replace(loaded.resolved, **fields)), lock)

    keys = [
        changed(version="2.0.0"),
        changed(command_line=("quiet",)),
        changed(modules=("mine",)),
        changed(outputs=("raw",)),
        changed(disk=Disk(size=Size(16 * GIB))),
        changed(remove=("/usr/share/doc/*",)),
        key_of_build(system_request, loaded, replace(lock, packages=(locked("bash", "5.3-1"),))),
        key_of_build(system_request, loaded, replace(lock, tools=(locked("zstd", "2"),))),
    ]
    assert before not in keys
    assert len(set(keys)) == len(keys)
    assert changed(mirrors=("another",)) == before


def test_who_signs_is_a_reason_to_build_and_where_the_key_lies_is_none(
    system_request: BuildRequest, loaded: Loaded, resolved: Resolved
) -> None:
    def key_with(pair: KeyPair | None) -> str:
        return key_of_build(replace(system_request, key_pair=pair), loaded, lock_for(resolved))

    signed = key_with(KeyPair(Path("a.key"), Path("a.crt"), b"certificate"))
    assert key_with(KeyPair(Path("elsewhere"), Path("elsewhere.too"), b"certificate")) == signed
    assert len({key_with(None), signed, key_with(KeyPair(Path("a.key"), Path("a.crt"), b"another"))}) == 3


def test_a_release_is_signed_by_no_development_key(
    system_request: BuildRequest, resolved: Resolved, tmp_path: Path
) -> None:
    pair = make_key_pair(tmp_path / "dev", "me", development=True)
    refuse_development_keys(replace(system_request, key_pair=pair), resolved)
    with pytest.raises(InputError, match=r"secure-boot\.crt is of a development key, and this is to be a release"):
        refuse_development_keys(replace(system_request, key_pair=pair, release=True), resolved)
    refuse_development_keys(
        replace(system_request, key_pair=make_key_pair(tmp_path / "keys", "me"), release=True), resolved
    )


def test_a_release_is_updated_by_no_development_keys(system_request: BuildRequest, resolved: Resolved) -> None:
    root = resolved.path.parent / "root.json"
    updated = replace(resolved, updates=Updates(url="https://updates.example.com", root="root.json"))
    for development in (False, True):
        root.write_text(json.dumps({"signed": {DEVELOPMENT: True} if development else {}}))
        refuse_development_keys(system_request, updated)
        with (
            nullcontext() if not development else pytest.raises(InputError, match=r"root\.json is of development keys")
        ):
            refuse_development_keys(replace(system_request, release=True), updated)


def test_a_container_is_not_signed(system_request: BuildRequest) -> None:
    pair = KeyPair(Path("a.key"), Path("a.crt"), b"certificate")
    with pytest.raises(InputError, match="a container has nothing that firmware starts"):
        build_container(replace(system_request, key_pair=pair))


def test_a_state_that_only_signed_kernels_open_is_not_built_without_a_signature(system_request: BuildRequest) -> None:
    text = system_request.definition.read_text()
    system_request.definition.write_text(f"{text}\nstate: {{encryption: tpm2}}\n")
    with pytest.raises(InputError, match="this build signs nothing") as caught:
        build_system(system_request)
    assert "--sign-key" in str(caught.value)


def test_what_the_outputs_want_comes_from_the_definition(resolved: Resolved) -> None:
    wanted = make_image_settings(replace(resolved, command_line=("quiet",), modules=("mine",)))
    assert (wanted.name, wanted.version, wanted.extra_command_line, wanted.modules) == (
        "mine",
        "1.0.0",
        ("quiet",),
        ("mine",),
    )
    assert wanted.layout.slot == int(resolved.disk.slot)
    assert (wanted.initrd_overlays[0] / "usr").is_dir()


def test_the_stages_are_read_aloud_in_order(resolved: Resolved) -> None:
    names = [stage.name for stage in list_stages(resolved, lock_for(resolved))]
    assert names == [
        "packages",
        "firstboot",
        "overlays",
        "apps",
        "artifacts",
        "units",
        "accounts",
        "identity",
        "seal",
    ]


def test_nothing_is_fetched_that_is_there(
    system_request: BuildRequest, resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("builder.debian.fetch.fetch_packages", lambda packages, *_, **__: asked.extend(packages))
    there = replace(locked(), sha256=system_request.store.add_bytes(b"a deb"), size=5)
    workspace = unlocked(system_request)
    fetch_missing_debs(workspace, resolved, lock_for(resolved, packages=(there,), tools=()))
    assert asked == []
    fetch_missing_debs(workspace, resolved, lock_for(resolved, packages=(there, locked("new")), tools=()))
    assert {package.name for package in asked} == {"bash", "new"}


def test_a_machine_without_a_mirror_has_debs_of_the_cache(
    system_request: BuildRequest, resolved: Resolved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("no mirror is known here")

    monkeypatch.setattr(inputs, "choose_mirrors", refuse)
    machines = Machines(tmp_path, DirectoryPlace(tmp_path / "cache"))
    first = machines.add("first")
    there = replace(locked(), sha256=first.add_bytes(b"a deb"), size=5)
    lock = lock_for(resolved, packages=(there,), tools=(there,))
    push_downloads(cache_of(first), first, {there.sha256: 1.0}, system_request.console)
    second = machines.add("second")
    fetch_missing_debs(unlocked(system_request, store=second), resolved, lock)
    assert second.has_blob(there.sha256, 5)
    third = machines.add("third")
    fetch_missing_debs(unlocked(system_request, store=third, offline=True), resolved, lock)
    assert third.has_blob(there.sha256, 5)
    more = lock_for(resolved, packages=(there, locked("new")), tools=())
    with pytest.raises(SourceError, match="1 file is not in the store, and downloading is off"):
        fetch_missing_debs(unlocked(system_request, store=machines.add("fourth"), offline=True), resolved, more)


def test_a_build_that_is_released_has_debs_of_no_cache(
    system_request: BuildRequest, resolved: Resolved, tmp_path: Path
) -> None:
    machines = Machines(tmp_path, DirectoryPlace(tmp_path / "cache"))
    first = machines.add("first")
    there = replace(locked(), sha256=first.add_bytes(b"a deb"), size=5)
    push_downloads(cache_of(first), first, {there.sha256: 1.0}, system_request.console)
    request = replace(system_request, store=machines.add("second"), no_cache=True, offline=True)
    with open_store(request) as workspace, pytest.raises(SourceError, match="downloading is off"):
        fetch_missing_debs(workspace, resolved, lock_for(resolved, packages=(there,), tools=()))


@pytest.mark.parametrize("signed", [True, False])
def test_a_build_that_starts_anew_believes_nothing_but_downloads(
    system_request: BuildRequest, resolved: Resolved, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = system_request.store
    blob = store.add_bytes(b"a deb")
    for room in SECTIONS:
        (store.root / room).mkdir(exist_ok=True)
        (store.root / room / "planted").touch()
    pair = KeyPair(Path("key"), Path("certificate"), b"") if signed else None
    request = replace(system_request, no_cache=not signed, key_pair=pair)

    def make_lock(resolved: Resolved, store: Store, *_: object, **__: object) -> Lock:
        assert store.has_blob(blob)
        assert [room for room in SECTIONS if (store.root / room / "planted").exists()] == ["blobs", "partial"]
        return lock_for(resolved)

    monkeypatch.setattr(inputs, "make_lock", make_lock)
    with open_store(request) as workspace:
        lock = require_lock(workspace, resolved)
        (workspace.kept.root / "stages").mkdir()
        plan = plan_system(workspace, resolved, lock)
        assert {planned.reason for planned in plan.stages} == {request.reason_to_start_anew}
        assert not is_up_to_date(workspace, resolved, lock, plan)
    assert list((store.root / "scratch").iterdir()) == []

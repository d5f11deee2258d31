"""Machines whose disks stay, and those whose disks do not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.core.tools import Tools
from vm.disks.prepare import make_disk
from vm.qemu.argv import make_argv
from vm.registry.kept import KeptMachine, KeptMachines, locate_kept_machines, make_keepable, require_disks
from vm.registry.running import Registry, RunningMachine
from vm.spec import Accel, Disk, Forward, Kernel, Uefi, VmSpec
from vm.spec.folder import MachineFolder

pytestmark = pytest.mark.unit


@pytest.fixture
def kept(tmp_path: Path) -> KeptMachines:
    return KeptMachines(tmp_path / "machines")


def spec_in(folder: MachineFolder, base: Path | None = None) -> VmSpec:
    return VmSpec(
        folder.root.name,
        "amd64",
        Accel.TCG,
        (Disk(folder.locate_disk(0), base=base), Disk(folder.root / "config", format="raw", read_only=True)),
        uefi=Uefi(folder.variables, Path("/usr/share/OVMF/code"), Path("/usr/share/OVMF/variables")),
        forwards=(Forward(22), Forward(80, 8080)),
        firstboot_config=folder.config,
        tpm=folder.tpm,
    )


def made(kept: KeptMachines, name: str = "web") -> KeptMachine:
    """A machine that is off, with something on its disk."""
    folder = kept.locate_folder(name)
    folder.create()
    for path in (folder.locate_disk(0), folder.root / "config", folder.variables):
        path.write_text("data")
    spec = make_keepable(spec_in(folder, Path("/project/out/demo.qcow2")))
    machine = KeptMachine(
        name,
        "demo",
        "1.0.0",
        "ab12",
        Path("/project/out/build.json"),
        Path("/tools"),
        spec,
        "core",
        folder.root / "key",
    )
    kept.add(machine)
    return machine


def test_a_machine_can_be_started_again_as_it_was_made(kept: KeptMachines) -> None:
    machine = made(kept)
    assert kept.find("web") == machine
    assert kept.find() == machine
    assert kept.list_names() == ["web"]
    assert make_argv(kept.find("web").spec) == make_argv(machine.spec)
    assert (
        kept.locate_folder("web").kept.stat().st_mode & 0o777 == 0o600
    )  # a command line, a config: they may hold secrets


def test_what_a_machine_has_written_stays_when_it_is_put_away(kept: KeptMachines) -> None:
    made(kept)
    folder = kept.locate_folder("web")
    folder.monitor.touch()
    folder.clear_state()
    assert folder.locate_disk(0).read_text() == "data"
    assert folder.variables.read_text() == "data"
    assert not folder.monitor.exists()
    folder.create()
    assert folder.locate_disk(0).read_text() == "data"


def test_a_machine_that_is_gone_from_the_list_of_those_that_run_keeps_its_disk(
    kept: KeptMachines, tmp_path: Path
) -> None:
    made(kept)
    registry = Registry(tmp_path / "running")
    registry.add(
        RunningMachine("web", os.getpid(), 1, kept.locate_folder("web").root, {})
    )  # this number was another process'
    assert registry.list() == []
    assert kept.locate_folder("web").locate_disk(0).read_text() == "data"


def test_a_kept_disk_is_a_copy_that_no_later_build_changes_and_whose_flushes_count(tmp_path: Path) -> None:
    commands: list[tuple[str, ...]] = []

    class FakeTools(Tools):
        def run(self, *command: str | Path, **_: object) -> str:
            commands.append(tuple(map(str, command)))
            Path(command[-1]).write_text("copied")
            return ""

    spec = make_keepable(spec_in(MachineFolder(tmp_path), tmp_path / "demo.qcow2"))
    disk = spec.disks[0]
    make_disk(disk, FakeTools(tmp_path, QuietConsole()))
    assert disk.path.read_text() == "copied"
    assert [command[:2] for command in commands] == [("qemu-img", "convert")]
    assert "-b" not in commands[0]
    make_disk(disk, FakeTools(tmp_path, QuietConsole()))
    assert len(commands) == 1, "what is there is not copied over"
    words = make_argv(replace(spec, disks=(disk,)))
    assert not any("cache.no-flush" in word for word in words)
    assert any("cache.no-flush=on" in word for word in make_argv(replace(spec, disks=(replace(disk, kept=False),))))


def test_a_machine_that_starts_from_a_kernel_beside_it_cannot_be_kept(tmp_path: Path) -> None:
    spec = replace(spec_in(MachineFolder(tmp_path)), kernel=Kernel(Path("out/demo.vmlinuz")))
    with pytest.raises(InputError, match="starts from its own disk"):
        make_keepable(spec)


def test_a_machine_whose_disk_is_gone_is_not_given_an_empty_one(kept: KeptMachines) -> None:
    machine = made(kept)
    require_disks(machine)
    kept.locate_folder("web").locate_disk(0).unlink()
    with pytest.raises(InputError, match="a disk of web is gone"):
        require_disks(machine)


def test_a_machine_is_deleted_with_everything(kept: KeptMachines) -> None:
    made(kept)
    kept.remove("web")
    assert not kept.locate_folder("web").root.exists()
    assert kept.list_names() == []


def test_which_machine_is_said_by_name(kept: KeptMachines) -> None:
    with pytest.raises(InputError, match="no machine is kept"):
        kept.find()
    made(kept, "a")
    made(kept, "b")
    with pytest.raises(InputError, match=r"which machine\?") as caught:
        kept.find()
    assert caught.value.hint == "kept: a, b"
    with pytest.raises(InputError, match="no machine named c is kept"):
        kept.find("c")
    for name in ("", "../a", ".a"):
        with pytest.raises(InputError, match="cannot be the name"):
            kept.find(name)


def test_what_another_version_wrote_is_said_and_nothing_is_lost(kept: KeptMachines) -> None:
    made(kept)
    kept.locate_folder("web").kept.write_text('{"name": "web"}')
    with pytest.raises(InputError, match=r"machine\.json: it is not what this build-os writes") as caught:
        kept.find("web")
    assert "disk0.qcow2" in str(caught.value.hint)
    assert kept.locate_folder("web").locate_disk(0).exists()


def test_kept_machines_are_the_users_data_and_not_in_the_cache() -> None:
    assert locate_kept_machines({"HOME": "/home/me"}) == Path("/home/me/.local/share/build-os/machines")
    assert locate_kept_machines({"HOME": "/home/me", "XDG_DATA_HOME": "/data"}) == Path("/data/build-os/machines")

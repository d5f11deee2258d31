"""What is made for a machine before QEMU starts: disks, firmware variables, configurations, the probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.architecture import require_architecture
from builder.core.console import QuietConsole
from builder.core.errors import CapabilityError, InputError
from builder.core.tools import Tools
from firstboot.config.urls import decode_data_url
from firstboot.engine.compile import load
from tests.unit.vm.machine.conftest import RUN, FakeTools, spec
from vm.disks.prepare import LARGE_CONFIG, prepare, read_config
from vm.guest import probe
from vm.qemu.argv import make_argv
from vm.spec import Credentials, Disk, Kernel, Uefi, VmSpec
from vm.spec.folder import MachineFolder

pytestmark = pytest.mark.unit


def test_disks_are_overlays_and_empty_disks(tools: Tools, folder: Path) -> None:
    folder.mkdir()
    disks = (
        Disk(folder / "disk0.qcow2", base=Path("/out/demo.raw"), base_format="raw", size=8 << 30),
        Disk(folder / "disk1.qcow2", size=1 << 30),
    )
    prepare(spec(folder, disks=disks), tools, MachineFolder(folder), probe=False)
    overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "/out/demo.raw", "-F", "raw"]
    empty = ["qemu-img", "create", "-q", "-f", "qcow2"]
    assert [*overlay, str(folder / "disk0.qcow2"), str(8 << 30)] in RUN
    assert [*empty, str(folder / "disk1.qcow2"), str(1 << 30)] in RUN
    assert len(RUN) == 2


def ovmf(variables: Path) -> Uefi:
    emulator = require_architecture("amd64").emulator
    return Uefi(variables, emulator.code, emulator.variables)


def test_each_machine_has_firmware_variables_of_its_own(tools: Tools, folder: Path) -> None:
    folder.mkdir()
    uefi = ovmf(folder / "variables.fd")
    prepare(spec(folder, uefi=uefi), tools, MachineFolder(folder), probe=False)
    assert (folder / "variables.fd").read_text() == "variables"
    (folder / "variables.fd").write_text("changed by the guest")
    prepare(spec(folder, uefi=uefi), tools, MachineFolder(folder), probe=False)
    assert (folder / "variables.fd").read_text() == "changed by the guest"


def test_a_tools_tree_without_firmware_is_named(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    bare = FakeTools(tmp_path / "bare", QuietConsole())
    with pytest.raises(CapabilityError, match=r"has no firmware /usr/share/OVMF/OVMF_CODE_4M\.fd"):
        prepare(spec(folder, uefi=ovmf(folder / "v.fd")), bare, MachineFolder(folder), probe=False)


def test_the_configuration_lies_where_qemu_can_see_it(tools: Tools, folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    config = tmp_path / "machine.yaml"
    config.write_text("variant: buildos\n")
    made = prepare(spec(folder, firstboot_config=config), tools, MachineFolder(folder), probe=False)
    assert made.firstboot_config == folder / "firstboot-config"
    assert (folder / "firstboot-config").read_text() == "variant: buildos\n"
    assert (folder / "firstboot-config").stat().st_mode & 0o777 == 0o600


def test_a_large_configuration_is_on_a_disk(tools: Tools, folder: Path, tmp_path: Path) -> None:
    """A kernel reads 4 KiB of fw_cfg at a time, each from the front: megabytes take minutes."""
    folder.mkdir()
    config = tmp_path / "machine.yaml"
    config.write_text("variant: buildos\n# " + "x" * LARGE_CONFIG)
    made = prepare(spec(folder, firstboot_config=config), tools, MachineFolder(folder), probe=False)
    assert made.firstboot_config is None
    disk = made.disks[-1]
    assert (disk.serial, disk.format, disk.read_only) == ("ignition", "raw", True)
    data = disk.path.read_bytes()
    assert len(data) % 512 == 0
    assert data.rstrip(b"\0") == config.read_bytes()
    assert "-fw_cfg" not in make_argv(made)
    assert disk.path.stat().st_mode & 0o777 == 0o600


def strings(machine: VmSpec) -> list[str]:
    """The SMBIOS strings that it is given."""
    return [path.read_text() for path in machine.credentials]


def test_an_image_that_takes_credentials_is_told_of_the_probe_by_them(tools: Tools, folder: Path) -> None:
    folder.mkdir()
    made = prepare(spec(folder), tools, MachineFolder(folder), probe=True)
    assert [text.partition(":")[0] for text in strings(made)] == ["io.systemd.credential.binary"] * 3
    assert made.firstboot_config is None


def test_an_unsigned_image_that_takes_none_is_told_to_take_them(tools: Tools, folder: Path) -> None:
    folder.mkdir()
    told = "systemd.import_credentials=yes"
    made = prepare(spec(folder, takes=Credentials.IF_TOLD), tools, MachineFolder(folder), probe=True)
    assert strings(made)[-1] == f"io.systemd.stub.kernel-cmdline-extra={told}"
    kernel = Kernel(Path("/out/vmlinuz"), command_line="quiet systemd.import_credentials=no")
    bare = spec(folder, takes=Credentials.IF_TOLD, uefi=None, kernel=kernel)
    made = prepare(bare, tools, MachineFolder(folder), probe=True)
    assert made.kernel is not None
    assert made.kernel.command_line == f"quiet systemd.import_credentials=no {told}"


def test_a_machine_without_a_probe_is_told_nothing(tools: Tools, folder: Path) -> None:
    folder.mkdir()
    made = prepare(spec(folder, takes=Credentials.IF_TOLD), tools, MachineFolder(folder), probe=False)
    assert made.credentials == ()


def test_a_signed_image_that_takes_none_gets_the_probe_with_its_first_boot_config(
    tools: Tools, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    config = tmp_path / "machine.yaml"
    config.write_text("variant: buildos\nversion: 1.0.0\nhostname: here\n")
    machine = spec(folder, takes=Credentials.REFUSED, firstboot_config=config)
    made = prepare(machine, tools, MachineFolder(folder), probe=True)
    assert made.credentials == ()
    assert made.firstboot_config is not None
    loaded = load(made.firstboot_config.read_text(), "machine").config
    assert loaded is not None
    files = {file.path: file for file in loaded.storage.files}
    assert decode_data_url(files["/etc/hostname"].contents.source or "") == b"here\n"
    program = files["/etc/buildos-probe.py"]
    [unit] = loaded.systemd.units
    assert (unit.name, unit.enabled) == ("buildos-probe.service", True)
    assert decode_data_url(program.contents.source or "") == Path(probe.__file__).read_bytes()
    assert f"ExecStart=/usr/bin/python3 -I -S {program.path}" in (unit.contents or "").splitlines()


def test_a_signed_image_without_a_config_gets_one_with_the_probe_alone(tools: Tools, folder: Path) -> None:
    folder.mkdir()
    made = prepare(spec(folder, takes=Credentials.REFUSED), tools, MachineFolder(folder), probe=True)
    assert made.firstboot_config is not None
    assert load(made.firstboot_config.read_text(), "machine").warnings == ()


def test_a_configuration_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the first-boot configuration"):
        read_config(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="cannot read"):
        read_config(tmp_path)
    with (tmp_path / "disk.img").open("wb") as file:
        file.truncate(11_000_000)
    with pytest.raises(InputError, match="larger than 10 MB"):
        read_config(tmp_path / "disk.img")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CapabilityError, match="cannot use"):
        MachineFolder(tmp_path / "file" / "machine").create()


def test_what_an_earlier_machine_left_is_gone(folder: Path) -> None:
    home = MachineFolder(folder)
    home.create()
    for path in (home.serial_log, home.qemu_log, home.locate_disk(0), home.variables, home.monitor):
        path.write_text("old")
    home.create()
    assert list(folder.iterdir()) == []

"""The command line is a pure function of the description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from builder.core.architecture import require_architecture
from builder.core.errors import InputError
from vm.qemu.argv import escape, make_argv
from vm.spec import Accel, Disk, Fault, Forward, Kernel, ListeningFd, Port, SocketFd, Uefi, VmSpec

pytestmark = pytest.mark.unit

Golden = Callable[[str, list[str]], None]

SPEC = VmSpec(
    name="demo",
    arch="amd64",
    accel=Accel.TCG,
    disks=(Disk(Path("/m/disk0.qcow2"), base=Path("/out/demo.qcow2")),),
    uefi=Uefi(
        Path("/m/variables.fd"), Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
    ),
    forwards=(Forward(22), Forward(80, 8080)),
    firstboot_config=Path("/m/firstboot-config"),
    credentials=(Path("/m/credentials/00"),),
    paused=True,
    serial=SocketFd(3),
    qmp=SocketFd(4),
    ports=(Port("org.buildos.firstboot.0", SocketFd(5)), Port("org.buildos.probe.0", SocketFd(6))),
)


def test_an_emulated_machine_with_everything(golden: Golden) -> None:
    golden("tcg-uefi", make_argv(SPEC))


def test_an_emulated_arm_machine_with_everything(golden: Golden) -> None:
    emulator = require_architecture("arm64").emulator
    uefi = Uefi(Path("/m/variables.fd"), emulator.code, emulator.variables)
    golden("tcg-uefi-arm64", make_argv(replace(SPEC, arch="arm64", uefi=uefi, video=True)))


def test_a_virtual_machine_that_runs_on_without_us(golden: Golden) -> None:
    spec = replace(
        SPEC,
        accel=Accel.KVM,
        net="none",
        forwards=(),
        firstboot_config=None,
        credentials=(),
        serial=SocketFd(3, Path("/m/serial.log")),
        qmp=ListeningFd(4),
        ports=(),
        reboots=False,
        video=True,
        paused=False,
    )
    golden("kvm-detached", make_argv(spec))


def test_a_kernel_without_firmware(golden: Golden) -> None:
    spec = replace(
        SPEC,
        uefi=None,
        kernel=Kernel(Path("/out/vmlinuz"), Path("/out/initrd"), "roothash=00 console=ttyS0"),
        disks=(
            Disk(Path("/m/disk0.qcow2")),
            Disk(Path("/m/data.raw"), "raw", serial="data", block_size=4096),
            Disk(Path("/m/ro.raw"), "raw", read_only=True),
        ),
        restrict=False,
        memory=4096,
        cpus=1,
        cpu="max",
    )
    golden("tcg-kernel", make_argv(spec))


def test_a_machine_of_other_parts(golden: Golden) -> None:
    spec = replace(
        SPEC,
        disks=(
            Disk(Path("/m/disk0.qcow2"), bus="nvme"),
            Disk(Path("/m/disk1.qcow2"), bus="scsi", serial="data", block_size=4096),
            Disk(Path("/m/disk2.qcow2"), log=Path("/m/disk2.writes")),
        ),
        rtc=datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        rng=False,
        icount=True,
        hotplug=2,
        tpm=Path("/m/tpm"),
        tpm_control=SocketFd(9),
    )
    golden("other-parts", make_argv(spec))


def test_a_disk_that_fails(golden: Golden) -> None:
    faults = (Fault("read", 4096), Fault("write"))
    golden("failing-disk", make_argv(replace(SPEC, disks=(Disk(Path("/m/disk0.raw"), format="raw", faults=faults),))))


def test_commas_in_file_names_are_doubled() -> None:
    assert escape(Path("/a,b/c,,d")) == "/a,,b/c,,,,d"
    spec = replace(SPEC, disks=(Disk(Path("/m,1/disk0.qcow2"), serial="a,b"),), firstboot_config=Path("/m,1/config"))
    words = make_argv(spec)
    assert any("file.filename=/m,,1/disk0.qcow2" in word for word in words)
    assert any(word.endswith("file=/m,,1/config") for word in words)
    assert any(word.endswith("serial=a,,b") for word in words)


def test_a_machine_is_never_reachable_from_outside_this_host() -> None:
    forwards = [part for word in make_argv(SPEC) for part in word.split(",") if part.startswith("hostfwd=")]
    assert forwards == ["hostfwd=tcp:127.0.0.1:0-:22", "hostfwd=tcp:127.0.0.1:8080-:80"]


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="does not know the architecture 'riscv64'"):
        make_argv(replace(SPEC, arch="riscv64"))


def test_a_machine_needs_something_to_start_from() -> None:
    with pytest.raises(AssertionError, match="firmware or a kernel"):
        replace(SPEC, uefi=None)

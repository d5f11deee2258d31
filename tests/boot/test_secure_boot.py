"""Firmware that trusts one key: it starts what was signed with it, and nothing else."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.architecture import require_architecture
from builder.core.image import Artifact, Image, read_image
from builder.outputs.signing import Signer, make_key_pair, read_key_pair
from firstboot.apply.kernel.addon import make_addon
from tests.support.authenticode import remove_signature
from tests.support.command import run_command
from tests.support.machines import MASK_CONTAINER, build
from update.gpt import HEAD, parse_gpt
from vm.guest.credentials import make_stub_argument
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest
from vm.waiting.deadline import Deadline, choose_timeout_scale

if TYPE_CHECKING:
    from builder.core.store import Store
    from builder.core.tools import Tools
    from builder.outputs.signing import KeyPair
    from vm.accel.choice import Verdict
    from vm.spec import VmSpec

pytestmark = pytest.mark.boot

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
REFUSED = r"Error loading \\EFI\\Linux\\.*: (Access denied|Security violation)"


@pytest.fixture(scope="module")
def tampered(signed_demo: Path, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The signed image with one bit of its kernel image turned, and nothing else."""
    image, room = read_image(signed_demo), tmp_path_factory.mktemp("tampered")
    disk, program = room / "disk.raw", room / "program.efi"
    tools.run("qemu-img", "convert", "-O", "raw", image.require_artifact("qcow2").path, disk)
    data = bytearray(image.require_artifact("uki").path.read_bytes())
    data[len(data) // 2] ^= 1
    program.write_bytes(data)
    with disk.open("rb") as file:
        start = parse_gpt(file.read(HEAD))[0].start
    tools.run("mcopy", "-o", "-i", f"{disk}@@{start}", program, f"::/EFI/Linux/{image.name}_{image.version}.efi")
    others = {kind: artifact for kind, artifact in image.artifacts.items() if kind != "qcow2"}
    return replace(image, artifacts={**others, "raw": Artifact(disk, "raw", disk.stat().st_size, "")})


def smuggled(number: int) -> tuple[str, str]:
    """A credential that would be a unit for root: its name and its text."""
    unit = f"[Service]\nType=oneshot\nExecStart=/usr/bin/touch /run/smuggled-{number}\n"
    return f"systemd.extra-unit.{number}.service", unit


def in_base64(number: int) -> str:
    """Its text, as where it has to be one word."""
    return base64.b64encode(smuggled(number)[1].encode()).decode()


@pytest.fixture(scope="module")
def beset(signed_demo: Path, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The signed image, with what somebody who has the disk puts beside its kernel for systemd-stub(7)."""
    image, room = read_image(signed_demo), tmp_path_factory.mktemp("beset")
    disk, kernel = room / "disk.raw", f"::/EFI/Linux/{image.name}_{image.version}.efi"
    tools.run("qemu-img", "convert", "-O", "raw", image.require_artifact("qcow2").path, disk)
    with disk.open("rb") as file:
        esp = f"{disk}@@{parse_gpt(file.read(HEAD))[0].start}"
    addon = room / "smuggled.addon.efi"
    line = f"systemd.set_credential_binary={smuggled(7)[0]}:{in_base64(7)}"
    # Any program of the firmware's kind will do: this one was signed, and is not any more.
    program = room / "signed.efi"
    tools.run("mcopy", "-i", esp, f"::/EFI/systemd/systemd-boot{require_architecture(image.arch).efi}.efi", program)
    addon.write_bytes(make_addon(program.read_bytes(), line))
    tools.run("mmd", "-D", "s", "-i", esp, "::/loader/credentials", f"{kernel}.extra.d")
    tools.run("mcopy", "-i", esp, addon, f"{kernel}.extra.d/smuggled.addon.efi")
    for number, place in ((5, "::/loader/credentials"), (6, f"{kernel}.extra.d")):
        name, text = smuggled(number)
        (room / f"{name}.cred").write_text(text)
        tools.run("mcopy", "-i", esp, room / f"{name}.cred", f"{place}/{name}.cred")
    others = {kind: artifact for kind, artifact in image.artifacts.items() if kind != "qcow2"}
    return replace(image, artifacts={**others, "raw": Artifact(disk, "raw", disk.stat().st_size, "")})


def with_everything_a_host_may_hand_over(spec: VmSpec, room: Path) -> VmSpec:
    """Through SMBIOS in three ways, and through fw_cfg."""
    room.mkdir()
    (first, plain), (second, _), (fourth, _) = smuggled(1), smuggled(2), smuggled(4)
    strings = [
        f"io.systemd.credential:{first}={plain}",
        f"io.systemd.credential.binary:{second}={in_base64(2)}",
        f"{make_stub_argument()} systemd.set_credential_binary={fourth}:{in_base64(4)}",
    ]
    files = [room / f"{number}" for number in range(len(strings))]
    for file, text in zip(files, strings, strict=True):
        file.write_text(text)
    name, text = smuggled(3)
    (room / "unit").write_text(text)
    assert spec.uefi is not None
    options = (*spec.uefi.options, "-fw_cfg", f"name=opt/io.systemd.credentials/{name},file={room / 'unit'}")
    return replace(spec, credentials=tuple(files), uefi=replace(spec.uefi, options=options))


@contextmanager
def firmware(
    image: Image, tools: Tools, store: Store, accel: Verdict, folder: Path, **options: Any
) -> Iterator[Machine]:
    """A machine whose console is all that is looked at."""
    home = MachineFolder(folder)
    spec = plan_machine(image, home, accel.accel, MachineRequest(memory=512, net="none", secure_boot=True, **options))
    deadline = Deadline(120, choose_timeout_scale(accel.accel, os.environ))
    with Machine(spec, tools, deadline, folder=home.root, store=store, probe=False) as machine:
        yield machine


def test_a_signed_image_starts_locked_down_and_obeys_nobody_but_its_config_and_root(
    beset: Image, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    """Seven ways to hand a unit to systemd."""
    home = MachineFolder(tmp_path / "machine")
    spec = plan_machine(beset, home, vm_accel.accel, MachineRequest(memory=1024, net="none", secure_boot=True))
    spec = with_everything_a_host_may_hand_over(spec, tmp_path / "handed")
    deadline = Deadline(400, choose_timeout_scale(vm_accel.accel, os.environ))
    with Machine(spec, tools, deadline, folder=home.root, store=store) as machine:
        assert machine.succeed("od", "-An", "-tx1", SECURE_BOOT).split()[-1] == "01"
        assert "Secure Boot: enabled (user)" in machine.run("bootctl", "status", "--no-pager").stdout
        assert "[integrity]" in machine.read("/sys/kernel/security/lockdown")
        machine.wait_unit("multi-user.target")
        obeyed = {n for n in range(1, 8) if machine.unit(f"{n}.service")["LoadState"] != "not-found"}
        assert obeyed == set()
        assert machine.read("/proc/cmdline").split() == beset.command_line.split()
        assert machine.run("ls", "/run/credentials/@system", "/run/credentials/@encrypted").stdout == ""
        # Keys of tests are for development, and every console says so.
        assert "build_os.keys=development" in beset.command_line.split()
        said = "Development keys have signed this system"
        assert said in machine.read("/run/issue.d/50-development-keys.issue")
        assert machine.transcript.find(re.compile(said), 0)


@pytest.mark.slow
def test_what_one_root_shell_leaves_behind_is_in_etc_and_var(
    signed_demo: Path, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    """What docs/security.md says of it: ``/etc`` and ``/var`` keep what it writes, ``/usr`` does not."""
    home = MachineFolder(tmp_path / "machine")
    request = MachineRequest(memory=1024, net="none", secure_boot=True)
    spec = plan_machine(read_image(signed_demo), home, vm_accel.accel, request)
    deadline = Deadline(400, choose_timeout_scale(vm_accel.accel, os.environ))
    with Machine(spec, tools, deadline, folder=home.root, store=store) as machine:
        machine.wait_unit("multi-user.target")
        unit = "[Service]\nType=oneshot\nExecStart=/usr/bin/touch /run/stayed\n[Install]\nWantedBy=sysinit.target\n"
        machine.write("/etc/systemd/system/stays.service", unit)
        machine.succeed("systemctl enable stays.service")
        machine.succeed(MASK_CONTAINER)
        machine.fail("touch /usr/bin/stays")
        machine.succeed("mount -t tmpfs tmpfs /usr/share/factory")
        machine.fail("mount -o remount,rw /")
        machine.reboot()
        machine.wait_unit("multi-user.target")
        machine.succeed("test -e /run/stayed")
        assert "tmpfs" not in machine.succeed("findmnt -n -o FSTYPE -T /usr/share/factory")


def test_a_root_with_changed_blocks_panics_and_is_not_gone_on_with(
    signed_demo: Path, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    image, disk = read_image(signed_demo), tmp_path / "disk.raw"
    tools.run("qemu-img", "convert", "-O", "raw", image.require_artifact("qcow2").path, disk)
    with disk.open("r+b") as file:
        root = next(each for each in parse_gpt(file.read(HEAD)) if each.type == "root")
        # One byte in each block that the file system has, but for the first, which says that it is one.
        for offset in range(4096, min(root.size, 128 << 20), 4096):
            file.seek(root.start + offset)
            (byte,) = file.read(1)
            file.seek(root.start + offset)
            file.write(bytes([byte ^ 1]))
    artifacts = {**image.artifacts, "raw": Artifact(disk, "raw", disk.stat().st_size, "")}
    del artifacts["qcow2"]
    home = MachineFolder(tmp_path / "machine")
    damaged = replace(image, artifacts=artifacts)
    spec = plan_machine(damaged, home, vm_accel.accel, MachineRequest(memory=512, net="none", boot="kernel"))
    deadline = Deadline(240, choose_timeout_scale(vm_accel.accel, os.environ))
    expected = (r"is corrupted", r"Kernel panic")
    panic = r"Kernel panic - not syncing: dm-verity device corrupted"
    with Machine(spec, tools, deadline, folder=home.root, store=store, probe=False, allow=expected) as machine:
        machine.wait_console(panic)
        # There is nothing else to start. It comes back without end, and not at once, by the clock of its kernel.
        machine.wait_console(r"Rebooting in 10 seconds")
        machine.wait_reset()
        machine.wait_console(panic)


def test_a_kernel_image_with_one_bit_turned_is_not_started(
    tampered: Image, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    with firmware(tampered, tools, store, vm_accel, tmp_path / "machine") as machine:
        machine.wait_console(REFUSED)


def test_firmware_without_keys_is_given_those_of_the_image_and_then_refuses_others(
    tampered: Image, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    empty = require_architecture(tampered.arch).emulator.variables
    with firmware(tampered, tools, store, vm_accel, tmp_path / "machine", variables=empty) as machine:
        # It starts again by itself; the lines of its first start are no longer waited for then.
        machine.wait_console(REFUSED)
        assert machine.transcript.find(re.compile("Custom Secure Boot keys successfully enrolled"), 0)


@pytest.mark.slow
def test_a_machine_is_told_of_another_key_and_later_of_an_image_that_it_starts_no_more(
    key_pair: KeyPair, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rotation and revocation: files of ``build-os key``, taken by a machine that runs, and what firmware does."""
    (tmp_path / "os.yaml").write_text('name: trust\nversion: "1"\nfeatures: [base, updates]\n')
    image = read_image(build(tmp_path / "os.yaml", tmp_path / "out", store, key_pair))
    old, new = key_pair.certificate.parent, tmp_path / "new"
    make_key_pair(new, "the next key")
    # The same system once more, by a key that nothing trusts yet; a filling character of its command line differs.
    unsigned = remove_signature(image.require_artifact("uki").path.read_bytes())
    unsigned = unsigned.replace(b"build_os.full=-", b"build_os.full==")
    another = tmp_path / "another.efi"
    another.write_bytes(
        Signer(read_key_pair(new / "secure-boot.key", new / "secure-boot.crt"), 0).sign_program(unsigned)
    )
    for arguments in (("--trust", str(new / "secure-boot.crt")), ("--revoke", str(another))):
        assert run_command(capsys, "key", str(old), *arguments).status == 0
    # A change that another key has signed, which firmware does not take.
    assert run_command(capsys, "key", str(new), "--trust", str(old / "secure-boot.crt")).status == 0

    disk = tmp_path / "disk.raw"
    tools.run("qemu-img", "convert", "-O", "raw", image.require_artifact("qcow2").path, disk)
    with disk.open("rb") as file:
        tools.run("mcopy", "-i", f"{disk}@@{parse_gpt(file.read(HEAD))[0].start}", another, "::/parked.efi")
    others = {kind: artifact for kind, artifact in image.artifacts.items() if kind != "qcow2"}
    image = replace(image, artifacts={**others, "raw": Artifact(disk, "raw", disk.stat().st_size, "")})

    home = MachineFolder(tmp_path / "machine")
    spec = plan_machine(image, home, vm_accel.accel, MachineRequest(memory=1024, net="none", secure_boot=True))
    deadline = Deadline(600, choose_timeout_scale(vm_accel.accel, os.environ))
    with Machine(spec, tools, deadline, folder=home.root, store=store, allow=(REFUSED,)) as machine:
        machine.wait_unit("multi-user.target")
        machine.succeed("mkdir /run/stranger /run/trust")
        for name, path in (("stranger", new / "db.auth"), ("trust", old / "db.auth")):
            machine.write(f"/run/{name}/{path.name}", path.read_bytes())
        stranger = machine.run("os-update", "firmware-keys", "/run/stranger/db.auth")
        assert "firmware refuses the change of db" in stranger.stderr
        assert "1 more entry" in machine.succeed("os-update firmware-keys /run/trust/db.auth")
        machine.succeed("mkdir /run/esp")
        machine.succeed("mount /dev/disk/by-partlabel/esp /run/esp")
        machine.succeed("mv /run/esp/parked.efi /run/esp/EFI/Linux/trust_2.efi")
        machine.succeed("umount /run/esp")
        machine.reboot()
        # systemd-boot starts the newest name first, and firmware trusts its key now.
        machine.wait_unit("multi-user.target")
        assert machine.read("/proc/cmdline").split()[-1].startswith("build_os.full==")
        machine.succeed("mkdir /run/revoke")
        machine.write("/run/revoke/dbx.auth", (old / "dbx.auth").read_bytes())
        assert "1 more entry" in machine.succeed("os-update firmware-keys /run/revoke/dbx.auth")
        machine.run("systemctl", "reboot", "--no-block")
        machine.wait_console(REFUSED)

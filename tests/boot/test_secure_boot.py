"""Firmware that trusts one key: it starts what was signed with it, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.architecture import architecture
from builder.core.gpt import HEAD, parse_gpt
from tests.support.machines import started
from vm.deadline import Deadline, timeout_scale
from vm.image import Artifact, Image, read_image
from vm.machine import Machine
from vm.plan import plan_machine
from vm.results import MachineFolder

if TYPE_CHECKING:
    from builder.core.store import Store
    from builder.core.tools import Tools
    from vm.accel import Verdict

pytestmark = pytest.mark.boot

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
REFUSED = r"Error loading \\EFI\\Linux\\.*: (Access denied|Security violation)"


@pytest.fixture(scope="module")
def tampered(signed_demo: Path, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The signed image with one bit of its kernel image turned, and nothing else."""
    image, room = read_image(signed_demo), tmp_path_factory.mktemp("tampered")
    disk, program = room / "disk.raw", room / "program.efi"
    tools.run("qemu-img", "convert", "-O", "raw", image.artifact("qcow2").path, disk)
    data = bytearray(image.artifact("uki").path.read_bytes())
    data[len(data) // 2] ^= 1
    program.write_bytes(data)
    with disk.open("rb") as file:
        start = parse_gpt(file.read(HEAD))[0].start
    tools.run("mcopy", "-o", "-i", f"{disk}@@{start}", program, f"::/EFI/Linux/{image.name}_{image.version}.efi")
    others = {kind: artifact for kind, artifact in image.artifacts.items() if kind != "qcow2"}
    return replace(image, artifacts={**others, "raw": Artifact(disk, "raw", disk.stat().st_size, "")})


@contextmanager
def firmware(
    image: Image, tools: Tools, store: Store, accel: Verdict, folder: Path, **options: Any
) -> Iterator[Machine]:
    """A machine whose console is all that is looked at."""
    home = MachineFolder(folder)
    spec = plan_machine(image, home, accel.accel, memory=512, net="none", secure_boot=True, **options)
    deadline = Deadline(120, timeout_scale(accel.accel, os.environ))
    with Machine(spec, tools, deadline, folder=home.root, store=store, probe=False) as machine:
        yield machine


def test_a_signed_image_starts_verified_and_locked_down(signed_demo: Path, store: Store, tmp_path: Path) -> None:
    with started(signed_demo, tmp_path / "machine", store, secure_boot=True, memory=1024, net="none") as machine:
        assert machine.succeed("od", "-An", "-tx1", SECURE_BOOT).split()[-1] == "01"
        assert "Secure Boot: enabled (user)" in machine.run("bootctl", "status", "--no-pager").stdout
        assert "[integrity]" in machine.read("/sys/kernel/security/lockdown")
        machine.wait_unit("multi-user.target")


def test_a_kernel_image_with_one_bit_turned_is_not_started(
    tampered: Image, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    with firmware(tampered, tools, store, vm_accel, tmp_path / "machine") as machine:
        machine.wait_console(REFUSED)


def test_firmware_without_keys_is_given_those_of_the_image_and_then_refuses_others(
    tampered: Image, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    empty = architecture(tampered.arch).emulator.variables
    with firmware(tampered, tools, store, vm_accel, tmp_path / "machine", variables=empty) as machine:
        # It starts again by itself; the lines of its first start are no longer waited for then.
        machine.wait_console(REFUSED)
        assert machine.transcript.find(re.compile("Custom Secure Boot keys successfully enrolled"), 0)

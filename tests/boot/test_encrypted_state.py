"""A state partition that the machine's TPM opens, for kernel images of one key, and what is left to do without it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from builder.core.image import Artifact, Image, read_image
from tests.support.attestation import Quote, Refused, replay_log, verify_quote
from tests.support.machines import build
from update.gpt import HEAD, Partition, parse_gpt
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

# Two signed builds and seven boots by firmware: four minutes, and ten on a busy machine.
pytestmark = [pytest.mark.boot, pytest.mark.slow]

DEFINITION = """\
name: sealed
version: 1.0.0
features: [base]
state: {{encryption: tpm2}}
kernel: {{command_line: [sealed.kernel={number}]}}
"""
CANARY = "canary-of-an-encrypted-state"
KEY = re.compile(r"^\s*((?:[cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8})\s*$")  # systemd-cryptenroll(1)
PROMPT = "Recovery key, or ERASE to lose all that is there"
STOPPED = r"this machine stopped before its root was started"
NOT_OPENED = r"Failed to start state-open\.service"


class Sealed(NamedTuple):
    """A machine that is off: its disk, and what its TPM remembers.

    Attributes:
        key: its recovery key, as the console showed it.
    """

    image: Image
    disk: Path
    tpm: Path
    key: str


@pytest.fixture(scope="module")
def kernels(key_pair: KeyPair, store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Image]:
    """One OS with two kernel images, which PCR 11 tells apart."""
    images = []
    for number in (1, 2):
        room = tmp_path_factory.mktemp(f"sealed-{number}")
        definition = room / "os.yaml"
        definition.write_text(DEFINITION.format(number=number))
        images.append(read_image(build(definition, room / "out", store, key_pair)))
    first, second = images
    assert first.roothash == second.roothash
    return first, second


@contextmanager
def switched_on(
    image: Image, tools: Tools, store: Store, accel: Verdict, folder: Path, tpm: Path | None, **options: object
) -> Iterator[Machine]:
    """A machine with this TPM's memory; with a new one where there is none."""
    home = MachineFolder(folder)
    folder.mkdir()
    home.kept.touch()  # or what its TPM remembers would be removed
    if tpm is not None:
        shutil.copytree(tpm, home.tpm)
    request = MachineRequest(memory=1024, net="none", secure_boot=True, tpm=True)
    spec = plan_machine(image, home, accel.accel, replace(request, **options))
    deadline = Deadline(500, choose_timeout_scale(accel.accel, os.environ))
    with Machine(spec, tools, deadline, folder=folder, store=store, allow=[STOPPED, NOT_OPENED, "DEPEND"]) as machine:
        yield machine


def with_disk(image: Image, disk: Path) -> Image:
    """The image as if it had been built with this disk."""
    others = {kind: artifact for kind, artifact in image.artifacts.items() if kind != "qcow2"}
    return replace(image, artifacts={**others, "raw": Artifact(disk, "raw", disk.stat().st_size, "")})


def find_partition(disk: Path, name: str) -> Partition:
    """The first partition of this type, or with this name."""
    with disk.open("rb") as file:
        return next(entry for entry in parse_gpt(file.read(HEAD)) if name in (entry.type, entry.name))


def find_key(machine: Machine) -> str:
    """What the console shows once."""
    machine.wait_console("the recovery key of this machine's state partition")
    machine.wait_console(KEY)
    lines = [match[1] for line in machine.transcript.list_lines() if (match := KEY.match(line.text))]
    assert len(set(lines)) == 1
    return lines[0]


@pytest.fixture(scope="module")
def sealed(
    kernels: tuple[Image, Image],
    tools: Tools,
    store: Store,
    vm_accel: Verdict,
    tmp_path_factory: pytest.TempPathFactory,
) -> Sealed:
    """A machine after its first boot, and a second."""
    room = tmp_path_factory.mktemp("sealed")
    image, home = kernels[0], MachineFolder(room / "machine")
    with switched_on(image, tools, store, vm_accel, home.root, None) as machine:
        machine.wait_unit("multi-user.target")
        assert machine.succeed("findmnt", "-n", "-o", "SOURCE", "/run/state").strip() == "/dev/mapper/state"
        slots = machine.succeed("systemd-cryptenroll", "/run/build-os/state-partition").split()
        assert slots == ["SLOT", "TYPE", "0", "tpm2", "1", "recovery"]
        expected = json.loads((image.directory / "build.json").read_text())["registers"]
        seen = {number: machine.read(f"/sys/class/tpm/tpm0/pcr-sha256/{number}").strip().lower() for number in expected}
        assert seen == {**expected, "11": expected["11"]["enter-initrd:leave-initrd:sysinit:ready"]}
        key = find_key(machine)
        # Once it has been shown, nothing on the machine knows it.
        machine.wait_unit("state-recovery-key.service", "inactive")
        machine.fail("test", "-e", "/run/build-os/recovery-key")
        assert key not in "\n".join(machine.journal())
        machine.write("/etc/canary", CANARY)
        machine.write("/var/canary", CANARY)
        machine.succeed("sync")
        machine.reboot()
        machine.wait_unit("multi-user.target")
        assert machine.read("/etc/canary") == CANARY
        assert machine.unit("state-recovery-key.service")["ConditionResult"] == "no"
        machine.shutdown()
    disk = room / "disk.raw"
    tools.run("qemu-img", "convert", "-O", "raw", home.locate_disk(0), disk)
    return Sealed(image, disk, home.tpm, key)


def test_who_has_the_disk_reads_nothing_of_the_state(sealed: Sealed) -> None:
    state = find_partition(sealed.disk, "state")
    with sealed.disk.open("rb") as file:
        file.seek(state.start)
        data = file.read(state.size)
    assert data.startswith(b"LUKS")
    assert CANARY.encode() not in data


def test_another_kernel_image_of_the_same_key_opens_the_state(
    sealed: Sealed, kernels: tuple[Image, Image], tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    disk = shutil.copy(sealed.disk, tmp_path / "disk.raw")
    kernel = f"::/EFI/Linux/{sealed.image.name}_{sealed.image.version}.efi"
    esp = f"{disk}@@{find_partition(disk, 'esp').start}"
    tools.run("mcopy", "-o", "-i", esp, kernels[1].require_artifact("uki").path, kernel)
    image = with_disk(sealed.image, disk)
    with switched_on(image, tools, store, vm_accel, tmp_path / "machine", sealed.tpm) as machine:
        machine.wait_unit("multi-user.target")
        assert "sealed.kernel=2" in machine.read("/proc/cmdline").split()
        assert machine.read("/etc/canary") == CANARY
        # Only the initrd may: to root of a running system the TPM gives nothing.
        machine.fail(
            "systemd-cryptenroll", "--unlock-tpm2-device=auto", "--recovery-key", "/run/build-os/state-partition"
        )
        check_quote(machine, kernels[1])


def check_quote(machine: Machine, image: Image) -> None:
    """Who is told what the build said can ask a machine's TPM whether it runs this image, and is not lied to."""
    said = json.loads((image.directory / "build.json").read_text())["registers"]
    expected = {int(number): value for number, value in said.items()}
    expected[11] = said["11"]["enter-initrd:leave-initrd:sysinit:ready"]
    registers = {number: bytes.fromhex(value) for number, value in expected.items()}
    nonce = os.urandom(20)
    machine.write("/run/quote.py", (Path(__file__).parent / "guest/quote.py").read_text())
    answer = json.loads(machine.succeed("python3", "/run/quote.py", nonce.hex(), *map(str, sorted(registers))))
    quote = Quote(*(bytes.fromhex(answer[name]) for name in ("public", "quoted", "signature")))
    verify_quote(quote, nonce, registers)
    with pytest.raises(Refused, match="an old one"):
        verify_quote(quote, os.urandom(20), registers)
    with pytest.raises(Refused, match="in another state"):
        verify_quote(quote, nonce, {**registers, 11: bytes.fromhex(said["11"]["enter-initrd"])})
    with pytest.raises(Refused, match="not by this key"):
        verify_quote(quote._replace(quoted=quote.quoted[:-1] + bytes([quote.quoted[-1] ^ 1])), nonce, registers)
    # Firmware's own log leads to the same registers; how far the boot is, systemd has added to 11 since.
    replayed = replay_log(bytes.fromhex(answer["log"]))
    assert {number: replayed.get(number, bytes(32)) for number in (4, 7, 11, 12)} == {
        **registers,
        11: bytes.fromhex(said["11"]["kernel"]),
    }


def test_without_its_tpm_the_recovery_key_opens_the_state(
    sealed: Sealed, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    image = with_disk(sealed.image, sealed.disk)
    with switched_on(image, tools, store, vm_accel, tmp_path / "machine", None) as machine:
        machine.wait_console(PROMPT)
        machine.type("no-such-key\r")
        machine.wait_console("That is not the recovery key")
        machine.type(f"{sealed.key}\r")
        machine.wait_unit("multi-user.target")
        assert machine.read("/var/canary") == CANARY


def test_without_tpm_and_key_all_is_lost_and_the_machine_begins_anew(
    sealed: Sealed, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    image = with_disk(sealed.image, sealed.disk)
    with switched_on(image, tools, store, vm_accel, tmp_path / "machine", None) as machine:
        machine.wait_console(PROMPT)
        machine.type("ERASE\r")
        machine.wait_console("The state partition is new and empty")
        machine.wait_reset()
        machine.wait_unit("multi-user.target")
        machine.fail("test", "-e", "/var/canary")
        assert find_key(machine) != sealed.key


def test_a_state_that_is_not_encrypted_is_not_taken(
    sealed: Sealed, tools: Tools, store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    """What somebody with the disk would put there: a unit for root in an /etc of their own."""
    disk = shutil.copy(sealed.disk, tmp_path / "disk.raw")
    state = find_partition(disk, "state")
    plain = tmp_path / "plain"
    with plain.open("wb") as file:
        file.truncate(state.size)
    tools.run("mke2fs", "-q", "-t", "ext4", plain)
    with disk.open("r+b") as target, plain.open("rb") as source:
        target.seek(state.start)
        shutil.copyfileobj(source, target)
    image = with_disk(sealed.image, disk)
    with switched_on(image, tools, store, vm_accel, tmp_path / "machine", sealed.tpm) as machine:
        machine.wait_console("is not encrypted, and this image opens only one that is")
        machine.wait_console(STOPPED)

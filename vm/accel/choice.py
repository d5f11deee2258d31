"""KVM if it really works, else emulation; and why.

``/dev/kvm`` may be there and not run a stock kernel: a cloud's nested KVM was seen that QEMU cannot set a register of
(``failed to set MSR``), and that then stays in real mode for ever. So a few instructions are run
(:data:`GUESTS`), with the processor that a real machine would get, and the answer is kept until the next boot of
this host.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from builder.core.architecture import Arch, require_architecture
from builder.core.enter import CANNOT_ENTER
from builder.core.errors import CapabilityError
from builder.core.files import write_file
from builder.core.store import Store
from builder.core.tools import Tools
from vm.accel import guest_arm64, guest_x86_64
from vm.spec import Accel

PATIENCE_SECONDS = 10.0
DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Verdict:
    """What to run machines with. ``reason`` says why not KVM; empty when it is KVM."""

    accel: Accel
    reason: str = ""
    hint: str | None = None

    def __str__(self) -> str:
        return "KVM" if self.accel is Accel.KVM else f"emulation (TCG), because {self.reason}"


def choose_accel(tools: Tools, store: Store, arch: str, device: Path = DEVICE) -> Verdict:
    """Probe, or remember.

    Raises:
        CapabilityError: QEMU is not in the tools tree, or the tools tree cannot be entered.
    """
    if (obstacle := _obstacle(arch, device)) is not None:
        return obstacle
    key = _key(tools, arch)
    cache = store.root / "vm" / f"accel-{key}.json"
    if (known := _read(cache)) is not None:
        return known
    verdict = _probe(tools, arch)
    write_file(
        cache,
        json.dumps({"accel": verdict.accel.value, "reason": verdict.reason, "hint": verdict.hint}) + "\n",
    )
    return verdict


class Guest(Protocol):
    """A firmware image that does what every kernel does first: a module for each architecture."""

    EXIT_STATUS: int
    STEPS: dict[str, str]
    DONE: str

    def list_devices(self, marks: str) -> list[str]:
        """QEMU's options for where the marks go."""

    def make_firmware(self) -> bytes:
        """The image."""


GUESTS: Mapping[str, Guest] = {Arch.AMD64: guest_x86_64, Arch.ARM64: guest_arm64}


def judge(guest: Guest, status: int | None, marks: str, said: str) -> Verdict:
    """What a probe's outcome means.

    Args:
        guest: what was run.
        status: QEMU's exit status, ``None`` when it did not end in time.
        marks: what the guest printed (the keys of its ``STEPS``).
        said: QEMU's standard error.
    """
    if status == guest.EXIT_STATUS and marks.endswith(guest.DONE):
        return Verdict(Accel.KVM)
    errors = [line for line in said.splitlines() if line.strip() and "warning:" not in line]
    reached = guest.STEPS.get(marks[-1:], "its first instruction")
    if errors:
        why = f"QEMU says: {errors[0].partition(': ')[2] or errors[0]}"
    elif status is None:
        why = f"a tiny guest got no further than {reached} in {PATIENCE_SECONDS:g} s"
    else:
        why = f"QEMU ended with status {status} after the guest reached {reached}"
    return Verdict(
        Accel.TCG,
        f"{DEVICE} is there but cannot run a guest ({why})",
        "if this is itself a virtual machine, its host must allow nested virtualisation",
    )


def make_probe_argv(arch: str, firmware: Path, marks: Path) -> list[str]:
    """QEMU's command line for the probe."""
    emulator = require_architecture(arch).emulator
    return [
        emulator.program,
        *("-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-machine", emulator.machine, "-accel", "kvm", "-cpu", "host", "-m", "32M"),
        *("-bios", str(firmware)),
        *GUESTS[arch].list_devices(str(marks)),
    ]


def _obstacle(arch: str, device: Path) -> Verdict | None:
    """What can be seen without starting anything; never kept, because it is cheap to look again."""
    if not require_architecture(arch).is_native:
        return Verdict(Accel.TCG, f"the image is for {arch} and this machine is {platform.machine()}")
    if not device.exists():
        hint = "on a cloud, choose a machine type with nested virtualisation; elsewhere, load kvm_intel or kvm_amd"
        return Verdict(Accel.TCG, f"there is no {device}", hint)
    if not os.access(device, os.R_OK | os.W_OK):
        return Verdict(Accel.TCG, f"{device} may not be opened", "add yourself to the group that owns it, often 'kvm'")
    return None


def _probe(tools: Tools, arch: str) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="build-os-kvm-") as name:
        folder = Path(name)
        firmware, marks, said = folder / "firmware", folder / "marks", folder / "stderr"
        firmware.write_bytes(GUESTS[arch].make_firmware())
        with (
            said.open("wb") as stderr,
            tools.spawn(*make_probe_argv(arch, firmware, marks), stderr=stderr) as process,
        ):
            try:
                status: int | None = process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # a stuck vCPU does not listen to anything softer
                status = None
        text = said.read_text(encoding="utf-8", errors="replace")
        if status == CANNOT_ENTER:
            raise CapabilityError(
                "this machine does not let us enter the tools tree",
                details=text.splitlines(),
                hint="run 'build-os doctor'",
            )
        return judge(GUESTS[arch], status, marks.read_text(encoding="latin-1") if marks.exists() else "", text)


def _key(tools: Tools, arch: str) -> str:
    """Everything that could change the answer: this boot of this kernel, this QEMU, this probe."""
    boot = BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""
    known = (boot, platform.release(), platform.version(), str(tools.root), arch, GUESTS[arch].make_firmware().hex())
    return hashlib.sha256("\0".join(known).encode()).hexdigest()[:16]


def _read(cache: Path) -> Verdict | None:
    try:
        data = json.loads(cache.read_text(encoding="utf-8"))
        return Verdict(Accel(data["accel"]), str(data["reason"]), data.get("hint"))
    except (OSError, ValueError, KeyError, TypeError):
        return None

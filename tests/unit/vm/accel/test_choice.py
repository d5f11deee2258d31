"""KVM if it works, and why not if it does not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.core.architecture import Arch
from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from vm.accel import guest_arm64, guest_x86_64
from vm.accel.choice import GUESTS, Verdict, choose_accel, judge, make_probe_argv
from vm.spec import Accel

pytestmark = pytest.mark.unit


def test_a_guest_that_reaches_its_end_proves_kvm() -> None:
    verdict = judge(guest_x86_64, guest_x86_64.EXIT_STATUS, "rplmad", "")
    assert verdict == Verdict(Accel.KVM)
    assert str(verdict) == "KVM"


@pytest.mark.parametrize(
    ("status", "marks", "said", "reason"),
    [
        (
            -6,
            "",
            "qemu-system-x86_64: warning: x\nqemu-system-x86_64: error: failed to set MSR 0x10a to 0xc000069\nmore",
            "QEMU says: error: failed to set MSR 0x10a to 0xc000069",
        ),
        (None, "r", "", "got no further than real mode in 10 s"),
        (None, "", "", "got no further than its first instruction"),
        (0, "rpl", "", "QEMU ended with status 0 after the guest reached long mode"),
        (guest_x86_64.EXIT_STATUS, "rplm", "", "ended with status 33 after the guest reached model-specific registers"),
        (1, "", "Could not access KVM kernel module: No such device\n", "No such device"),
    ],
)
def test_everything_else_says_why(status: int | None, marks: str, said: str, reason: str) -> None:
    verdict = judge(guest_x86_64, status, marks, said)
    assert verdict.accel is Accel.TCG
    assert reason in verdict.reason
    assert verdict.hint is not None
    assert str(verdict).startswith("emulation (TCG), because /dev/kvm")


def test_each_architecture_has_a_guest_of_its_own() -> None:
    assert set(GUESTS) == set(Arch)
    assert judge(guest_arm64, 0, "spvtd", "") == Verdict(Accel.KVM)
    assert "no further than SIMD registers" in judge(guest_arm64, None, "spv", "").reason
    assert "status 0 after the guest reached page tables" in judge(guest_arm64, 0, "sp", "").reason


def test_a_warning_does_not_spoil_a_success() -> None:
    assert judge(guest_x86_64, guest_x86_64.EXIT_STATUS, "rplmad", "qemu: warning: odd\n").accel is Accel.KVM


@pytest.mark.parametrize(
    ("arch", "program", "machine"),
    [("amd64", "qemu-system-x86_64", "q35,sata=off"), ("arm64", "qemu-system-aarch64", "virt")],
)
def test_the_probe_uses_the_processor_that_machines_get(arch: str, program: str, machine: str) -> None:
    argv = make_probe_argv(arch, Path("/t/fw"), Path("/t/marks"))
    assert argv[0] == program
    assert argv[argv.index("-machine") + 1] == machine
    assert argv[argv.index("-cpu") + 1] == "host"
    assert argv[argv.index("-accel") + 1] == "kvm"
    assert "file,id=marks,path=/t/marks" in argv


def test_the_firmware_starts_where_a_processor_does() -> None:
    image = guest_x86_64.make_firmware()
    assert len(image) == 64 << 10
    assert image[guest_x86_64.RESET] == 0xE9
    target = guest_x86_64.RESET + 3 + struct.unpack_from("<H", image, guest_x86_64.RESET + 1)[0]
    assert target & 0xFFFF == guest_x86_64.CODE
    assert image[guest_x86_64.CODE] == 0xB0  # the first mark
    limit, base = struct.unpack_from("<HI", image, guest_x86_64.GDTR)
    assert (limit, base) == (31, 0xFFFFFF00)
    assert image.index(bytes([0xE6, guest_x86_64.EXIT_PORT])) < guest_x86_64.GDT


class CountingTools(Tools):
    """Counts the programs it is asked to start, and starts none."""

    @contextmanager
    def spawn(self, *command: str | Path, **_: object) -> Iterator[object]:  # type: ignore[override]
        STARTED.append(command)
        marks = next(str(word) for word in command if str(word).startswith("file,id=marks"))
        Path(marks.partition("path=")[2]).write_text("rplmad")
        yield Ended()


class Ended:
    def wait(self, timeout: float) -> int:
        return guest_x86_64.EXIT_STATUS


STARTED: list[object] = []


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.write_text("")
    return path


def tools(tmp_path: Path) -> Tools:
    return CountingTools(tmp_path / "tools", QuietConsole())


def test_the_answer_is_kept(tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    STARTED.clear()
    store = Store(tmp_path / "store")
    assert choose_accel(tools(tmp_path), store, "amd64", device) == Verdict(Accel.KVM)
    assert choose_accel(tools(tmp_path), store, "amd64", device) == Verdict(Accel.KVM)
    assert len(STARTED) == 1
    for path in (store.root / "vm").iterdir():
        path.write_text("{broken")
    choose_accel(tools(tmp_path), store, "amd64", device)
    monkeypatch.setattr("vm.accel.choice.platform.release", lambda: "another kernel")
    choose_accel(tools(tmp_path), store, "amd64", device)
    assert len(STARTED) == 3


def test_without_the_device_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    STARTED.clear()
    verdict = choose_accel(tools(tmp_path), Store(tmp_path), "amd64", tmp_path / "absent")
    assert verdict.accel is Accel.TCG
    assert "there is no" in verdict.reason
    assert not STARTED


def test_a_device_we_may_not_open_is_said_to_be_so(
    tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("vm.accel.choice.os.access", lambda *_: False)
    verdict = choose_accel(tools(tmp_path), Store(tmp_path), "amd64", device)
    assert "may not be opened" in verdict.reason
    assert "kvm" in str(verdict.hint)


def test_another_architecture_is_emulated(tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    verdict = choose_accel(tools(tmp_path), Store(tmp_path), "amd64", device)
    assert "the image is for amd64 and this machine is aarch64" in verdict.reason

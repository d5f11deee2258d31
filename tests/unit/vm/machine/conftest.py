"""A machine whose QEMU is played by the test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.console import QuietConsole
from builder.core.tools import Tools
from vm.machine import Machine
from vm.spec import Accel, Disk, Kernel, VmSpec
from vm.waiting.deadline import Deadline

if TYPE_CHECKING:
    from tests.unit.vm.conftest import FakeQemu


class FakeTools(Tools):
    """Writes down what it is asked to run."""

    def run(self, *command: str | Path, **_: object) -> str:
        RUN.append([str(word) for word in command])
        Path(command[-1] if not str(command[-1]).isdigit() else command[-2]).touch()
        return ""


RUN: list[list[str]] = []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "machine"


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    firmware = tmp_path / "tools" / "usr/share/OVMF"
    firmware.mkdir(parents=True)
    (firmware / "OVMF_CODE_4M.fd").write_text("code")
    (firmware / "OVMF_VARS_4M.fd").write_text("variables")
    return FakeTools(tmp_path / "tools", QuietConsole())


@pytest.fixture(autouse=True)
def wired(monkeypatch: pytest.MonkeyPatch, qemu: FakeQemu) -> None:
    monkeypatch.setattr("vm.machine.base.connect", qemu.connect)
    RUN.clear()


def spec(folder: Path, **changes: Any) -> VmSpec:
    options: dict[str, Any] = {
        "name": "demo",
        "arch": "amd64",
        "accel": Accel.TCG,
        "disks": (Disk(folder / "disk0.qcow2", base=Path("/out/demo.qcow2")),),
        "kernel": Kernel(Path("/out/vmlinuz")),
        **changes,
    }
    return VmSpec(**options)


@pytest.fixture
def start(folder: Path, tools: Tools) -> Callable[..., Machine]:
    def make(seconds: float = 60, *, changes: dict[str, Any] | None = None, **options: Any) -> Machine:
        return Machine(spec(folder, **(changes or {})), tools, Deadline(seconds), folder=folder, **options)

    return make


Start = Callable[..., Machine]


def soon(action: Callable[[], None]) -> None:
    timer = threading.Timer(0.05, action)
    timer.daemon = True
    timer.start()


def commands(qemu: FakeQemu) -> list[str]:
    return [command["execute"] for command in qemu.commands]

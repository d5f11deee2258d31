"""Reboots, power cuts, and the way to off and on again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.errors import VmError
from tests.unit.vm.machine.conftest import RUN, Start, commands, soon

if TYPE_CHECKING:
    from tests.unit.vm.conftest import FakeQemu

pytestmark = pytest.mark.unit


def test_a_reboot_is_over_when_the_probe_is_back(start: Start, qemu: FakeQemu) -> None:
    def come_back() -> None:
        time.sleep(0.2)
        qemu.greets()

    def reboot(_: dict[str, Any]) -> object:
        soon(lambda: qemu.happens("RESET"))
        soon(come_back)
        return {}

    qemu.answer["reboot"] = reboot
    with start() as machine:
        qemu.says("first boot's line\n")
        machine.wait_console("line")
        qemu.reports(event="finished", result="ok")
        qemu.greets()
        machine.wait_firstboot()
        machine.reboot()
        assert machine.boots == 2
        assert machine.firstboot.events == ()
        with pytest.raises(VmError):
            machine.wait_console("first boot's line", within=0.1)


def test_a_hard_reboot_asks_nobody(start: Start, qemu: FakeQemu) -> None:
    with start(probe=False) as machine:
        machine.reboot(hard=True)
        assert machine.boots == 2
    assert "system_reset" in commands(qemu)


def test_after_a_power_cut_the_same_disks_are_there(start: Start, qemu: FakeQemu, folder: Path) -> None:
    with start() as machine:
        (folder / "disk0.qcow2").write_text("written by the guest")
        machine.power_cut()
        assert machine.boots == 2
        assert (folder / "disk0.qcow2").read_text() == "written by the guest"
        assert qemu.process.killed
    assert commands(qemu).count("cont") == 2
    assert len([command for command in RUN if command[0] == "qemu-img"]) == 1


def test_a_shutdown_ends_with_qemu(start: Start, qemu: FakeQemu) -> None:
    qemu.on_command = lambda name: soon(lambda: qemu.ends(0)) if name == "system_powerdown" else None
    with start() as machine:
        machine.shutdown()
        assert machine.is_off
    assert "quit" not in commands(qemu)


def test_a_machine_that_is_off_is_switched_on_again(start: Start, qemu: FakeQemu, folder: Path) -> None:
    qemu.on_command = lambda name: soon(lambda: qemu.ends(0)) if name == "system_powerdown" else None
    with start() as machine:
        (folder / "disk0.qcow2").write_text("written by the guest")
        with pytest.raises(VmError, match="on already"):
            machine.boot()
        machine.shutdown()
        machine.boot()
        assert not machine.is_off
        assert machine.boots == 2
        assert (folder / "disk0.qcow2").read_text() == "written by the guest"


def test_a_shutdown_that_ends_badly_is_an_error(start: Start, qemu: FakeQemu) -> None:
    qemu.on_command = lambda name: soon(lambda: qemu.ends(134)) if name == "system_powerdown" else None
    with pytest.raises(VmError, match="QEMU ended with status 134"), start() as machine:
        machine.shutdown()


def test_processor_time_is_counted(start: Start) -> None:
    with start() as machine:
        assert machine.cpu_seconds() > 0

"""A machine, from power-on to its end, without a QEMU: what is asked, what is heard, how it is put away."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import VmError
from builder.core.tools import Tools
from tests.unit.vm.machine.conftest import Start, commands, soon
from vm.machine import Machine
from vm.qemu.start import Connection, spawn_apart
from vm.registry.running import Registry
from vm.spec import Forward

if TYPE_CHECKING:
    from tests.unit.vm.conftest import FakeQemu

pytestmark = pytest.mark.unit


# From power-on to the end


def test_a_machine_is_listened_to_before_it_runs_and_put_away_after(start: Start, qemu: FakeQemu, folder: Path) -> None:
    with start() as machine:
        qemu.says("vm login: ")
        assert machine.wait_console("login: ").text == "vm login: "
    assert commands(qemu) == ["qmp_capabilities", "cont", "quit"]
    assert (folder / "serial.log").read_text().endswith("vm login: \n")
    assert not (folder / "disk0.qcow2").exists()
    assert not (folder / "credentials").exists()


def test_each_start_has_the_probes_credentials(start: Start, qemu: FakeQemu, folder: Path) -> None:
    with start():
        assert [path.parent for path in qemu.specs[0].credentials] == [folder / "credentials"] * 3
    with start(probe=False):
        assert qemu.specs[1].credentials == ()


def test_a_qemu_that_does_not_start_says_why(
    start: Start, qemu: FakeQemu, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*arguments: Any, **options: Any) -> Connection:
        connection = qemu.connect(*arguments, **options)
        (folder / "qemu.log").write_text("qemu: -netdev user: Could not set up host forwarding rule 'tcp:1-:2'\n")
        qemu.ends(1)
        return connection

    monkeypatch.setattr("vm.machine.base.connect", connect)
    with pytest.raises(VmError) as caught:
        start().__enter__()
    assert caught.value.what.startswith("QEMU ended with status 1 (while waiting for QEMU")
    assert caught.value.hint == "another program has that port; choose another, or none and let one be chosen"
    assert f"QEMU: {folder / 'qemu.log'}" in caught.value.details


def test_an_error_names_the_logs(start: Start, qemu: FakeQemu, folder: Path) -> None:
    qemu.on_command = lambda name: qemu.says("some line\n") if name == "cont" else None
    with pytest.raises(VmError) as caught, start() as machine:
        machine.wait_console("login:", within=0.2)
    assert caught.value.what == "/login:/ on the console did not come within 0.2 s"
    assert caught.value.details == ("some line", f"serial line: {folder / 'serial.log'}")


def test_a_qemu_that_ends_ends_the_wait(start: Start, qemu: FakeQemu) -> None:
    with start() as machine:
        soon(lambda: qemu.ends(-9))
        with pytest.raises(VmError, match="QEMU ended with status -9 "):
            machine.wait_console("login:")


def test_a_clean_power_off_is_no_success(start: Start, qemu: FakeQemu) -> None:
    with start() as machine:
        qemu.says("reboot: Power down")
        soon(lambda: qemu.ends(0))
        with pytest.raises(VmError, match="the machine powered itself off") as caught:
            machine.wait_probe()
    assert "reboot: Power down" in caught.value.details


def test_last_words_count(start: Start, qemu: FakeQemu) -> None:
    with start() as machine:
        qemu.process.returncode = 0  # known before its last words have arrived

        def speak() -> None:
            qemu.says("test passed\n")
            qemu.ends(0)

        soon(speak)
        assert machine.wait_console("test passed").text == "test passed"


def test_an_interrupt_leaves_nothing_behind(start: Start, qemu: FakeQemu, folder: Path) -> None:
    qemu.on_command = lambda name: soon(lambda: os.kill(os.getpid(), signal.SIGINT)) if name == "cont" else None
    with pytest.raises(KeyboardInterrupt), start() as machine:
        machine.wait_console("login:")
    assert commands(qemu)[-1] == "quit"
    assert not list(folder.glob("disk*"))


# First boot


def test_a_first_boot_that_went_well(start: Start, qemu: FakeQemu, folder: Path) -> None:
    with start() as machine:
        qemu.reports(event="started", image="demo")
        qemu.reports(event="finished", result="ok", seconds=1.5)
        assert machine.wait_firstboot().message["seconds"] == 1.5
    assert json.loads((folder / "firstboot-result.json").read_text())["result"] == "ok"


def test_a_failed_first_boot_ends_every_wait_with_its_message(start: Start, qemu: FakeQemu) -> None:
    failed = {"event": "finished", "result": "failed", "message": "no user bob", "screen": "m.yaml:3:1: no user"}
    with start() as machine:
        qemu.says("build-os first boot failed\n")
        soon(lambda: qemu.reports(**failed))
        with pytest.raises(VmError) as caught:
            machine.wait_http(80)
    assert caught.value.what.startswith("first boot failed: no user bob (while waiting for")
    assert caught.value.details[0] == "m.yaml:3:1: no user"


def test_a_failed_first_boot_is_noticed_without_its_channel_too(start: Start, qemu: FakeQemu) -> None:
    with start() as machine:
        qemu.says("build-os first boot failed\nm.yaml:3:1: no user\n")
        with pytest.raises(VmError, match="the console shows a failed first boot"):
            machine.wait_firstboot()


def test_expected_trouble_may_be_allowed(start: Start, qemu: FakeQemu) -> None:
    with start(allow=["Kernel panic"]) as machine:
        qemu.says("Kernel panic - not syncing\nvm login: ")
        machine.wait_console("login: ")
        assert machine.sightings == ()


# Running on without us


def test_a_machine_may_be_left_running(start: Start, qemu: FakeQemu, folder: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "machines")
    with start(outlive=True, changes={"forwards": (Forward(80),)}) as machine:
        registry.add(machine.leave("core", tmp_path / "key"))
    assert "quit" not in commands(qemu)
    assert registry.find().forwards == {80: 35377}
    assert (folder / "disk0.qcow2").exists()


def test_a_machine_is_not_left_when_something_went_wrong(start: Start, qemu: FakeQemu) -> None:
    def leave_and_fail(machine: Machine) -> None:
        machine.leave()
        raise RuntimeError

    with pytest.raises(RuntimeError), start(outlive=True) as machine:
        leave_and_fail(machine)
    assert commands(qemu)[-1] == "quit"


@pytest.mark.parametrize("keep", [True, False])
def test_a_process_goes_on_only_if_it_is_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool) -> None:
    stopped: list[object] = []

    class Child:
        def __init__(self, *_: object, **options: object) -> None:
            assert options["start_new_session"]

    monkeypatch.setattr("vm.qemu.start.subprocess.Popen", Child)
    monkeypatch.setattr("vm.qemu.start.stop", stopped.append)
    monkeypatch.setattr(Tools, "require", lambda *_: "/usr/bin/qemu-system-x86_64")
    tools = Tools(tmp_path, QuietConsole())
    with (tmp_path / "log").open("wb") as log, spawn_apart(tools, ["qemu-system-x86_64"], [], log, lambda: keep):
        pass
    assert bool(stopped) is not keep

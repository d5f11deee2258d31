"""A machine, from power-on to its end, without a QEMU: what is asked, what is heard, how it is put away."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.architecture import require_architecture
from builder.core.console import QuietConsole
from builder.core.errors import CapabilityError, InputError, VmError
from builder.core.store import Store
from builder.core.tools import Tools
from firstboot.config.urls import decode_data_url
from firstboot.engine.compile import load
from update.gpt import Partition
from vm.accel.boot_slot import BootSlot
from vm.disks.prepare import LARGE_CONFIG, prepare, read_config
from vm.guest import probe
from vm.guest.bad_signs import find_failed_unit
from vm.machine import Machine
from vm.machine.terminal import attend
from vm.network.segment import Segment
from vm.qemu import snapshots
from vm.qemu.argv import make_argv
from vm.qemu.start import Connection, spawn_apart
from vm.registry.running import Registry
from vm.spec import Accel, Credentials, Disk, Forward, Kernel, Uefi, VmSpec
from vm.spec.folder import MachineFolder
from vm.waiting.deadline import Deadline

if TYPE_CHECKING:
    from conftest import FakeQemu

pytestmark = pytest.mark.unit


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


# Through the probe


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_programs_succeed_and_fail(start: Start, qemu: FakeQemu) -> None:
    def run(request: dict[str, Any]) -> object:
        status = 0 if request["argv"][0] == "true" else 1
        return {"status": status, "stdout": b64("said\n"), "stderr": b64("complained\n")}

    qemu.answer["run"] = run
    with start() as machine:
        qemu.greets()
        assert machine.succeed("true") == "said"
        assert machine.fail("false --with 'two words'").argv == ("false", "--with", "two words")
        with pytest.raises(VmError, match="false failed in the guest with status 1") as caught:
            machine.succeed("false")
        assert caught.value.details == ("said", "complained")
        with pytest.raises(VmError, match="true succeeded in the guest, and should not"):
            machine.fail("true")


def test_an_answer_that_is_lost_with_the_probe_is_not_waited_for(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["run"] = lambda _: qemu.greets()
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match="started again before it answered"):
            machine.run("true")


def test_what_only_looks_is_asked_again_when_the_probe_is_killed(start: Start, qemu: FakeQemu) -> None:
    answers = iter([qemu.greets, lambda: {"data": base64.b64encode(b"x").decode()}])
    qemu.answer["read"] = lambda _: next(answers)()
    with start() as machine:
        qemu.greets()
        assert machine.read("/x") == "x"
    assert [request["op"] for request in qemu.requests] == ["read", "read"]


def test_a_guest_that_reboots_by_itself_is_not_waited_for(start: Start, qemu: FakeQemu) -> None:
    boots = iter(["second", "third"])
    qemu.answer["run"] = lambda _: qemu.greets(next(boots))
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match="the guest has rebooted before it answered"):
            machine.run("true")
        assert machine.run_until_reboot("true") is None


def test_files_go_there_and_back(start: Start, qemu: FakeQemu) -> None:
    kept: dict[str, str] = {}

    def write(request: dict[str, Any]) -> object:
        kept[request["path"]] = request["data"]
        return {}

    qemu.answer["write"] = write
    qemu.answer["read"] = lambda request: {"data": kept[request["path"]]}
    with start() as machine:
        qemu.greets()
        machine.write("/etc/motd", "hello")
        assert machine.read("/etc/motd") == "hello"


def states(*states: str, load: str = "loaded") -> Callable[[dict[str, Any]], object]:
    """Each look sees the next state, at last always the last."""
    left = list(states)

    def answer(_: dict[str, Any]) -> object:
        state = left.pop(0) if len(left) > 1 else left[0]
        return {"properties": {"LoadState": load, "ActiveState": state, "SubState": "x", "Result": "exit-code"}}

    return answer


def test_a_unit_is_waited_for(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["unit"] = states("inactive", "activating", "active")
    with start(changes={"accel": Accel.KVM}) as machine:
        qemu.greets()
        assert machine.wait_unit("web.service")["ActiveState"] == "active"
        assert machine.unit("web.service")["LoadState"] == "loaded"


def test_a_unit_that_failed_ends_the_wait_with_its_journal(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["unit"] = states("failed")
    qemu.answer["run"] = lambda _: {"status": 0, "stdout": b64("no such file\n"), "stderr": ""}
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match=r"web.service failed \(exit-code\)") as caught:
            machine.wait_unit("web.service")
    assert caught.value.details[0] == "no such file"


def test_a_unit_that_does_not_exist_is_not_waited_for(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["unit"] = states("inactive", load="not-found")
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match=r"the machine has no unit web\.service"):
            machine.wait_unit("web.service")


def test_a_unit_that_never_comes_shows_its_last_state(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["unit"] = states("activating")
    with start() as machine:
        qemu.greets()
        with pytest.raises(VmError, match=r"web\.service to be active did not come within") as caught:
            machine.wait_unit("web.service", within=0.2)
    assert caught.value.details[0] == "its last state was activating (x)"
    looks = [request for request in qemu.requests if request["op"] == "unit"]
    assert len(looks) < 5, "an answer is no reason to ask again"


# Power


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


# Ports, turns, terminals


def test_ports_are_those_that_qemu_bound(start: Start, qemu: FakeQemu) -> None:
    with start(changes={"forwards": (Forward(80),)}) as machine:
        assert machine.forwards == {80: 35377}
        assert machine.forward(80) == 35377


def test_under_emulation_the_next_machine_boots_when_this_one_has(start: Start, qemu: FakeQemu, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    taken = store.root / "locks" / "vm-boot"
    with start(store=store) as machine:
        assert taken.read_text().split()[0] == str(os.getpid())
        qemu.greets()
        machine.wait_probe()
        assert taken.read_text() == ""
    with start(store=store):
        assert taken.read_text().split()[0] == str(os.getpid())
    assert taken.read_text() == ""


def test_a_machine_whose_power_fails_while_it_boots_boots_again(start: Start, qemu: FakeQemu, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with start(store=store) as machine:
        machine.power_cut()
        assert machine.boots == 2
        assert (store.root / "locks" / "vm-boot").read_text().split()[0] == str(os.getpid())


def test_a_machine_that_is_damaged_while_it_boots_boots_again(
    start: Start, qemu: FakeQemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    root = Partition(2, "root", "demo_1", 4096, 8192)
    damaged = []
    monkeypatch.setattr("vm.disks.tamper.list_partitions", lambda disk, tools: [root])
    monkeypatch.setattr(
        "vm.disks.tamper.invert_bytes", lambda disk, tools, *where: damaged.append((disk.path.name, *where))
    )
    with start(store=store) as machine:
        machine.tamper("root", 7, 3)
        assert machine.boots == 2
        assert damaged == [("disk0.qcow2", root, 7, 3)]
        assert (store.root / "locks" / "vm-boot").read_text().split()[0] == str(os.getpid())


@pytest.mark.parametrize("says", ["web login: ", "Kernel panic - not syncing: x\n"])
def test_a_machine_at_whose_console_somebody_sits_lets_the_next_one_boot_when_it_is_up_or_lost(
    start: Start, qemu: FakeQemu, tmp_path: Path, says: str
) -> None:
    store = Store(tmp_path / "store")
    taken = store.root / "locks" / "vm-boot"
    shown = threading.Event()
    with start(store=store, echo=lambda _: shown.set()) as machine:
        machine.release_if_booted()
        assert taken.read_text() != ""
        qemu.says(says)
        assert shown.wait(10)
        soon(lambda: qemu.ends(0))
        keyboard, hand = os.pipe()
        seen: list[str] = []
        attend(machine, keyboard, lambda: (machine.release_if_booted(), seen.append(taken.read_text()))[0])
        os.close(keyboard)
        os.close(hand)
        assert seen[0] == ""


def test_ssh_is_waited_for_until_a_server_says_so(start: Start, qemu: FakeQemu) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said: list[bytes] = [b"", b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-OpenSSH_10.0\r\n"]

        def serve() -> None:
            for each in said:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(each)

        threading.Thread(target=serve, daemon=True).start()
        with start() as machine:
            machine.forwards = {22: port}
            assert machine.wait_ssh() == "SSH-2.0-OpenSSH_10.0"
    with start(0.3) as machine:
        machine.forwards = {22: port}
        with pytest.raises(VmError, match="an answer from the guest's ssh server did not come") as caught:
            machine.wait_ssh()
        assert "ConnectionRefusedError" in caught.value.details[0]


def test_a_unit_that_fails_does_not_end_a_machine_that_somebody_wants_to_look_at(start: Start, qemu: FakeQemu) -> None:
    with start(patient=True) as machine:
        for number in range(150):  # more than are remembered
            qemu.says(f"[FAILED] Failed to start bad{number}.service - Fails.\n")
        qemu.says("web login: ")
        machine.wait_console("login:")
        assert find_failed_unit(machine.sightings[0].line.text) == "bad0.service"
        qemu.says("Kernel panic - not syncing: x\n")
        with pytest.raises(VmError, match="the console shows a kernel panic"):
            machine.wait_console("a line that never comes")


def test_a_machine_that_never_comes_up_holds_nobody_up_for_ever(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    stuck = BootSlot(store, QuietConsole(), Accel.TCG, most=0.05)
    stuck.take()
    BootSlot(store, QuietConsole(), Accel.TCG).take()  # waits for the other, which never says that it is up
    assert not stuck.is_held


def test_the_next_machine_may_boot_once_the_first_boot_of_one_has_begun(
    start: Start, qemu: FakeQemu, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    taken: list[float] = []
    waits = threading.Thread(target=lambda: taken.append(BootSlot(store, QuietConsole(), Accel.TCG).take()))
    with start(store=store):
        waits.start()
        waits.join(0.2)
        assert taken == []
        qemu.reports(event="started", image="demo")
        waits.join(20)
        assert len(taken) == 1


def test_the_time_of_a_turn_that_was_given_back_does_not_end_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[threading.Timer] = []

    class Seen(threading.Timer):
        def start(self) -> None:
            timers.append(self)

    monkeypatch.setattr("vm.accel.boot_slot.threading.Timer", Seen)
    slot = BootSlot(Store(tmp_path / "store"), QuietConsole(), Accel.TCG)
    slot.take()
    slot.give_back()
    slot.take()
    assert [timer.finished.is_set() for timer in timers] == [True, False]
    slot.give_back()


def test_with_kvm_nobody_waits(start: Start, tmp_path: Path) -> None:
    with start(store=Store(tmp_path / "store"), changes={"accel": Accel.KVM}):
        assert not (tmp_path / "store" / "locks").exists()


def test_keys_go_to_the_machine_until_somebody_leaves(start: Start, qemu: FakeQemu) -> None:
    shown: list[bytes] = []
    keyboard, hand = os.pipe()
    with start(echo=shown.append) as machine:
        qemu.says("login: ")
        os.write(hand, b"root\x1d")
        assert attend(machine, keyboard) is False
        assert qemu.serial.recv(10) == b"root"
        soon(lambda: qemu.ends(0))
        assert attend(machine, keyboard) is True
    os.close(keyboard)
    os.close(hand)
    assert shown == [b"login: "]


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


# Before it starts


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
    assert [each.partition(":")[0] for each in strings(made)] == ["io.systemd.credential.binary"] * 3
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


# Time and hardware


def test_a_snapshot_is_kept_in_all_written_disks_and_gone_back_to(start: Start, qemu: FakeQemu, folder: Path) -> None:
    disks = (
        Disk(folder / "disk0.qcow2", base=Path("/out/demo.qcow2")),
        Disk(folder / "disk1.qcow2", size=1 << 30),
        Disk(folder / "seed.raw", "raw", read_only=True, size=1 << 20),
    )
    with start(changes={"disks": disks}) as machine:
        machine.snapshot("before")
        machine.restore("before")
    jobs = [(each["execute"], each["arguments"]) for each in qemu.commands if each["execute"].startswith("snapshot-")]
    assert [name for name, _ in jobs] == ["snapshot-delete", "snapshot-save", "snapshot-load"]
    assert all(arguments["devices"] == ["disk0", "disk1"] for _, arguments in jobs)
    assert all(arguments["tag"] == "before" for _, arguments in jobs)
    assert commands(qemu)[-6:] == ["stop", "snapshot-load", "query-jobs", "job-dismiss", "cont", "quit"]
    assert "---- restored before ----" in (folder / "serial.log").read_text()


def test_a_machine_that_went_back_before_a_reboot_runs_the_probe_of_then(
    start: Start, qemu: FakeQemu, folder: Path
) -> None:
    disks = (Disk(folder / "disk0.qcow2", base=Path("/out/demo.qcow2")),)
    with start(changes={"disks": disks}) as machine:
        qemu.reports(event="finished", result="ok")
        qemu.greets()
        machine.wait_firstboot()
        before = machine.wait_probe()
        machine.snapshot()
        qemu.answer["reboot"] = lambda _: qemu.happens("RESET") or qemu.greets()
        machine.reboot()
        machine.restore()
        assert machine.wait_probe() == before
        assert machine.wait_firstboot().message["result"] == "ok"
        qemu.answer["run"] = lambda _: qemu.greets(before.boot_id)
        with pytest.raises(VmError, match="the probe was started again before it answered"):
            machine.run("true")


def test_a_snapshot_that_is_not_there_says_so(start: Start, qemu: FakeQemu) -> None:
    qemu.job_errors["snapshot-load"] = "Snapshot 'x' does not exist in one or more devices"
    with start() as machine, pytest.raises(VmError, match="snapshot-load failed: Snapshot 'x' does not exist"):
        machine.restore("x")


@pytest.mark.parametrize(
    ("disk", "complaint"),
    [
        (Disk(Path("data.raw"), "raw"), "raw, which cannot hold a snapshot"),
        (Disk(Path("disk0.qcow2"), bus="nvme"), "NVMe"),
        (Disk(Path("ro.qcow2"), read_only=True), "nowhere to keep a snapshot"),
    ],
)
def test_a_machine_that_cannot_be_kept_says_why(disk: Disk, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        snapshots.list_nodes([disk])


def test_a_crash_is_what_was_asked_for_and_no_bad_sign(start: Start, qemu: FakeQemu) -> None:
    def panic(_: dict[str, Any]) -> object:
        soon(lambda: qemu.says("Kernel panic - not syncing: sysrq triggered crash\n"))
        return {}

    qemu.answer["crash"] = panic
    with start() as machine:
        qemu.greets()
        machine.crash()
        machine.wait_console("Kernel panic")
        assert machine.sightings == ()


def test_a_disk_is_plugged_into_the_next_slot(start: Start, qemu: FakeQemu, folder: Path) -> None:
    with start(changes={"hotplug": 2}) as machine:
        machine.add_disk(1 << 30, "first")
        machine.add_disk(1 << 30, "second")
    plugged = [each["arguments"] for each in qemu.commands if each["execute"] == "device_add"]
    assert [(each["bus"], each["serial"]) for each in plugged] == [("slot0", "first"), ("slot1", "second")]
    assert [command[-2:] for command in RUN[1:]] == [
        [str(folder / "disk1.qcow2"), str(1 << 30)],
        [str(folder / "disk2.qcow2"), str(1 << 30)],
    ]


def test_the_cable_of_a_machine_of_a_cluster_is_the_one_to_the_others(start: Start, qemu: FakeQemu) -> None:
    with Segment() as segment, start(cables=[(segment, segment.make_nic("web"))]) as machine:
        machine.net_down()
    links = [each["arguments"] for each in qemu.commands if each["execute"] == "set_link"]
    assert links == [{"name": "cable0", "up": False}]


def test_the_cable_the_clock_and_the_processors(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["run"] = lambda _: {"status": 0, "stdout": "", "stderr": ""}
    with start() as machine:
        qemu.greets()
        machine.net_down()
        machine.net_up()
        machine.pause()
        machine.resume()
        machine.clock(datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC))
    links = [each["arguments"] for each in qemu.commands if each["execute"] == "set_link"]
    assert links == [{"name": "net0", "up": False}, {"name": "net0", "up": True}]
    assert commands(qemu)[-3:] == ["stop", "cont", "quit"]
    assert qemu.requests[-1]["argv"] == ["date", "--utc", "--set", "@2147483648"]

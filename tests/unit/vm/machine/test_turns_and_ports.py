"""Ports, whose turn it is to boot under emulation, and who sits at the terminal."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import VmError
from builder.core.store import Store
from tests.unit.vm.machine.conftest import Start, soon
from update.gpt import Partition
from vm.accel.boot_slot import BootSlot
from vm.guest.bad_signs import find_failed_unit
from vm.machine.terminal import attend
from vm.spec import Accel, Forward

if TYPE_CHECKING:
    from tests.unit.vm.conftest import FakeQemu

pytestmark = pytest.mark.unit


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
            for banner in said:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(banner)

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

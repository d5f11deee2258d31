"""Machines that run on without us, and the way into them."""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.errors import InputError, VmError
from builder.core.store import Store
from vm.machine.terminal import connect_terminal
from vm.qemu.process import find_start_time
from vm.qemu.start import connect_to, listen_at
from vm.registry import running
from vm.registry.running import Registry, RunningMachine, locate_registry
from vm.registry.ssh import SshTarget, is_loopback, make_argv, quote_command
from vm.spec.folder import MachineFolder

pytestmark = pytest.mark.unit


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "machines")


def record(tmp_path: Path, name: str = "demo", user: str | None = "core") -> RunningMachine:
    """Our own process stands for a machine."""
    folder = MachineFolder(tmp_path / name)
    folder.create()
    return RunningMachine.describe(name, os.getpid(), folder, {22: 40022, 80: 40080}, user, tmp_path / "key")


def test_a_record_comes_back_as_it_was(registry: Registry, tmp_path: Path) -> None:
    made = record(tmp_path)
    registry.add(made)
    assert registry.list() == [made]
    assert registry.find() == made
    assert registry.find("demo") == made
    assert (registry.root / "demo.json").stat().st_mode & 0o777 == 0o600


def test_a_record_without_a_key_comes_back_too(registry: Registry, tmp_path: Path) -> None:
    made = replace(record(tmp_path, user=None), key=None)
    registry.add(made)
    assert registry.find() == made


def test_a_machine_whose_process_is_gone_is_forgotten_with_its_disks(registry: Registry, tmp_path: Path) -> None:
    stale = replace(record(tmp_path), started=1)  # the number lives, but it is another process now
    registry.add(stale)
    disk = MachineFolder(stale.folder).locate_disk(0)
    disk.write_text("overlay")
    assert registry.list() == []
    assert not (registry.root / "demo.json").exists()
    assert not disk.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": "x", "pid": "y"}', "\x00"])
def test_a_broken_record_is_dropped(registry: Registry, text: str) -> None:
    registry.root.mkdir()
    (registry.root / "x.json").write_text(text)
    assert registry.list() == []
    assert list(registry.root.iterdir()) == []


def test_nothing_runs_where_nothing_was_started(registry: Registry) -> None:
    assert registry.list() == []
    with pytest.raises(InputError, match="no machine runs"):
        registry.find()


def test_which_machine_is_asked_when_there_are_several(registry: Registry, tmp_path: Path) -> None:
    registry.add(record(tmp_path, "a"))
    registry.add(record(tmp_path, "b"))
    with pytest.raises(InputError, match="which machine") as caught:
        registry.find()
    assert caught.value.hint == "running: a, b"
    with pytest.raises(InputError, match="no machine named c runs"):
        registry.find("c")
    assert registry.choose_name("a") == "a-2"
    assert registry.choose_name("c") == "c"


def test_a_name_is_used_once(registry: Registry, tmp_path: Path) -> None:
    registry.add(record(tmp_path))
    with pytest.raises(InputError, match="runs already"):
        registry.add(record(tmp_path))


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden"])
def test_a_name_cannot_leave_the_directory(registry: Registry, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        registry.add(replace(record(tmp_path), name=name))


def test_a_machine_that_has_ended_cannot_be_left(tmp_path: Path) -> None:
    folder = MachineFolder(tmp_path)
    folder.qemu_log.write_text("qemu: out of memory\n")
    with pytest.raises(VmError, match="has ended") as caught:
        RunningMachine.describe("demo", 2**22 + 1, folder, {}, None, None)
    assert caught.value.details == ("qemu: out of memory",)


def test_a_process_is_known_by_number_and_start() -> None:
    assert find_start_time(os.getpid()) is not None
    assert find_start_time(2**22 + 1) is None


def test_records_live_where_the_session_does(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert locate_registry({"XDG_RUNTIME_DIR": "/run/user/1000"}, store) == Path("/run/user/1000/build-os/machines")
    assert locate_registry({}, store) == tmp_path / "vm" / "running"


# Stopping


class FakeMachine:
    """A monitor that ends its machine at a chosen command, and processes that end at a chosen signal."""

    def __init__(self, made: RunningMachine, monkeypatch: pytest.MonkeyPatch, obeys: set[str]) -> None:
        self.record = made
        self.obeys = obeys
        self.told: list[str] = []
        self.running = True
        self.listener = listen_at(MachineFolder(made.folder).monitor)
        threading.Thread(target=self.serve, daemon=True).start()
        monkeypatch.setattr(RunningMachine, "alive", property(lambda _: self.running))
        monkeypatch.setattr(running, "_signal", lambda _, number: self.tell(number.name))

    def tell(self, what: str) -> None:
        self.told.append(what)
        if what in self.obeys:
            self.running = False

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock, sock.makefile("rwb") as file:
                file.write(b'{"QMP": {}}\n')
                file.flush()
                for line in file:
                    name = line.decode().partition('"execute": "')[2].partition('"')[0]
                    number = line.decode().partition('"id": ')[2].strip("}\n ,")
                    if name != "qmp_capabilities":
                        self.tell(name)
                    try:
                        file.write(f'{{"return": {{}}, "id": {number}}}\n'.encode())
                        file.flush()
                    except OSError:
                        break


@pytest.mark.parametrize(
    ("obeys", "told"),
    [
        ("system_powerdown", ["system_powerdown"]),
        ("quit", ["system_powerdown", "quit"]),
        ("SIGTERM", ["system_powerdown", "quit", "SIGTERM"]),
        ("SIGKILL", ["system_powerdown", "quit", "SIGTERM", "SIGKILL"]),
    ],
)
def test_stopping_gets_firmer_until_it_helps(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obeys: str, told: list[str]
) -> None:
    made = record(tmp_path)
    registry.add(made)
    monkeypatch.setattr(running, "_wait_for_end", lambda *_: None)
    machine = FakeMachine(made, monkeypatch, {obeys})
    registry.stop(made)
    assert machine.told == told
    assert list(registry.root.iterdir()) == []
    machine.listener.close()


def test_a_signal_reaches_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *arguments: sent.append(arguments))
    running._signal(replace(record(tmp_path), started=1), signal.SIGTERM)
    assert not sent
    running._signal(record(tmp_path), signal.SIGTERM)
    assert len(sent) == 1


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    path = tmp_path.joinpath(*["a-directory-with-a-long-name"] * 8)
    path.mkdir(parents=True)
    return path


def test_a_monitor_may_lie_deeper_than_an_address_is_long(deep: Path) -> None:
    path = deep / "monitor.sock"
    assert len(str(path)) > 107
    with listen_at(path) as listener, connect_to(path) as ours:
        theirs, _ = listener.accept()
        with theirs:
            ours.sendall(b"x")
            assert theirs.recv(1) == b"x"
    with pytest.raises(OSError, match="refused"):
        connect_to(path)


# The console of a machine that runs


def test_keys_go_to_the_machine_and_what_it_says_comes_until_the_person_leaves() -> None:
    ours, theirs = socket.socketpair()
    keyboard, hand = os.pipe()
    shown: list[bytes] = []
    with ours, theirs:
        theirs.sendall(b"web login: ")
        os.write(hand, b"root\x1drest")
        assert connect_terminal(ours, keyboard, shown.append) is False
        assert theirs.recv(10) == b"root"
        assert shown == [b"web login: "]
        theirs.close()
        assert connect_terminal(ours, keyboard, shown.append) is True  # the machine is off
    os.close(keyboard)
    os.close(hand)


@pytest.mark.parametrize(
    ("name", "taken"),
    [("disconnected:unix:/x/console.sock,server=on", False), ("unix:/x/console.sock <-> unix", True)],
)
def test_a_console_at_which_somebody_sits_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, taken: bool
) -> None:
    lines = [{"label": "qmp", "filename": "unix:qmp"}, {"label": "serial0", "filename": name}]
    monkeypatch.setattr(running, "ask_monitor", lambda _monitor, command: lines if command == "query-chardev" else None)
    assert running.is_line_taken(record(tmp_path)) is taken


# ssh


def test_ssh_to_a_loopback_port_remembers_nothing() -> None:
    words = make_argv(SshTarget(40022, "core", Path("/keys/id")), ["systemctl", "status"])
    assert words[0] == "ssh"
    assert words[-4:] == ["--", "core@127.0.0.1", "systemctl", "status"]
    assert "StrictHostKeyChecking=no" in words
    assert "UserKnownHostsFile=/dev/null" in words
    assert words[words.index("-i") + 1] == "/keys/id"
    assert words[words.index("-p") + 1] == "40022"


@pytest.mark.parametrize("host", ["192.0.2.1", "localhost", "example.org", "127.0.0.1.example.org"])
def test_ssh_to_anywhere_else_checks_host_keys(host: str) -> None:
    target = SshTarget(22, "core", host=host)
    assert not is_loopback(host)
    assert not any("StrictHostKeyChecking" in word for word in [*make_argv(target), *quote_command(target)])


def test_without_a_key_the_agent_is_asked() -> None:
    assert "-i" not in make_argv(SshTarget(22, "core"))
    assert "IdentitiesOnly=yes" not in make_argv(SshTarget(22, "core"))


def test_a_record_knows_the_way_in(tmp_path: Path) -> None:
    made = record(tmp_path)
    assert made.find_ssh_target() == SshTarget(40022, "core", tmp_path / "key")
    assert made.find_ssh_target("root", Path("/other")) == SshTarget(40022, "root", Path("/other"))
    with pytest.raises(InputError, match="without a port for ssh"):
        replace(made, forwards={80: 1}).find_ssh_target()
    with pytest.raises(InputError, match="as whom"):
        replace(made, user=None).find_ssh_target()

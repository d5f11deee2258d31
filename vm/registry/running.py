"""Machines that run on without us: which there are, and how to reach and stop them.

One JSON file a machine. A file whose process is gone is dropped when it is met, with the machine's disks unless those
are kept (:mod:`vm.registry.kept`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from builder.core.errors import InputError, VmError
from builder.core.files import write_file
from builder.core.store import Store
from vm.qemu.process import find_start_time
from vm.qemu.qmp import Qmp
from vm.qemu.start import connect_to
from vm.registry.kept import require_name
from vm.registry.ssh import SshTarget
from vm.spec.folder import MachineFolder
from vm.waiting.deadline import Deadline
from vm.waiting.wait import BadNews, Notifier

SSH_PORT = 22


@dataclass(frozen=True)
class RunningMachine:
    """A machine that runs on; ``pid`` and ``started`` identify its process (:func:`vm.qemu.process.find_start_time`).

    ``forwards`` maps guest ports to ports on 127.0.0.1; ``user`` and ``key`` are for ssh.
    """

    name: str
    pid: int
    started: int
    folder: Path
    forwards: Mapping[int, int]
    user: str | None = None
    key: Path | None = None

    @classmethod
    def describe(
        cls,
        name: str,
        pid: int,
        folder: MachineFolder,
        forwards: Mapping[int, int],
        user: str | None,
        key: Path | None,
    ) -> Self:
        """Describe a machine that runs now.

        Raises:
            VmError: it does not.
        """
        started = find_start_time(pid)
        if started is None:
            raise VmError(f"the machine {name} has ended", details=folder.read_qemu_log())
        return cls(name, pid, started, folder.root, dict(forwards), user, key)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return find_start_time(self.pid) == self.started

    def find_ssh_target(self, user: str | None = None, key: Path | None = None) -> SshTarget:
        """Where ssh leads to it.

        Raises:
            InputError: no port is forwarded to its ssh, or nobody is known to log in.
        """
        if SSH_PORT not in self.forwards:
            raise InputError(
                f"the machine {self.name} was started without a port for ssh",
                hint=f"'build-os machine console {self.name}' shows its console",
            )
        chosen = user or self.user
        if chosen is None:
            raise InputError(
                f"as whom to log in to {self.name}?", hint=f"name a user, for example 'build-os ssh core@{self.name}'"
            )
        return SshTarget(self.forwards[SSH_PORT], chosen, key or self.key)


def locate_registry(environment: Mapping[str, str], store: Store) -> Path:
    """Where the records are: gone with the user's last session where the system offers that, else in the store."""
    runtime = environment.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "build-os" / "machines" if runtime else store.root / "vm" / "running"


@dataclass(frozen=True)
class Registry:
    """The records below a directory."""

    root: Path

    def add(self, record: RunningMachine) -> None:
        """Remember a machine.

        Raises:
            InputError: another one of that name runs.
        """
        known = self._read(self._path(record.name))
        if known is not None and known.alive:
            raise InputError(
                f"a machine named {record.name} runs already", hint=f"'build-os machine stop {record.name}'"
            )
        text = json.dumps({**asdict(record), "forwards": list(record.forwards.items())}, default=str, indent=2)
        write_file(self._path(record.name), text + "\n", mode=0o600)

    def list(self) -> list[RunningMachine]:
        """Machines that run, by name; what is left of others is removed."""
        machines = []
        for path in sorted(self.root.glob("*.json")) if self.root.is_dir() else []:
            record = self._read(path)
            if record is not None and record.alive:
                machines.append(record)
            else:
                self._drop(path, record)
        return machines

    def find(self, name: str | None = None, kept: Collection[str] = ()) -> RunningMachine:
        """The machine of this name; without a name, the only one.

        Args:
            kept: names of machines that may be off.

        Raises:
            InputError: there is none, or there are several.
        """
        running = self.list()
        names = ", ".join(record.name for record in running)
        chosen = [record for record in running if name is None or record.name == name]
        if not chosen and name in kept:
            raise InputError(f"{name} is off", hint=f"'build-os machine start {name}'")
        if not chosen and name is not None:
            raise InputError(f"no machine named {name} runs", hint=f"running: {names}" if names else None)
        if not chosen:
            off = f"; off: {', '.join(sorted(kept))} ('build-os machine start')" if kept else ""
            raise InputError("no machine runs", hint=f"start one with 'build-os run --detach'{off}")
        if len(chosen) > 1:
            raise InputError("which machine?", hint=f"running: {names}")
        return chosen[0]

    def choose_name(self, wanted: str, reserved: Collection[str] = ()) -> str:
        """``wanted``, or with the first number that no running machine has; ``reserved`` ones are not used either."""
        taken = {record.name for record in self.list()}.union(reserved)
        names = (wanted if number == 1 else f"{wanted}-{number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def stop(self, record: RunningMachine, patience: float = 180.0) -> bool:
        """Power off in good order, else quit, else kill; then forget it, and remove its disks unless they are kept.

        Args:
            patience: seconds for the guest to power off; 0 switches it off at once.

        Returns:
            Whether the guest has powered itself off.
        """
        monitor = MachineFolder(record.folder).monitor
        in_good_order = False
        for command, seconds in (("system_powerdown", patience), ("quit", 10.0)):
            if record.alive and seconds:
                with contextlib.suppress(VmError, OSError):
                    ask_monitor(monitor, command)
                    _wait_for_end(record, seconds)
            in_good_order |= command == "system_powerdown" and not record.alive
        for number in (signal.SIGTERM, signal.SIGKILL):
            if record.alive:
                _signal(record, number)
                _wait_for_end(record, 5.0)
        self._drop(self._path(record.name), record)
        return in_good_order

    def _path(self, name: str) -> Path:
        require_name(name)
        return self.root / f"{name}.json"

    def _drop(self, path: Path, record: RunningMachine | None) -> None:
        path.unlink(missing_ok=True)
        if record is not None:
            MachineFolder(record.folder).clear_state()

    def _read(self, path: Path) -> RunningMachine | None:
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            key = data["key"]
            return RunningMachine(
                str(data["name"]),
                int(data["pid"]),
                int(data["started"]),
                Path(data["folder"]),
                {int(guest): int(host) for guest, host in data["forwards"]},
                data["user"],
                Path(key) if key is not None else None,
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a record that makes no sense is as good as none


def is_line_taken(record: RunningMachine) -> bool:
    """Whether somebody is connected to the machine's serial line, which one at a time can be.

    Raises:
        VmError, OSError: the machine does not answer.
    """
    lines = ask_monitor(MachineFolder(record.folder).monitor, "query-chardev")
    name = next((str(line["filename"]) for line in lines if line["label"] == "serial0"), "")
    return not name.startswith("disconnected:")


def ask_monitor(monitor: Path, command: str) -> Any:
    """Give one command to a running machine's monitor; returns the answer.

    Raises:
        VmError, OSError: nobody answers.
    """
    deadline = Deadline(5)
    qmp = Qmp(connect_to(monitor), Notifier(), lambda: BadNews("QEMU is gone") if not monitor.exists() else None)
    try:
        qmp.connect(deadline)
        return qmp.run_command(command, deadline)
    finally:
        qmp.close()


def _wait_for_end(record: RunningMachine, seconds: float) -> None:
    deadline = Deadline(seconds)
    while record.alive and not deadline.expired:
        time.sleep(0.1)


def _signal(record: RunningMachine, number: signal.Signals) -> None:
    """Send a signal to the process that the record means, and to no other that got its number since."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(record.pid)
        try:
            if record.alive:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)

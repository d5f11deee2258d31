"""Start a machine, wait until it is up, and leave it running; or stay at its console."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builder.cli.login import ROOT
from builder.core.console import Console
from builder.core.errors import InputError, VmError
from builder.core.store import Store
from builder.core.tools import Tools
from vm.guest.bad_signs import find_failed_unit
from vm.guest.console import Sighting
from vm.machine import Machine
from vm.machine.terminal import LEAVE_NAME, attend, show
from vm.registry.running import SSH_PORT, Registry
from vm.spec import VmSpec
from vm.spec.folder import MachineFolder
from vm.waiting.deadline import Deadline

LOGIN_PROMPT = "login:"
SSH_UNIT = "ssh.service"
SSH_SECONDS = 60.0
OFF_SECONDS = 60.0


@dataclass(frozen=True)
class Start:
    """How to start a machine.

    Attributes:
        folder: its own.
        first: this is its first boot.
        keep: its disks stay once the first boot has gone well.
        done: called once the first boot has gone well, with the machine as it can be started again.
    """

    spec: VmSpec
    tools: Tools
    store: Store
    deadline: Deadline
    folder: MachineFolder
    first: bool = True
    keep: bool = False
    done: Callable[[VmSpec], None] = lambda _: None

    def make_machine(self, **options: object) -> Machine:
        """The machine, still off."""
        folder = self.folder.root
        return Machine(self.spec, self.tools, self.deadline, folder=folder, store=self.store, probe=False, **options)  # type: ignore[arg-type]


def start_and_leave(
    start: Start, machines: Registry, console: Console, user: str | None, key: Path | None, *, can_ssh: bool
) -> None:
    """Boot, wait for the login prompt, and say how to go on. Units that fail are told; the machine runs on.

    Args:
        user, key: for ssh.
        can_ssh: the image has a server for it.

    Raises:
        VmError: it does not come up: a failed first boot, a panic, the deadline.
    """
    with start.make_machine(outlive=True, patient=True) as machine:
        (start.folder.root / "tools").write_text(str(start.tools.root), encoding="utf-8")
        if start.first:
            with console.open_step("first boot"):
                machine.wait_firstboot()
            start.done(machine.spec)
        with console.open_step("login prompt"):
            machine.wait_console(LOGIN_PROMPT)
        can_ssh = can_ssh and SSH_PORT in machine.forwards
        if can_ssh:
            wait_for_ssh(machine, console)
        machines.add(machine.leave(user, key))
    name = start.spec.name
    for line in describe_failure(machine.sightings, name, can_ssh=can_ssh and key is not None):
        console.warn(line)
    for guest, port in sorted(machine.forwards.items()):
        console.note(f"127.0.0.1:{port} leads to port {guest} of {name}")
    console.note(describe_access(name, user if key is not None else None, can_ssh=can_ssh))
    console.note(describe_end(name, kept=start.folder.is_kept))


def wait_for_ssh(machine: Machine, console: Console) -> None:
    """Wait until somebody can log in by ssh; a machine on which nobody ever can runs on.

    Raises:
        VmError: it has ended.
    """
    if SSH_UNIT in {find_failed_unit(sighting.line.text) for sighting in machine.sightings}:
        return  # it is told with the other units that have failed
    try:
        with console.open_step("ssh answers"):
            machine.wait_ssh(within=SSH_SECONDS)
    except VmError as error:
        if machine.is_off:
            raise
        console.warn(f"{error.what}; {machine.spec.name} runs on")


def require_terminal() -> None:
    """Somebody must be there to see the console.

    Raises:
        InputError: nobody is.
    """
    if not sys.stdin.isatty():
        raise InputError("'run' shows the machine's console in this terminal, and this is none", hint="use --detach")


def stay_at_console(start: Start, console: Console) -> None:
    """Boot with the machine's console in this terminal, until it is off or the person leaves.

    Raises:
        VmError: the machine cannot be started.
    """
    console.note(describe_leaving(keep=start.keep))
    waiting_for_first = start.first
    with start.make_machine(echo=show) as machine:

        def look() -> None:
            nonlocal waiting_for_first
            machine.release_if_booted()
            if waiting_for_first and machine.is_provisioned:
                waiting_for_first = False
                start.done(machine.spec)

        is_off = attend(machine, sys.stdin.fileno(), look)
        look()
        if start.folder.is_kept and not is_off:
            machine.deadline = Deadline(OFF_SECONDS, machine.deadline.scale)
            with console.open_step(f"power off {start.spec.name}"):
                machine.shutdown()
    if start.folder.is_kept:
        console.note(f"{start.spec.name} is off, and its disk is kept: 'build-os machine start {start.spec.name}'")
    elif start.keep:
        console.warn(f"the first boot of {start.spec.name} had not gone well when it ended: nothing is kept")


def describe_failure(sightings: tuple[Sighting, ...], name: str, *, can_ssh: bool) -> list[str]:
    """One line for each unit that has failed and each other bad sign, with how to look."""
    lines: dict[str, None] = {}
    for sighting in sightings:
        unit = find_failed_unit(sighting.line.text)
        if unit is None:
            lines[f"the console shows {sighting.sign.name}: {sighting.line.text.strip()}"] = None
            continue
        how = (
            f"build-os ssh --root {name} -- journalctl -b -u {unit}" if can_ssh else f"build-os machine console {name}"
        )
        lines[f"{unit} has failed; to look: {how}"] = None
    return [*lines]


def describe_access(name: str, user: str | None, *, can_ssh: bool) -> str:
    """How to get in.

    Args:
        user: who has a key for it, besides root.
    """
    if not can_ssh:
        return f"{name} runs; 'build-os machine console {name}' shows its console (it has no ssh that leads here)"
    if user is None:
        return f"{name} runs; 'build-os ssh USER@{name}' logs in with a key that its config has"
    as_root = "" if user == ROOT else ", 'build-os ssh --root' as root"
    return f"{name} runs; 'build-os ssh' logs in as {user}{as_root}"


def describe_leaving(*, keep: bool) -> str:
    """What to press at a console, and what that costs."""
    if keep:
        return f"{LEAVE_NAME} powers the machine off; its disk is kept once the first boot has gone well"
    return f"{LEAVE_NAME} ends the machine, and its disk is deleted then (--keep makes one that stays)"


def describe_end(name: str, *, kept: bool) -> str:
    """What happens to the disk, said before it does."""
    if kept:
        return f"its disk is kept: 'build-os machine stop {name}', 'build-os machine start {name}'"
    return f"its disk is deleted when it stops (--keep makes one that stays): 'build-os machine stop {name}'"

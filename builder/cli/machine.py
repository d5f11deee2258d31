"""Machines that 'run --detach' and 'run --keep' have made: list, start, stop and remove them, see their console.

A machine made with --keep has a disk of its own that stays when it is off, until 'rm'. It keeps the image that it was
made of: a later build is for new machines. The disk of any other is deleted when it stops.

  build-os run --config machines/web.yaml --detach --keep --name web
  build-os machine list
  build-os machine stop web
  build-os machine start web
  build-os machine console web      Ctrl-] leaves; the machine runs on
  build-os machine rm web
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console

if TYPE_CHECKING:
    from builder.core.store import Store
    from vm.registry.kept import KeptMachine, KeptMachines
    from vm.registry.running import Registry

HELP = "list, start, stop and remove machines"
BOOT_SECONDS = 120
LAST_LINES = 24  # of the console, shown to who comes to it


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", help="those that run or are kept, a line each")
    listing.add_argument("--json", action="store_true", help="as JSON")
    start = actions.add_parser("start", help="boot a kept machine from its disk")
    stop = actions.add_parser("stop", help="power one off; the disk of one that is not kept is deleted")
    stop.add_argument("-f", "--force", action="store_true", help="switch it off without asking the guest")
    remove = actions.add_parser("rm", help="delete a kept machine with its disk")
    remove.add_argument("-f", "--force", action="store_true", help="also if it runs: switch it off first")
    console = actions.add_parser("console", help="the serial console of a machine that runs, in this terminal")
    for action in (start, stop, console):
        action.add_argument("name", nargs="?", metavar="NAME", help="default: the only one")
    remove.add_argument("name", metavar="NAME")


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what is asked."""
    from builder.cli.machines import open_kept_machines, open_registry, show_list, stop
    from builder.core.errors import InputError
    from builder.core.store import Store

    store = Store.open()
    machines, kept = open_registry(store), open_kept_machines()
    match args.action:
        case "list":
            return show_list(machines, kept, as_json=args.json)
        case "start":
            return start(args.name, machines, kept, store, console)
        case "stop":
            return stop(machines, args.name, console, force=args.force)
        case "rm":
            return remove(args.name, machines, kept, console, force=args.force)
        case "console":
            return show_console(args.name, machines, console)
        case _:
            raise InputError("say what to do with machines", hint="list, start, stop, rm or console")


def start(name: str | None, machines: Registry, kept: KeptMachines, store: Store, console: Console) -> int:
    """Boot a kept machine, and leave it running.

    Raises:
        InputError: there is none of this name, or what it needs is gone.
    """
    import os

    from builder.cli.machines import choose
    from builder.cli.starting import Start, start_and_leave
    from builder.core.tools import Tools
    from vm.registry.kept import require_disks
    from vm.registry.running import SSH_PORT
    from vm.waiting.deadline import Deadline, choose_timeout_scale

    name = kept.find(name).name
    with kept.lock(name, console):
        machine = kept.find(name)
        if name in {record.name for record in machines.list()}:
            console.note(f"{name} runs already")
            return 0
        require_disks(machine)
        tools = Tools(find_tools(machine), console)
        say_what_has_changed(machine, console)
        verdict = choose(tools, store, machine.spec.arch, console)
        deadline = Deadline(BOOT_SECONDS, choose_timeout_scale(verdict.accel, os.environ))
        spec = replace(machine.spec, accel=verdict.accel)
        folder = kept.locate_folder(name)
        begin = Start(spec, tools, store, deadline, folder, first=False)
        can_ssh = any(forward.guest == SSH_PORT for forward in spec.forwards)
        start_and_leave(begin, machines, console, machine.user, machine.key, can_ssh=can_ssh)
    return 0


def find_tools(machine: KeptMachine) -> Path:
    """The tools tree that the machine was made with, or what a later build of its definition uses.

    Raises:
        InputError: there is none any more.
    """
    from builder.core.errors import InputError
    from builder.core.image import read_image

    if machine.tools.is_dir():
        return machine.tools
    if machine.build_json.exists() and (tools := read_image(machine.build_json).tools).is_dir():
        return tools
    raise InputError(
        f"the tools tree that {machine.name} was made with is gone: {machine.tools}",
        hint=f"'build-os build' makes it anew, in {machine.build_json.parent.parent}",
    )


def say_what_has_changed(machine: KeptMachine, console: Console) -> None:
    """A machine stays what it was made of, whatever is built meanwhile."""
    from builder.core.errors import InputError
    from builder.core.image import read_image

    try:
        image = read_image(machine.build_json)
    except InputError:
        return  # its image is on its own disk
    if image.roothash != machine.roothash:
        console.note(
            f"{machine.name} stays the {machine.made_of} that it was made of; {machine.build_json} is another by now: "
            f"'build-os machine rm {machine.name}', then 'build-os run --keep' make a machine of that"
        )


def remove(name: str, machines: Registry, kept: KeptMachines, console: Console, *, force: bool) -> int:
    """Delete a kept machine.

    Raises:
        InputError: there is none of this name, or it runs.
    """
    from builder.core.errors import InputError

    if not kept.locate_folder(name).root.is_dir():  # with the logs of one that never became a machine
        kept.find(name)  # says which there are
    with kept.lock(name, console):
        running = next((record for record in machines.list() if record.name == name), None)
        if running is not None and not force:
            raise InputError(
                f"{name} runs", hint=f"'build-os machine stop {name}' first, or --force switches it off and deletes it"
            )
        if running is not None:
            machines.stop(running, 0)
        kept.remove(name)
    console.note(f"{name} is deleted, with its disk")
    return 0


def show_console(name: str | None, machines: Registry, console: Console) -> int:
    """The machine's serial line in this terminal, after the last of what it has said.

    Raises:
        InputError: there is no terminal, or somebody else is at the console.
    """
    import sys

    from builder.cli.machines import open_kept_machines
    from builder.core.errors import InputError, VmError
    from vm.guest.console import strip_controls
    from vm.machine.terminal import LEAVE_NAME, connect_terminal, show
    from vm.qemu.start import connect_to
    from vm.registry.running import is_line_taken
    from vm.spec.folder import MachineFolder

    record = machines.find(name, open_kept_machines().list_names())
    folder = MachineFolder(record.folder)
    if not sys.stdin.isatty():
        raise InputError(
            "a console needs a terminal, and this is none", hint=f"what it has said is in {folder.serial_log}"
        )
    try:
        if is_line_taken(record):
            raise InputError(
                f"another terminal uses the console of {record.name}", hint=f"{LEAVE_NAME} leaves it there"
            )
        line = connect_to(folder.console)
    except OSError as error:
        raise VmError(f"the console of {record.name} cannot be reached: {error.strerror}") from error
    with line:
        console.note(f"{LEAVE_NAME} leaves the console; {record.name} runs on")
        # Without what draws and asks the terminal, whose answers would be typed there now.
        said = strip_controls(folder.serial_log.read_bytes()).splitlines()[-LAST_LINES:]
        show("\r\n".join(said).encode())
        is_off = connect_terminal(line, sys.stdin.fileno(), show)
    console.note(f"{record.name} is off" if is_off else f"{record.name} runs on")
    return 0

"""Processes of a guest, as /proc shows them."""

from __future__ import annotations

from vm.machine import Machine


def list_ancestors(machine: Machine, process: int) -> list[str]:
    """Names of the programs from PID 1 to this process."""
    names: list[str] = []
    while process:
        status = read_status(machine, process)
        names.insert(0, status["Name"])
        process = int(status["PPid"])
    return names


def read_status(machine: Machine, process: int) -> dict[str, str]:
    """What proc_pid_status(5) says of a process: field -> text."""
    return dict(line.split(":\t", 1) for line in machine.read(f"/proc/{process}/status").splitlines())


def list_processes(machine: Machine, name: str, *, uid: int | None = None) -> list[int]:
    """Those that run a program of this name (the kernel's, of 15 characters), and belong to the user."""
    script = f'for each in $(grep -lx {name} /proc/[0-9]*/comm); do stat -c "%u %n" "$each"; done'
    rows = [line.split() for line in machine.succeed("sh", "-c", script).splitlines()]
    return [int(path.split("/")[2]) for owner, path in rows if uid is None or int(owner) == uid]

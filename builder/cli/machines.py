"""Machines from the command line: what run, machine, ssh and demo share."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from builder.core.console import Console
from builder.core.errors import InputError
from builder.core.image import Image, read_image
from builder.core.store import Store
from builder.core.tools import Tools
from vm.accel.choice import Verdict, choose_accel
from vm.registry.kept import KeptMachines, locate_kept_machines
from vm.registry.running import Registry, locate_registry
from vm.waiting.deadline import Deadline, choose_timeout_scale


@dataclass(frozen=True)
class Host:
    """An image and what this machine has to run it with."""

    image: Image
    tools: Tools
    store: Store
    verdict: Verdict

    def make_deadline(self, seconds: float) -> Deadline:
        """That many seconds, more under emulation."""
        return Deadline(seconds, choose_timeout_scale(self.verdict.accel, os.environ))


def open_host(build_json: Path, console: Console) -> Host:
    """Read the image and find out what to run it with; says so if it is emulation.

    Raises:
        InputError: nothing is built there.
        CapabilityError: its tools tree is gone.
    """
    if not build_json.exists():
        raise InputError(f"there is no {build_json}", hint="'build-os build' makes it")
    image = read_image(build_json)
    if not image.tools.is_dir():
        raise InputError(f"the tools tree of {build_json} is gone", hint="'build-os build' makes it anew")
    store = Store.open()
    tools = Tools(image.tools, console)
    return Host(image, tools, store, choose(tools, store, image.arch, console))


def choose(tools: Tools, store: Store, arch: str, console: Console) -> Verdict:
    """What to run machines with; says so if it is emulation."""
    verdict = choose_accel(tools, store, arch)
    if verdict.reason:
        console.note(f"running under {verdict}")
    return verdict


def open_registry(store: Store) -> Registry:
    """The machines that run on without us."""
    return Registry(locate_registry(os.environ, store))


def open_kept_machines() -> KeptMachines:
    """The machines whose disks stay."""
    return KeptMachines(locate_kept_machines(os.environ))


def make_ssh_key(tools: Tools, path: Path) -> str:
    """A key pair for one machine, made if it is not there; returns the public half."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "build-os", "-f", path)
    return path.with_suffix(".pub").read_text(encoding="ascii").strip()


def show_list(running: Registry, kept: KeptMachines, *, as_json: bool = False) -> int:
    """Print the machines that run or are kept, a line each; returns the exit status."""
    rows = list_rows(running, kept)
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return 0
    columns = ("name", "state", "disk", "image", "ports", "folder")
    lines = [[name.upper() for name in columns], *([str(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines if rows else []:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(text.rstrip() + "\n")
    return 0


def list_rows(running: Registry, kept: KeptMachines) -> list[dict[str, object]]:
    """What there is to say about each machine, by name."""
    records = {record.name: record for record in running.list()}
    made = {name: kept.find(name) for name in kept.list_names()}
    rows: list[dict[str, object]] = []
    for name in sorted({*records, *made}):
        record, machine = records.get(name), made.get(name)
        ports = {} if record is None else record.forwards
        rows.append(
            {
                "name": name,
                "state": "off" if record is None else "running",
                "disk": "goes with it" if machine is None else "kept",
                "image": "-" if machine is None else machine.made_of,
                "ports": " ".join(f"{host}->{guest}" for guest, host in sorted(ports.items())) or "-",
                "pid": None if record is None else record.pid,
                "folder": str(record.folder if record is not None else kept.locate_folder(name).root),
            }
        )
    return rows


def stop(machines: Registry, name: str | None, console: Console, *, force: bool = False) -> int:
    """Power a machine off and say what became of its disks; returns the exit status.

    Args:
        name: of the machine; ``None`` for the only one that runs.
        force: switch it off without asking the guest.

    Raises:
        InputError: there is none of this name.
    """
    from vm.spec.folder import MachineFolder

    record = machines.find(name, open_kept_machines().list_names())
    kept = MachineFolder(record.folder).is_kept
    with console.open_step(f"power off {record.name}"):
        in_good_order = machines.stop(record, 0) if force else machines.stop(record)
    if not in_good_order and not force:
        console.warn(f"{record.name} did not power itself off and was switched off: what it had not written is lost")
    if kept:
        console.note(f"{record.name} is off, and its disk is kept: 'build-os machine start {record.name}'")
    else:
        console.note(f"{record.name} is off, and its disk is deleted ('build-os run --keep' makes one that stays)")
    return 0

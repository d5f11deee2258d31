"""Starting machines from the command line: what run, demo and ssh share."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from builder.core.console import Console
from builder.core.errors import ConfigError
from builder.core.store import Store
from builder.core.tools import Tools
from vm.accel import Verdict, choose_accel
from vm.deadline import Deadline, timeout_scale
from vm.image import Image, read_image
from vm.running import Registry, registry_root


@dataclass(frozen=True)
class Host:
    """An image and what this machine has to run it with."""

    image: Image
    tools: Tools
    store: Store
    verdict: Verdict

    def deadline(self, seconds: float) -> Deadline:
        """That many seconds, more under emulation."""
        return Deadline(seconds, timeout_scale(self.verdict.accel, os.environ))


def open_host(build_json: Path, console: Console) -> Host:
    """Read the image and find out what to run it with; says so if it is emulation.

    Raises:
        ConfigError: nothing is built there.
        CapabilityError: its tools tree is gone.
    """
    if not build_json.exists():
        raise ConfigError(f"there is no {build_json}", hint="'build-os build' makes it")
    image = read_image(build_json)
    if not image.tools.is_dir():
        raise ConfigError(f"the tools tree of {build_json} is gone", hint="'build-os build' makes it anew")
    store = Store.open()
    tools = Tools(image.tools, console)
    verdict = choose_accel(tools, store, image.arch)
    if verdict.reason:
        console.note(f"running under {verdict}")
    return Host(image, tools, store, verdict)


def registry(store: Store) -> Registry:
    """The machines that run on without us."""
    return Registry(registry_root(os.environ, store))


def make_ssh_key(tools: Tools, path: Path) -> str:
    """A key pair for one machine, made if it is not there; returns the public half."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "build-os", "-f", path)
    return path.with_suffix(".pub").read_text(encoding="ascii").strip()


def show_list(machines: Registry) -> int:
    """Print the machines that run, a line each; returns the exit status."""
    for record in machines.list():
        ports = " ".join(f"{host}->{guest}" for guest, host in sorted(record.forwards.items()))
        sys.stdout.write(f"{record.name}  pid {record.pid}  {ports}  {record.folder}\n")
    return 0


def stop(machines: Registry, name: str, console: Console) -> int:
    """Power a machine off; returns the exit status.

    Raises:
        ConfigError: there is none of this name.
    """
    machines.stop(machines.find(name))
    console.note(f"{name} is off")
    return 0

"""Two versions of an image, a server on loopback, and a machine that takes the second by itself and goes back again.

What ``build-os demo --updates`` does: the same as docs/publishing.md and docs/updates.md by hand.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console, format_seconds, format_size

if TYPE_CHECKING:
    from builder.core.store import Store
    from builder.publishing.publish import Published
    from vm.machine import Machine

NAME = "demo-update"
VERSIONS = ("1", "2")
BOOT_SECONDS = 600
DEFINITION = """\
name: {name}
version: "{version}"
features: [base, updates]
outputs: [qcow2, update]
disk: {{size: 3G, esp: 260M, slot: 600M}}
# Where this demo's server listens is known when it runs: the machine's own config says it.
updates: {{url: "http://updates.example/", root: root.json}}
"""
CONFIG = """\
variant: buildos
version: 1.0.0
hostname: {name}
updates: {{url: "{url}"}}
"""


def show_update(out: Path, console: Console) -> int:
    """The whole road, told step by step.

    Args:
        out: for keys, builds, the repository and the machine. Of an earlier demo the keys stay, and so do its builds.
    """
    from builder.core.store import Store
    from builder.publishing.keys import ROOT_FILE, make_update_keys

    room = (out / NAME).absolute()
    for left in ("repository", "machine"):
        shutil.rmtree(room / left, ignore_errors=True)
    store = Store.open()
    if not (room / "keys" / ROOT_FILE).exists():
        with console.open_step("keys, marked as for development"):
            make_update_keys(room / "keys", development=True, now=int(time.time()))
    old, new = (_build(room, version, store, console) for version in VERSIONS)
    with _serve(room / "repository") as port:
        _publish(room, old, console)
        with _boot(room, old, port, console) as machine:
            _say(machine, "the machine runs version 1:", "os-update", "status")
            published = _publish(room, new, console)
            started = time.monotonic()
            with console.open_step("the machine takes version 2 by itself, and proves it"):
                # What its timer starts once an hour.
                machine.run_until_reboot("systemctl", "start", "os-update.service")
                machine.wait_reboot()
                machine.wait_unit("systemd-bless-boot.service")
            _say(
                machine,
                f"version 2 is good, {format_seconds(time.monotonic() - started)} later:",
                "os-update",
                "status",
            )
            started = time.monotonic()
            with console.open_step("back to version 1"):
                machine.run_until_reboot("os-update", "rollback", "--now")
                machine.wait_reboot()
                machine.wait_unit("multi-user.target")
            _say(
                machine, f"version 1 again, {format_seconds(time.monotonic() - started)} later:", "os-update", "status"
            )
            _say(machine, "what has happened:", "os-update", "history")
            machine.shutdown()
    delta = published.deltas[VERSIONS[0]]
    sys.stdout.write(f"\nversion 2 has {format_size(published.full)}; the machine needed {format_size(delta)} of it\n")
    sys.stdout.write(f"repository, keys and builds are in {room}\n")
    return 0


def _build(room: Path, version: str, store: Store, console: Console) -> Path:
    from builder.build import BuildRequest, build_system

    out = room / f"version-{version}"
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(room / "keys/root.json", out / "root.json")
    definition = out / "os.yaml"
    definition.write_text(DEFINITION.format(name=NAME, version=version), encoding="utf-8")
    with console.open_step(f"build version {version}"):
        return build_system(BuildRequest(definition, out, store, console)).manifest


def _publish(room: Path, manifest: Path, console: Console) -> Published:
    from builder.core.image import read_image
    from builder.publishing import publish
    from builder.publishing.channels import Offer

    now = int(time.time())
    origin = publish.make_origin(read_image(manifest), console)
    with publish.change_repository(room / "repository", room / "keys", console, now) as repository:
        return publish.publish_build(repository, origin, "stable", Offer(), 2, console, now)


@contextmanager
def _serve(repository: Path) -> Iterator[int]:
    """The port at which the repository is served."""
    from builder.publishing.server import FleetServer

    with FleetServer(("127.0.0.1", 0), repository, None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _boot(room: Path, manifest: Path, port: int, console: Console) -> Iterator[Machine]:
    from builder.cli.machines import open_host
    from vm.fakes import HOST
    from vm.machine import Machine
    from vm.spec.folder import MachineFolder
    from vm.spec.plan import plan_machine
    from vm.spec.request import MachineRequest

    host = open_host(manifest, console)
    config = room / "machine.yaml"
    config.write_text(CONFIG.format(name=NAME, url=f"http://{HOST}:{port}/"), encoding="utf-8")
    folder = MachineFolder(room / "machine")
    request = MachineRequest(name=NAME, config=config, memory=1024, restrict=False)
    spec = plan_machine(host.image, folder, host.verdict.accel, request)
    deadline = host.make_deadline(BOOT_SECONDS)
    with Machine(spec, host.tools, deadline, folder=folder.root, store=host.store) as machine:
        with console.open_step("boot version 1"):
            machine.wait_firstboot()
            machine.wait_unit("multi-user.target")
        yield machine


def _say(machine: Machine, what: str, *command: str) -> None:
    lines = machine.succeed(*command).splitlines()
    sys.stdout.write(f"\n{what}\n$ {' '.join(command)}\n" + "".join(f"{line}\n" for line in lines))
    sys.stdout.flush()

"""Build the demo, boot it, provision it, and wait until its container answers. What 'make demo' runs.

build-os demo
build-os demo --keep        leave the machine running and say how to log in
build-os demo --updates     another one: two versions, a server, a machine that updates itself and goes back
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from builder.cli.demo_updates import show_update
from builder.core.console import Console, format_seconds, format_size

HELP = "build, boot and show the demo"
PORT = 8080
USER = "core"
BOOT_SECONDS = 150


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("out"), metavar="DIR", help="for artifacts (default: out)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--keep", action="store_true", help="leave the machine running")
    what.add_argument("--updates", action="store_true", help="show how a machine updates itself, and goes back")


def run(args: argparse.Namespace, console: Console) -> int:
    """The whole road, then three tables."""
    from builder.build import BuildRequest, build_system
    from builder.cli.configs import read_config
    from builder.cli.login import write_login_config
    from builder.cli.machines import make_ssh_key, open_host, open_kept_machines, open_registry
    from builder.core.store import Store
    from builder.definition.shipped import find_shipped_root
    from vm.machine import Machine
    from vm.machine.phases import measure_phases
    from vm.spec import Forward
    from vm.spec.folder import MachineFolder
    from vm.spec.plan import plan_machine
    from vm.spec.request import MachineRequest

    if args.updates:
        return show_update(args.out, console)
    configs = find_shipped_root() / "configs"
    checked = read_config(configs / "machines" / "demo.yaml")
    with console.open_step("build"):
        built = build_system(BuildRequest(configs / "demo.yaml", args.out, Store.open(), console))
    manifest = built.manifest
    host = open_host(manifest, console)
    machines = open_registry(host.store)
    name = machines.choose_name(host.image.name, open_kept_machines().list_names())
    folder = MachineFolder((args.out / "vm" / name).absolute())
    shutil.rmtree(folder.root, ignore_errors=True)
    key = (args.out / "vm" / "key").absolute()
    config = (args.out / "vm" / "demo.yaml").absolute()
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(checked.text, encoding="utf-8")
    login = write_login_config(config.parent, USER, make_ssh_key(host.tools, key))
    spec = plan_machine(
        host.image,
        folder,
        host.verdict.accel,
        MachineRequest(name=name, config=config, memory=2048, forwards=[Forward(PORT), Forward(22)]),
    )
    if args.keep:
        spec = replace(spec, base_configs=(login,))
    started = time.monotonic()
    with (
        console.open_step("boot"),
        Machine(
            spec, host.tools, host.make_deadline(BOOT_SECONDS), folder=folder.root, store=host.store, outlive=True
        ) as machine,
    ):
        (folder.root / "tools").write_text(str(host.tools.root), encoding="utf-8")
        with console.open_step("first boot"):
            machine.wait_firstboot()
        with console.open_step("multi-user.target"):
            machine.wait_unit("multi-user.target")
        with console.open_step("container answers"):
            page = machine.wait_http(PORT)
            answered = time.monotonic() - started
        machine.release_boot_slot()
        phases = dict(measure_phases(machine).seconds)
        phases["container"] = max(0.0, answered - sum(phases.values()))
        provisioned = describe_provisioning(machine.read("/run/firstboot/result.json"))
        cpu = machine.cpu_seconds()
        port = machine.forwards[PORT]
        if args.keep:
            left = machine.leave(USER, key)
            machines.add(left)
        else:
            left = None
            machine.shutdown()
    print_tables(manifest, provisioned, phases, page)
    sys.stdout.write(f"\npower-on to container: {format_seconds(answered)}, {cpu:.1f} CPU seconds ({host.verdict})\n")
    if left is not None:
        from vm.registry.ssh import quote_command

        sys.stdout.write(
            f"http://127.0.0.1:{port}/ answers; log in with:\n  {shlex.join(quote_command(left.find_ssh_target()))}\n"
        )
        sys.stdout.write(f"stop it, which deletes its disk, with:\n  build-os machine stop {name}\n")
    return 0


def describe_provisioning(result: str) -> list[str]:
    """What the first boot did, one line each, from its result file."""
    import json

    data = json.loads(result)
    return [str(action) for action in data.get("actions", [])]


def print_tables(manifest: Path, provisioned: list[str], phases: dict[str, float], page: str) -> None:
    """What was built, what was provisioned, where the seconds went."""
    from builder.outputs.manifest import read_manifest

    data = read_manifest(manifest)
    assert data is not None
    print_table("built", [(a["path"], format_size(a["size"]), a["sha256"]) for a in data["artifacts"].values()])
    print_table("provisioned", [(line,) for line in provisioned])
    timings = data["timings"]
    rows = [("lock", timings["lock"]), ("fetch", timings["fetch"]), ("tools", timings["tools"])]
    rows += [(f"stage {name}", value) for name, value in timings["stages"].items()]
    rows += [(f"output {name}", value) for name, value in timings["outputs"].items()]
    rows += [(f"boot {name}", value) for name, value in phases.items()]
    print_table("seconds", [(name, f"{value:6.2f}") for name, value in rows])
    body = re.sub(r"<title>.*?</title>|<[^>]*>", "", page, flags=re.S)
    print_table("the container says", [(line.strip()[:100],) for line in body.splitlines() if line.strip()][:5])


def print_table(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their content."""
    sys.stdout.write(f"\n{title}\n")
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(max((len(r) for r in rows), default=0))]
    for row in rows:
        sys.stdout.write(
            "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() + "\n"
        )

"""What an app in Python costs on a machine: ``configs/shop.yaml``, from power-on to its first answer, and after it.

The guest's clock counts its instructions (QEMU's icount, a nanosecond each, one processor), so its seconds do not
depend on what else the host does; they are no seconds of any real machine, and compare with each other alone.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.cli.app import PROGRAM, locate_modules, make_archive, require_app
from builder.cli.configs import read_config
from builder.cli.machines import open_host
from builder.core.console import QuietConsole
from builder.provisioning.values import read_values
from tests.bench.measuring import measured, show
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest

REPOSITORY = Path(__file__).parents[2]
PYTHON = "/usr/lib/python-environments/shop/bin/python"
MODULES = "flask, psycopg, gunicorn.app.wsgiapp"
TIMED = "import time; a = time.process_time(); import {modules}; print(time.process_time() - a)"
# Where no bytecode is, and none can be written: every module is compiled at each start.
WITHOUT = ("-X", "pycache_prefix=/proc/none")
UNITS = ("shop", "postgresql", "shop-worker")


def measure(work: Path, runs: int) -> None:
    """Build it, change a file of it, boot it."""
    for name in ("configs", "overlays", "units"):
        shutil.copytree(REPOSITORY / name, work / name, symlinks=True)
    build = [sys.executable, "-m", "builder", "build", work / "configs/shop.yaml", "-o", work / "out"]
    measured(build)
    page = work / "configs/shop/shop/web.py"

    def one_file(number: int) -> None:
        page.write_text(f"{page.read_text()}\n# {number}\n")

    rows = []
    for number in range(runs):
        one_file(number)
        rows.append(measured(build))
    print(f"configs/shop.yaml ({runs} runs)")
    show("one file of the app changed, a new image", rows)
    with booted(work) as machine:
        show_boot(machine)
        show_memory(machine)
        show_imports(machine, runs)
        show_pushes(machine, work / "configs/shop.yaml", runs)


@contextmanager
def booted(work: Path) -> Iterator[Machine]:
    """The shop's machine, when everything has started."""
    host = open_host(work / "out/build.json", QuietConsole())
    with tempfile.TemporaryDirectory() as directory:
        secret, config = Path(directory, "secret"), Path(directory, "config.ign")
        secret.write_text("no secret\n")
        values = read_values([], [], [], [], [f"shop.database={secret}"])
        config.write_text(read_config(REPOSITORY / "configs/machines/shop.yaml", values).text)
        request = MachineRequest(config=config, memory=2048, cpus=1, boot="kernel", icount=True)
        folder = MachineFolder(Path(directory, "vm"))
        spec = plan_machine(host.image, folder, host.verdict.accel, request)
        with Machine(spec, host.tools, host.make_deadline(600), folder=folder.root, store=host.store) as machine:
            for name in ("multi-user.target", *(f"{unit}.service" for unit in UNITS)):
                machine.wait_unit(name)
            yield machine


def show_boot(machine: Machine) -> None:
    """When what was there, and what its processes had taken by now."""
    for title, unit in {"login prompt": "serial-getty@ttyS0", "the app's first 200": "shop"}.items():
        when = int(machine.unit(f"{unit}.service")["ActiveEnterTimestampMonotonic"]) / 1e6
        print(f"  {title + ', after power-on':<40} {when:7.2f} s of the guest", flush=True)
    for unit in UNITS:
        used = int(machine.unit(f"{unit}.service")["CPUUsageNSec"]) / 1e9
        print(f"  {unit + '.service until now':<40} {used:7.2f} CPU s of the guest", flush=True)


def show_memory(machine: Machine) -> None:
    """What is in use when nothing happens."""
    fields = machine.succeed("sh", "-c", "free --bytes | grep Mem:").split()
    print(f"  {'memory in use, idle':<40} {int(fields[2]) / 1e6:7.1f} MB", flush=True)
    for unit in UNITS:
        used = int(machine.unit(f"{unit}.service")["MemoryCurrent"]) / 1e6
        print(f"  {unit + '.service':<40} {used:7.1f} MB, page cache included", flush=True)


def show_imports(machine: Machine, runs: int) -> None:
    """What importing takes with the image's bytecode, and without any."""
    for title, options in {"with bytecode": (), "without": WITHOUT}.items():
        program = TIMED.format(modules=MODULES)
        taken = [float(machine.succeed(PYTHON, "-I", *options, "-c", program)) for _ in range(runs)]
        print(f"  {f'import of {MODULES}, {title}':<64} {statistics.median(taken):7.3f} CPU s of the guest", flush=True)


def show_pushes(machine: Machine, definition: Path, runs: int) -> None:
    """What 'app push' takes there after one changed file, until the app is ready with it: without ssh and sudo."""
    page = definition.parent / "shop/shop/web.py"
    tools = open_host(definition.parent.parent / "out/build.json", QuietConsole()).tools
    taken = []
    for number in range(runs):
        page.write_text(f"{page.read_text()}\n# pushed {number}\n")
        _, app = require_app(definition, "shop")
        archive = make_archive(app, tools)
        before = read_uptime(machine)
        done = machine.run(PROGRAM, "push", "shop", f"v{number}", locate_modules(app), stdin=archive)
        assert done.status == 0, done.stderr
        taken.append(read_uptime(machine) - before)
    title = "a changed file sent, until the app is ready"
    print(f"  {title:<64} {statistics.median(taken):7.2f} s of the guest", flush=True)


def read_uptime(machine: Machine) -> float:
    """Seconds since power-on, by the guest's clock."""
    return float(machine.succeed("cat", "/proc/uptime").split()[0])

"""What a first boot costs: processor time and instructions by the size of its config, bytes, parsing on the host."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from builder.cli.machines import Host, open_host
from builder.core.console import QuietConsole
from builder.core.tools import Tools
from tests.support.logins import KEY
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest

REPOSITORY = Path(__file__).parents[2]
HEAD = "variant: buildos\nversion: 1.0.0\nhostname: bench\n"
UNIT = "        [Service]\n        ExecStart=/usr/bin/true\n        [Install]\n        WantedBy=multi-user.target\n"
PARSED = 1000


class Cost(NamedTuple):
    """One boot until it can be logged in to.

    Processor time is the guest's own, of the provisioner and of everything from the kernel on: where the host has too
    much to do, both are longer than they would be, and the share is not.

    Attributes:
        wall: seconds of the provisioner.
        provisioner: its processor seconds and those of what it runs.
        guest: those of the whole guest.
        host: those of QEMU, firmware and emulation included.
    """

    wall: float
    provisioner: float
    guest: float
    host: float

    @classmethod
    def of(cls, machine: Machine) -> Cost:
        """What a machine that shows its login prompt has taken."""
        host = machine.cpu_seconds()
        ticks = [int(each) for each in machine.read("/proc/stat").split("\n", 1)[0].split()[1:9]]
        idle = ticks[3] + ticks[4]  # proc(5): user nice system idle iowait irq softirq steal
        guest = (sum(ticks) - idle) / 100  # USER_HZ
        result = json.loads(machine.read("/run/firstboot/result.json"))
        return cls(result["seconds"], result["cpuSeconds"], guest, host)

    @property
    def share(self) -> float:
        """The provisioner's part of the guest's, in percent."""
        return 100 * self.provisioner / self.guest


def config_of(files: int, size: int, users: int, units: int) -> str:
    """A config in YAML with so many files of so many bytes each, users and units."""
    line = " " * 10 + "x" * 69 + "\n"
    parts = [HEAD, "storage:\n  files:\n"]
    content = line * (size // len(line))
    for number in range(files):
        parts.append(f"    - path: /etc/bench/{number}\n      contents:\n        inline: |\n{content}")
    parts.append("passwd:\n  users:\n")
    parts += [f"    - name: user{number}\n      ssh_authorized_keys: [{KEY}]\n" for number in range(users)]
    parts.append("systemd:\n  units:\n")
    for number in range(units):
        parts.append(f"    - name: bench{number}.service\n      enabled: true\n      contents: |\n{UNIT}")
    return "".join(parts)


CONFIGS = {
    "none": "",
    "typical: 20 files, 2 users, 5 units": config_of(20, 1000, 2, 5),
    "large: 2,000 files, 10 MB": config_of(2000, 4720, 2, 5),
}


def measure(manifest: Path, runs: int) -> None:
    """Print what boots take."""
    boots(manifest, runs)
    instructions(manifest)


def boots(manifest: Path, runs: int) -> None:
    """Boot with each config, and ask the machine what its first boot took."""
    host = open_host(manifest, QuietConsole())
    print(f"first boot ({host.verdict}; {runs} runs; medians)")
    for title, config in CONFIGS.items():
        costs = []
        for _ in range(runs):
            with first_booted(host, config) as machine:
                costs.append(Cost.of(machine))
        middle = Cost(*(statistics.median(each) for each in zip(*costs, strict=True)))
        line = f"{middle.wall:6.2f} s, {middle.provisioner:6.2f} CPU s of {middle.guest:6.2f} to the login prompt"
        print(f"  {title:<36} {line}: {middle.share:.1f} %; QEMU {middle.host:.2f} CPU s", flush=True)


def instructions(manifest: Path) -> None:
    """Boot with a clock that counts instructions: a nanosecond of processor time is one of them."""
    host = open_host(manifest, QuietConsole())
    print("instructions of the provisioner and of the programs it runs, kernel and user space (QEMU's icount)")
    for title, config in CONFIGS.items():
        with first_booted(host, config, icount=True, boot="kernel") as machine:
            cost = Cost.of(machine)
            own, whole = cost.provisioner * 1000, cost.guest * 1000
            print(f"  {title:<36} {own:8.0f} of {whole:8.0f} million: {cost.share:.1f} %", flush=True)


@contextmanager
def first_booted(host: Host, config: str, **options: Any) -> Iterator[Machine]:
    """A machine with 2 processors and 2 GiB that shows its login prompt."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "config.yaml")
        path.write_text(config, encoding="utf-8")
        folder = MachineFolder(Path(directory, "vm"))
        given = path if config else None
        spec = plan_machine(
            host.image, folder, host.verdict.accel, MachineRequest(config=given, memory=2048, **options)
        )
        with Machine(spec, host.tools, host.make_deadline(150), folder=folder.root, store=host.store) as machine:
            machine.wait_console("login:")
            yield machine


def own_size(manifest: Path) -> None:
    """Bytes that the provisioner itself adds to an image: sources, bytecode, and both in an EROFS as images have it."""
    from builder.outputs.manifest import read_manifest

    data = read_manifest(manifest)
    assert data is not None
    tools = Tools(Path(data["tools"]), QuietConsole())
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory, "tree")
        tree.mkdir()
        files = list((REPOSITORY / "firstboot").rglob("*.py"))
        for path in files:
            target = tree / path.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        source = sum(path.stat().st_size for path in tree.rglob("*.py"))
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(tree)], check=True)
        code = sum(path.stat().st_size for path in tree.rglob("*.pyc"))
        packed = Path(directory, "packed.erofs")
        tools.run("mkfs.erofs", "-zlz4", packed, tree)
        print(f"the provisioner in an image: {len(files)} modules, {source / 1e6:.2f} MB of source,")
        print(f"  {code / 1e6:.2f} MB of bytecode, {packed.stat().st_size / 1e6:.2f} MB in the root (EROFS, lz4)")


def parsing() -> None:
    """Parse and check typical configs in one process, as 'build-os check' does."""
    from firstboot.engine.compile import check

    texts = [CONFIGS["typical: 20 files, 2 users, 5 units"].replace("bench", f"bench{each}") for each in range(PARSED)]
    check([("warm", texts[0])])
    started, cpu = time.monotonic(), time.process_time()
    for text in texts:
        assert not check([("config", text)])
    wall = time.monotonic() - started
    print(f"parse and check {PARSED} typical configs: {wall:.2f} s, {time.process_time() - cpu:.2f} CPU s")

"""What a machine of ``base`` and ``ssh`` needs: does it boot with little memory, what is used when nothing happens.

By QEMU's icount, an instruction a nanosecond, with one processor and started by its kernel: a processor second of the
guest is a thousand million instructions, whatever the host does meanwhile.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from builder.cli.machines import Host, open_host
from builder.core.console import QuietConsole
from builder.core.errors import VmError
from builder.core.store import Store
from tests.bench.measuring import measure_load
from tests.bench.preloaded import build
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest

SYSTEM = "name: small\nversion: 1.0.0\nfeatures: [base, ssh]\n"
CONFIG = "variant: buildos\nversion: 1.0.0\nhostname: small\n"
MEMORIES = (256, 512, 1024)  # MiB
HERTZ = 100  # of the columns of /proc/stat (proc_stat(5))


def measure(work: Path) -> None:
    """Build it, boot it with each size of memory, and the last one once more."""
    work.mkdir(parents=True)
    host = open_host(build(work / "small", SYSTEM, Store.open()), QuietConsole())
    config = work / "small.yaml"
    config.write_text(CONFIG)
    print("base and ssh, one processor, thousand millions of instructions until the login prompt:")
    for memory in MEMORIES:
        try:
            _boot(host, config, memory, again=memory == MEMORIES[-1])
        except VmError as error:
            print(f"  {memory:5} MiB: {error.what}", flush=True)


def _boot(host: Host, config: Path, memory: int, *, again: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = MachineFolder(Path(directory) / "vm")
        request = MachineRequest(config=config, memory=memory, cpus=1, boot="kernel", icount=True)
        spec = plan_machine(host.image, folder, host.verdict.accel, request)
        with Machine(spec, host.tools, host.make_deadline(300), folder=folder.root, store=host.store) as machine:
            machine.wait_console("login:")
            first = _measure_busy(machine)
            load = measure_load(machine)
            before = _count(machine, "ctxt"), _count(machine, "intr")
            machine.succeed("sleep", "60")
            switches, interrupts = _count(machine, "ctxt") - before[0], _count(machine, "intr") - before[1]
            print(
                f"  {memory:5} MiB: {first:5.2f}; used at rest {load.used >> 20} MiB of {load.total >> 20}, "
                f"{load.programs} programs, in 60 s {switches} switches and {interrupts} interrupts",
                flush=True,
            )
            if again:
                machine.reboot()
                machine.wait_console("login:")
                second = _measure_busy(machine)
                print(f"  the second boot: {second:.2f}, {second / first:.2f} of the first", flush=True)


def _measure_busy(machine: Machine) -> float:
    """Processor seconds of this boot: all but idle and waiting for devices."""
    ticks = [int(word) for word in machine.read("/proc/stat").splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / HERTZ


def _count(machine: Machine, name: str) -> int:
    lines = machine.read("/proc/stat").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name} "))

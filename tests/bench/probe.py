"""What the test probe adds to a boot: the same machine with and without it, in turns, up to the login prompt."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from builder.cli.machines import open_host
from builder.core.console import QuietConsole
from vm.guest.credentials import PROBE_UNIT
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest


def measure(manifest: Path, config: Path, runs: int) -> None:
    """Boot fresh machines: UEFI, 2 processors, 2 GiB, the demo's first-boot config. Wait on the console alone."""
    host = open_host(manifest, QuietConsole())

    def boot(*, probe: bool) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as directory:
            folder = MachineFolder(Path(directory) / "vm")
            spec = plan_machine(host.image, folder, host.verdict.accel, MachineRequest(config=config, memory=2048))
            deadline = host.make_deadline(600)
            with Machine(spec, host.tools, deadline, folder=folder.root, store=host.store, probe=probe) as machine:
                started = time.monotonic()
                machine.wait_console("login:")
                spent = time.monotonic() - started, machine.cpu_seconds()
                if probe:
                    machine.wait_unit("multi-user.target")
                    shares.append(share(machine))
                return spent

    shares: list[float] = []
    rounds = [{probe: boot(probe=probe) for probe in (False, True)} for _ in range(runs)]
    print(f"boot to the login prompt, with and without the test probe ({host.verdict}; {runs} rounds)")
    cpu = {}
    for probe, title in ((False, "without"), (True, "with the probe")):
        wall = statistics.median(each[probe][0] for each in rounds)
        cpu[probe] = statistics.median(each[probe][1] for each in rounds)
        print(f"  {title:<34} {wall:7.2f} s  {cpu[probe]:7.2f} CPU s")
    print(f"  {'the probe':<34} {cpu[True] - cpu[False]:18.2f} CPU s")
    print(f"  {'its share, by the guest':<34} {statistics.median(shares):18.1%}", flush=True)


def share(machine: Machine) -> float:
    """What the probe has used of the guest's processor time, with what it has run, as the guest accounts for it."""
    used = int(machine.unit(PROBE_UNIT)["CPUUsageNSec"]) / 1e9
    user, nice, system, _, _, *interrupts = machine.read("/proc/stat").splitlines()[0].split()[1:8]
    ticks = sum(int(each) for each in (user, nice, system, *interrupts))
    return used / (ticks / int(machine.succeed("getconf CLK_TCK")))

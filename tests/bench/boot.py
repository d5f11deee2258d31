"""Seconds and CPU seconds from power-on to the login prompt, and to the container's answer."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from builder.cli.machines import open_host
from builder.core.console import QuietConsole
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest
from vm.waiting.deadline import choose_timeout_scale


def measure(manifest: Path, config: Path, runs: int) -> None:
    """Boot a fresh machine for every run: UEFI, 2 processors, 2 GiB, the demo's first-boot config."""
    host = open_host(manifest, QuietConsole())
    rows: dict[str, list[tuple[float, float]]] = {"login prompt": [], "container answers": []}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as directory:
            folder = MachineFolder(Path(directory) / "vm")
            spec = plan_machine(host.image, folder, host.verdict.accel, MachineRequest(config=config, memory=2048))
            with Machine(
                spec, host.tools, host.make_deadline(150), folder=folder.root, store=host.store, probe=False
            ) as machine:
                started = time.monotonic()
                machine.wait_console("login:")
                rows["login prompt"].append((time.monotonic() - started, machine.cpu_seconds()))
                machine.wait_http(8080)
                rows["container answers"].append((time.monotonic() - started, machine.cpu_seconds()))
    scale = choose_timeout_scale(host.verdict.accel, os.environ)
    print(f"boot, from power-on ({host.verdict}; {runs} runs; waits scaled by {scale:g})")
    for title, values in rows.items():
        wall, cpu = zip(*values, strict=True)
        spread = f"({min(wall):.2f} to {max(wall):.2f})"
        print(
            f"  {title:<34} {statistics.median(wall):7.2f} s  {spread}  {statistics.median(cpu):7.2f} CPU s", flush=True
        )

"""Seconds and CPU seconds from power-on to the login prompt, and to the container's answer; beside mkosi's image.

All with the same QEMU, firmware, 2 processors and 2 GiB; what is compared takes turns.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from builder.cli.machines import Host, open_host
from builder.core.console import QuietConsole
from vm.machine import Machine
from vm.spec import VmSpec
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest
from vm.waiting.deadline import choose_timeout_scale

Row = tuple[float, float]
PROMPT, ANSWER, PLAIN, PEER = "login prompt", "container answers", "login prompt, no config", "mkosi: login prompt"
SECONDS = 150
DISK = 8 << 30  # bytes: mkosi's is as small as what is in it


def measure(manifest: Path, config: Path, runs: int, peer: Path | None = None) -> None:
    """Boot a fresh machine for every row of every round.

    Args:
        config: the first-boot config.
        peer: mkosi's disk of the same packages, raw.
    """
    host = open_host(manifest, QuietConsole())
    rows: dict[str, list[Row]] = {}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as directory:
            for title, row in _boot(host, Path(directory) / "vm", config, None):
                rows.setdefault(title, []).append(row)
            for title, row in _boot(host, Path(directory) / "plain", None, None):
                rows.setdefault(title, []).append(row)
            if peer is not None:
                for title, row in _boot(host, Path(directory) / "peer", None, peer):
                    rows.setdefault(title, []).append(row)
    scale = choose_timeout_scale(host.verdict.accel, os.environ)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"boot, from power-on ({host.verdict}; {runs} runs; waits scaled by {scale:g}; load now {load})")
    for title, values in rows.items():
        wall, cpu = zip(*values, strict=True)
        spread = f"({min(wall):.2f} to {max(wall):.2f})"
        print(
            f"  {title:<34} {statistics.median(wall):7.2f} s  {spread}  {statistics.median(cpu):7.2f} CPU s", flush=True
        )
    if PEER in rows:
        _compare("ours with its config / mkosi", rows[PROMPT], rows[PEER])
        _compare("ours without one / mkosi", rows[PLAIN], rows[PEER])


def _boot(host: Host, root: Path, config: Path | None, peer: Path | None) -> list[tuple[str, Row]]:
    """The rows of one boot: with a config, until the demo's container answers."""
    folder = MachineFolder(root)
    spec = plan_machine(host.image, folder, host.verdict.accel, MachineRequest(config=config, memory=2048))
    if peer is not None:
        spec = exchange_disk(spec, peer)
    # A unit of the peer's that fails does not end its boot.
    with Machine(
        spec,
        host.tools,
        host.make_deadline(SECONDS),
        folder=folder.root,
        store=host.store,
        probe=False,
        patient=peer is not None,
    ) as machine:
        started = time.monotonic()
        machine.wait_console("login:")
        prompt = (time.monotonic() - started, machine.cpu_seconds())
        if config is None:
            return [(PLAIN if peer is None else PEER, prompt)]
        machine.wait_http(8080)
        return [(PROMPT, prompt), (ANSWER, (time.monotonic() - started, machine.cpu_seconds()))]


def exchange_disk(spec: VmSpec, peer: Path) -> VmSpec:
    """The same machine with another disk to boot from."""
    first, *others = spec.disks
    return replace(spec, disks=(replace(first, base=peer, base_format="raw", size=DISK), *others))


def _compare(title: str, ours: list[Row], others: list[Row]) -> None:
    wall, cpu = (statistics.median(r[i] for r in ours) / statistics.median(r[i] for r in others) for i in (0, 1))
    print(f"  {title:<34} {wall:7.2f} of the seconds, {cpu:.2f} of the CPU s")

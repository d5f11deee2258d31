"""Running things and saying how long they took."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.store import Store
from vm.machine import Machine

STARTER = """
import os, sys, time
started = time.monotonic()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print()
print(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, usage.ru_oublock)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Run:
    """One run of a command: seconds, CPU seconds of it and all it started, bytes of its largest process, and bytes that
    they wrote to files."""

    wall: float
    cpu: float
    peak: int
    written: int = 0

    def __add__(self, other: Run) -> Run:
        """One after the other."""
        return Run(
            self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak), self.written + other.written
        )


def measured(command: Sequence[object], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Run:
    """Run a command that must succeed; the kernel's own accounting (wait4(2))."""
    started = time.monotonic()
    process = subprocess.Popen(
        [str(word) for word in command], env=environment, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} failed:\n{said.decode(errors='replace')}")
    wall, cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    return Run(wall, cpu, usage.ru_maxrss * 1024, usage.ru_oublock * 512)


def prepare_store(work: Path) -> Path:
    """A store of its own with what a cold build may keep: downloads and tools."""
    store, private = Store.open(), work / "store"
    private.mkdir(parents=True)
    for room in ("blobs", "indexes", "tools"):
        (store.root / room).mkdir(exist_ok=True)
        (private / room).symlink_to(store.root / room)
    return private


def measured_apart(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """The same by a process so small that what it starts does not seem as large as this one: the kernel counts what a
    process had before execve(2)."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", STARTER, *command], env=dict(environment), capture_output=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{command} failed:\n{done.stderr.decode(errors='replace')}")
    wall, cpu, peak, blocks = done.stdout.splitlines()[-1].split()
    return Run(float(wall), float(cpu), int(peak) * 1024, int(blocks) * 512)


def median(runs: Sequence[Run]) -> Run:
    """The median of each, but of the peak the greatest."""
    return Run(
        statistics.median(run.wall for run in runs),
        statistics.median(run.cpu for run in runs),
        max(run.peak for run in runs),
        round(statistics.median(run.written for run in runs)),
    )


def show(title: str, runs: Sequence[Run]) -> Run:
    """Print median and spread; returns the median."""
    middle, wall = median(runs), [run.wall for run in runs]
    print(
        f"  {title:<34} {middle.wall:7.2f} s  ({min(wall):.2f} to {max(wall):.2f})"
        f"  {middle.cpu:7.2f} CPU s  {middle.peak / 1e6:6.0f} MB",
        flush=True,
    )
    return middle


def compare(title: str, greater: Run, less: Run) -> None:
    """Print how many times as long the one took as the other."""
    print(
        f"  {title:<34} {greater.wall / less.wall:7.1f} times the seconds, {greater.cpu / less.cpu:.1f} times the CPU s"
    )


@dataclass(frozen=True)
class Load:
    """What a machine has in use: bytes of memory, of how many, and programs that run."""

    used: int
    total: int
    programs: int


def measure_load(machine: Machine) -> Load:
    """When all of its boot is over: what starts after the prompt has started, and has ended."""
    machine.run("systemctl", "is-system-running", "--wait")
    fields = dict(line.split(":", 1) for line in machine.read("/proc/meminfo").splitlines())
    total, available = (int(fields[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    # Those of user space have a program.
    programs = len(machine.run("sh", "-c", "readlink /proc/[0-9]*/exe").stdout.split())
    return Load(total - available, total, programs)

"""Where a boot's instructions went: a machine by a clock of instructions, whose kernel notes who has its processor.

With QEMU's icount a nanosecond of the guest is an instruction, so the numbers of two boots of one image are alike,
whatever else the host does. The kernel's own tracer says who had the processor from its start on; idle time, when the
guest waits for a disk or a timer, is nobody's.
"""

from __future__ import annotations

import base64
import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NamedTuple

from vm.machine import Machine

# Kernel arguments: note who runs from when to when, what it is, and what the kernel asks modprobe for.
ARGUMENTS = (
    "trace_event=sched:sched_switch,sched:sched_process_exec,sched:sched_process_fork,module:module_load,"
    "module:module_request trace_buf_size=40M trace_clock=mono"
)
PHASES = ("firmware and unpacking", "kernel", "initrd", "root, to the login prompt")
EXECUTOR = "systemd-executor"
_FETCH = """
import gzip, os, subprocess
subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
open("/sys/kernel/tracing/tracing_on", "w").write("0")
open("/run/boot-trace", "wb").write(gzip.compress(open("/sys/kernel/tracing/trace", "rb").read(), 1))
"""
# rdtsc: edx:eax are the ticks since power-on, each an instruction.
_TICKS = """
import ctypes, mmap, time
code = bytes.fromhex("0f31 48c1e220 4809d0 c3")
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print(read() - time.monotonic_ns())
"""
_PIECE = 3_000_000
_LINE = re.compile(r"\s*(?P<comm>.+)-(?P<pid>\d+)\s+\[\d+\]\s+\S+\s+(?P<time>[\d.]+): (?P<event>\w+): (?P<rest>.*)")
_SWITCH = re.compile(r"prev_comm=(?P<comm>.*) prev_pid=(?P<pid>\d+) prev_prio=")
_EXEC = re.compile(r"filename=(?P<path>\S+)")
_FORK = re.compile(r"child_comm=.* child_pid=(?P<pid>\d+)")


class Run(NamedTuple):
    """A process had the processor: seconds of the guest, its id, and the program it was."""

    started: float
    ended: float
    pid: int
    program: str


@dataclass(frozen=True)
class Profile:
    """A boot until the login prompt.

    Attributes:
        before: seconds (thousand million instructions) from power-on to the kernel's first: firmware, boot loader,
            stub, unpacking; none, if nobody counted.
        begins: when each phase from the kernel on begins, and the end of the last.
        runs: who had the processor.
        modules: loaded ones, in order.
        requests: what the kernel asked modprobe for, each a process.
    """

    before: float | None
    begins: tuple[float, float, float, float]
    runs: tuple[Run, ...]
    modules: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    programs: dict[str, Counter[str]] = field(init=False)

    def __post_init__(self) -> None:
        counted: dict[str, Counter[str]] = {name: Counter() for name in PHASES[1:]}
        for run in self.runs:
            for name, start, end in self.list_phases():
                overlap = min(run.ended, end) - max(run.started, start)
                if overlap > 0:
                    counted[name][run.program] += overlap
        object.__setattr__(self, "programs", counted)

    def list_phases(self) -> Iterator[tuple[str, float, float]]:
        """Name, begin and end of each phase that the kernel saw."""
        yield from zip(PHASES[1:], self.begins, self.begins[1:], strict=False)

    def count(self, phase: str) -> float:
        """Thousand millions of instructions of a phase."""
        return (self.before or 0.0) if phase == PHASES[0] else sum(self.programs[phase].values())

    @property
    def total(self) -> float:
        """Of all phases."""
        return sum(self.count(phase) for phase in PHASES)


def read_trace(machine: Machine) -> Iterable[str]:
    """The kernel's trace of a machine that was booted with :data:`ARGUMENTS`; it ends here."""
    machine.succeed("python3", "-I", "-c", _FETCH)
    size = int(machine.succeed("stat", "-c", "%s", "/run/boot-trace"))
    data = b""
    while len(data) < size:
        piece = ["tail", "-c", f"+{len(data) + 1}", "/run/boot-trace"]
        data += base64.b64decode(machine.succeed("sh", "-c", f"{' '.join(piece)} | head -c {_PIECE} | base64 -w0"))
    return gzip.decompress(data).decode(errors="replace").splitlines()


def count_before_kernel(machine: Machine) -> float:
    """Seconds from power-on to the start of the kernel's clock (x86 alone has the counter that is read here)."""
    return int(machine.succeed("python3", "-I", "-c", _TICKS)) / 1e9


def parse_trace(lines: Iterable[str], *, before: float | None = None) -> Profile:
    """What the kernel's tracer wrote (Documentation/trace/ftrace.rst), until agetty waits for a name.

    Raises:
        ValueError: no login prompt is in it.
    """
    programs: dict[int, str] = {0: "kernel, first steps"}
    runs: list[Run] = []
    modules: list[tuple[float, str]] = []
    requests: list[tuple[float, str]] = []
    begins = [0.0]
    last, started = 0.0, False
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        pid, when, event, rest = int(match["pid"]), float(match["time"]), match["event"], match["rest"]
        if event == "sched_switch" and (switch := _SWITCH.match(rest)):
            if not programs.get(pid, "").startswith("/") and pid:
                programs[pid] = switch["comm"]
            # The first task is the kernel's own start, until it becomes the one that is idle.
            if pid or not started:
                runs.append(Run(last, when, pid, show_program(programs.get(pid, switch["comm"]))))
            started = started or bool(pid)
            last = when
        elif event == "sched_process_exec" and (program := _EXEC.match(rest)):
            runs.append(Run(last, when, pid, show_program(programs.get(pid, match["comm"]))))
            last, programs[pid] = when, program["path"]
            if pid == 1 and len(begins) < 3 and (len(begins) == 1) == (program["path"] == "/init"):
                begins.append(when)
        elif event == "sched_process_fork" and (child := _FORK.search(rest)):
            programs[int(child["pid"])] = programs.get(pid, match["comm"])
        elif event == "module_load":
            modules.append((when, rest.split()[0]))
        elif event == "module_request":
            requests.append((when, rest.split()[0]))
    prompts = [run.ended for run in runs if run.program == "agetty"]
    if len(begins) != 3 or not prompts:
        raise ValueError("the trace shows no boot up to a login prompt")
    prompt = max(prompts)
    return Profile(
        before,
        (begins[0], begins[1], begins[2], prompt),
        tuple(run for run in runs if run.started < prompt),
        tuple(name for when, name in modules if when < prompt),
        tuple(name for when, name in requests if when < prompt),
    )


def show_program(path: str) -> str:
    """What a person calls it: the last part of a path; systemd starts its helper by a descriptor."""
    return EXECUTOR if path.startswith("/proc/self/fd/") else PurePath(path).name if path.startswith("/") else path

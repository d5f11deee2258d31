"""A running QEMU: whether it still runs, and how much processor time it has used."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class QemuProcess:
    """Watches a process that is our child."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._cpu = 0.0
        self._ended: float | None = None
        self.pid = process.pid

    def find_exit_status(self) -> int | None:
        """As :meth:`subprocess.Popen.poll`; takes the last look at the processor time before the process is reaped."""
        if self._process.returncode is None:
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    self._sample()
        status = self._process.poll()
        if status is not None and self._ended is None:
            self._ended = time.monotonic()
        return status

    def measure_seconds_since_exit(self) -> float:
        """Since :meth:`find_exit_status` first told of the end; 0 before that."""
        return 0.0 if self._ended is None else time.monotonic() - self._ended

    def measure_cpu_seconds(self) -> float:
        """User and system seconds of all its threads so far, or until it ended."""
        if self._process.returncode is None:
            self._sample()
        return self._cpu

    def kill(self) -> None:
        """End it now, as a power cut would."""
        self._sample()
        self._process.kill()
        self._process.wait()

    def _sample(self) -> None:
        with contextlib.suppress(OSError):
            self._cpu = sum(count_cpu_ticks(self.pid)) / TICKS


def _fields(pid: int) -> list[str]:
    # The second field is the program's name in parentheses, which may contain anything.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def count_cpu_ticks(pid: int) -> tuple[int, int]:
    """User and system time of a process (``proc_pid_stat(5)``, fields 14 and 15).

    Raises:
        OSError: there is no such process.
    """
    fields = _fields(pid)
    return int(fields[11]), int(fields[12])


def find_start_time(pid: int) -> int | None:
    """When a process started, in ticks since boot; with the number it identifies a process. ``None``: it is gone."""
    try:
        fields = _fields(pid)
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])

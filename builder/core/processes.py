"""Programs of ours that work for one command of a person's, beside each other or one after the other."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.core.tools import stop

TOOK_TOO_LONG = 5  # docs/exit-codes.md: not what was asked, within its deadline
ENDED = 130  # as by Ctrl-C
TAIL_LINES = 8
PATIENCE = 20.0  # seconds: a build puts away what it has begun, and so do machines


class Processes:
    """Programs that run for one command of a person's, and end with it."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._ended = False
        self._lock = threading.Lock()

    def run(
        self,
        argv: Sequence[str],
        log: Path,
        seconds: float | None,
        *,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> tuple[int, str] | None:
        """Run one to its end: its exit status, and why it was ended; ``None`` if all were ended before it began.

        Args:
            log: what it says is added there.
            seconds: how long it may take.
        """
        with log.open("ab") as file:
            with self._lock:  # who ends us sees it, or it does not begin
                if self._ended:
                    return None
                # Its standard input ends with us, however we end, and so does it.
                process = subprocess.Popen(
                    argv, cwd=directory, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment
                )
                self._running.append(process)
            try:
                return process.wait(seconds), ""
            except subprocess.TimeoutExpired:
                stop(process, PATIENCE)
                return TOOK_TOO_LONG, f"took longer than limits.seconds, {seconds:.0f} s"
            finally:
                with self._lock:
                    self._running.remove(process)
                assert process.stdin is not None
                process.stdin.close()

    def end(self) -> int:
        """End all that run; none begins any more. Returns how many there were."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            process.terminate()
        for process in running:
            stop(process, PATIENCE)
        return len(running)


def read_tail(log: Path) -> str:
    """What a program said last: its error if it named one, else its last lines."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] :] if errors else lines[-TAIL_LINES:]).removeprefix("error: ")

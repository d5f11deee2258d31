"""Cells on workers of Dask's that share a cache and nothing else: what each built and took, what went through the
scheduler, and what a task costs by itself."""

from __future__ import annotations

import json
import operator
import os
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.sharing.cache import SharedCache
from builder.sharing.downloads import push_downloads
from builder.sharing.open import open_place
from builder.signatures.pem import parse_private_key
from builder.workers.task import import_distributed, name_resource
from tests.bench.measuring import measured
from vm.fakes.loopback import LoopbackServer

TASKS = 500  # that do nothing
SECONDS = 120.0  # until something of ours has started


class Relay(LoopbackServer):
    """A port that leads to another one, and counts what passes.

    Attributes:
        passed: bytes in both directions.
    """

    def __init__(self, target: int) -> None:
        self.passed = 0
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            """One connection."""

            def handle(self) -> None:
                """Pass on what either side says until one is done."""
                with suppress(OSError), socket.create_connection(("127.0.0.1", target)) as other:
                    peers = {self.request: other, other: self.request}
                    while True:
                        for ready in select.select(list(peers), [], [])[0]:
                            data = ready.recv(1 << 16)
                            if not data:
                                return
                            relay.passed += len(data)
                            peers[ready].sendall(data)

        class Server(socketserver.ThreadingTCPServer):
            """Forgets its connections when it ends."""

            daemon_threads = True
            block_on_close = False

        super().__init__(Server(("127.0.0.1", 0), Handler))


class Farm:
    """Processes that each have a log, and a store of their own."""

    def __init__(self, work: Path) -> None:
        self.work, self.stack = work, ExitStack()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def make_environment(self, name: str) -> dict[str, str]:
        """Of a machine that has nothing yet."""
        return {**os.environ, "BUILD_OS_CACHE": str(self.work / name)}

    def start(self, name: str, *argv: str, says: str) -> None:
        """Start one, and wait until it has said something."""
        log = self.work / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *argv], stdout=file, stderr=file, env=self.make_environment(name)
            )
        self.processes[name] = process
        self.stack.callback(self._kill, process)
        until = time.monotonic() + SECONDS
        while says not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{name} does not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.returncode is None:
            process.kill()
            process.wait()

    def stop(self, name: str) -> float:
        """End one; returns the CPU seconds of it and of all that it has started."""
        process = self.processes[name]
        process.send_signal(signal.SIGINT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime


@contextmanager
def open_farm(work: Path) -> Iterator[Farm]:
    """Gone afterwards, with all stores."""
    work.mkdir()
    farm = Farm(work)
    with farm.stack:
        yield farm
    shutil.rmtree(work, ignore_errors=True)


def measure_workers(work: Path, matrix: Path, count: int, downloads: set[str]) -> None:
    """Print rows of a matrix that workers build. Debs are in the cache before, as a machine leaves them that has
    downloaded them."""
    cache = ["--cache", str(work / "worker-cache"), "--cache-sign-key", str(work / "cache.key")]
    show_pushing(work, downloads)
    with open_farm(work / "farm") as farm, Relay(port := find_port()) as relay:
        words = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        farm.start("scheduler", "distributed.cli.dask_scheduler", *words, says="Scheduler at")
        address = f"tcp://127.0.0.1:{relay.port}"
        workers = [f"w{number}" for number in range(1, count + 1)]
        for name in workers:
            farm.start(name, "builder", "worker", address, "--jobs", "1", *cache, "--progress=plain", says="works for")

        def build(client: str) -> list[Mapping[str, Any]]:
            """Have all cells built for a client that has nothing; returns them, and prints what it took."""
            out, before, started = farm.work / f"{client}-out", relay.passed, time.monotonic()
            argv = [sys.executable, "-m", "builder", "matrix", "build", matrix, "-o", out, "--on", address, "--offline"]
            run = measured([*argv, *cache], farm.make_environment(client))
            cells: list[Mapping[str, Any]] = json.loads((out / "matrix.json").read_text())["cells"]
            through = (relay.passed - before) / 1e6
            print(f"  {client:<34} {time.monotonic() - started:7.2f} s  {run.cpu:7.2f} CPU s of the client alone")
            print(f"  {'  through the scheduler':<34} {through:7.2f} MB, {through / len(cells):.2f} a cell", flush=True)
            return [cell["last"]["build"] for cell in cells]

        show_cells(build(f"{count} workers, stores of their own"))
        again = build("the same, all in the cache")
        print(f"  {'  a cell that the cache has':<34} {sum(row['seconds'] for row in again) / len(again):7.2f} s")
        show_tasks(address)
        peak = read_peak(farm.processes["scheduler"].pid)
        used = sum(farm.stop(name) for name in workers)
        print(f"  {'CPU of all workers, and scheduler':<34} {used:7.2f} and {farm.stop('scheduler'):.2f} CPU s")
        print(f"  {'scheduler, memory at most':<34} {peak / 1e6:7.1f} MB", flush=True)


def show_pushing(work: Path, downloads: set[str]) -> None:
    """Put debs into the cache."""
    key = parse_private_key((work / "cache.key").read_bytes())
    cache = SharedCache(open_place(str(work / "worker-cache")), [key.public], QuietConsole(), key)
    started, store = time.monotonic(), Store.open()
    count = push_downloads(cache, store, dict.fromkeys(downloads, 1.0), QuietConsole())
    print(
        f"  {f'{count} debs and wheels put into a cache':<34} {time.monotonic() - started:7.2f} s,"
        f" {cache.counts.pushed / 1e6:.0f} MB",
        flush=True,
    )


def show_cells(cells: list[Mapping[str, Any]]) -> None:
    """What each worker built, and what it had of the cache."""
    by_worker: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in cells:
        by_worker[row.get("worker", "")].append(row)
    for index, rows in enumerate(by_worker.values(), 1):
        counts: Callable[[str], int] = lambda name, rows=rows: sum(row["cache"][name] for row in rows)  # noqa: E731
        print(
            f"  {f'  worker {index}':<34} {len(rows):3} cells, {sum(row['seconds'] for row in rows):6.1f} s;"
            f" took {counts('hits')} entries, {counts('fetched') / 1e6:.0f} MB; put {counts('pushed') / 1e6:.0f} MB",
            flush=True,
        )


def show_tasks(address: str) -> None:
    """What Dask adds to a task: of many that do nothing, one after the other and all at once."""
    options = {"resources": {name_resource(): 1}, "pure": False}
    with import_distributed().Client(address, set_as_default=False) as client:
        started = time.monotonic()
        for number in range(50):
            client.submit(operator.index, number, **options).result()
        alone = (time.monotonic() - started) / 50
        started = time.monotonic()
        client.gather([client.submit(operator.index, number, **options) for number in range(TASKS)])
        together = (time.monotonic() - started) / TASKS
    print(f"  {'a task that does nothing':<34} {alone * 1e3:7.1f} ms, {together * 1e3:.1f} ms of {TASKS} at once")


def read_peak(pid: int) -> int:
    """The most memory that a process has had, in bytes (proc_pid_status(5))."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def find_port() -> int:
    """One that nobody has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

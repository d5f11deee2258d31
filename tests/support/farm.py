"""A scheduler of Dask's and workers on this host, each with a store of its own, and a cache between them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builder.core.store import Store
from builder.signatures.pem import make_ed25519_pair

REPOSITORY = Path(__file__).parent.parent.parent
SECONDS = 300.0


def open_store(path: Path, downloads: Store) -> Path:
    """A store that has what this host has downloaded and made, and no images."""
    if not path.exists():
        path.mkdir()
        for section in ("blobs", "packs", "tools", "roots", "outputs", "presets", "filters"):
            (path / section).symlink_to(downloads.root / section)
    return path


def wait_for(happened: Callable[[], bool], log: Path) -> None:
    """Wait until something has happened; what a program has said is told if it does not."""
    until = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < until, log.read_text(errors="replace")
        time.sleep(0.1)


class Farm:
    """A scheduler, workers, a cache, and a client with a store of its own."""

    def __init__(self, directory: Path, downloads: Store) -> None:
        self.directory, self.downloads = directory, downloads
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        private, _ = make_ed25519_pair()
        (directory / "cache.key").write_bytes(private)
        self.stack = ExitStack()
        self.project = directory / "project"
        shutil.copytree(REPOSITORY / "configs", self.project / "configs")
        self.matrix = self.project / "matrix.yaml"
        self.matrix.write_text(
            "definitions: [configs/demo.yaml]\noutputs: [raw]\nvariables: {one: {a: 1}, two: {a: 2}}\n"
        )

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def sharing(self) -> list[str]:
        return ["--cache", str(self.directory / "cache"), "--cache-sign-key", str(self.directory / "cache.key")]

    def start(self, name: str, *argv: str, says: str = "") -> subprocess.Popen[bytes]:
        """A process with a store of its own; waits until it has said something."""
        store = self.open_store(name)
        log = (self.directory / f"{name}.log").open("wb")
        environment = {**os.environ, "BUILD_OS_CACHE": str(store)}
        process = subprocess.Popen([sys.executable, "-m", *argv], stdout=log, stderr=log, env=environment)
        log.close()
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        if says:
            self.wait(lambda: says in self.read_log(name), name)
        return process

    def open_store(self, name: str) -> Path:
        """A worker's own."""
        return open_store(self.directory / name, self.downloads)

    def read_log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def wait(self, happened: Callable[[], bool], name: str) -> None:
        wait_for(happened, self.directory / f"{name}.log")

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        return self.start("scheduler", "distributed.cli.dask_scheduler", *words, says="Scheduler at")

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        words = ["worker", self.address, "--jobs", "1", *self.sharing, "--progress", "plain"]
        return self.start(name, "builder", *words, says="works for")

    def start_client(self, name: str = "client") -> subprocess.Popen[bytes]:
        words = ["matrix", "build", str(self.matrix), "-o", str(self.directory / f"{name}-out"), "--on", self.address]
        return self.start(name, "builder", *words, "--offline", *self.sharing, "--progress", "plain")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in the project, to its end."""
        environment = {**os.environ, "BUILD_OS_CACHE": str(self.open_store("client"))}
        return subprocess.run(
            [sys.executable, "-m", "builder", *words, "--progress", "plain"],
            cwd=self.project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def wait_for_cell(self, name: str) -> None:
        """Until a worker unpacks packages for a cell."""
        self.wait(lambda: any(self.directory.glob(f"{name}/scratch/build-*/made/*/build.log")), name)


@contextmanager
def open_farm(directory: Path, store: Store) -> Iterator[Farm]:
    farm = Farm(directory, store)
    with farm.stack:
        yield farm

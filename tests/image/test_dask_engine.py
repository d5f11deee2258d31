"""A matrix on other machines: a real scheduler, real workers with stores of their own, and what can happen to them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.signatures.pem import make_ed25519_pair
from tests.image.test_interrupted_builds import running_below

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent
SECONDS = 300.0


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
        project = directory / "project"
        shutil.copytree(REPOSITORY / "configs", project / "configs")
        self.matrix = project / "matrix.yaml"
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
        store = self.directory / name
        if not store.exists():
            store.mkdir()
            for section in ("blobs", "packs", "tools", "roots", "outputs", "presets", "filters"):
                (store / section).symlink_to(self.downloads.root / section)
        log = (self.directory / f"{name}.log").open("wb")
        environment = {**os.environ, "BUILD_OS_CACHE": str(store)}
        process = subprocess.Popen([sys.executable, "-m", *argv], stdout=log, stderr=log, env=environment)
        log.close()
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        if says:
            self.wait(lambda: says in self.read_log(name), name)
        return process

    def read_log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def wait(self, happened: Callable[[], bool], name: str) -> None:
        until = time.monotonic() + SECONDS
        while not happened():
            assert time.monotonic() < until, self.read_log(name)
            time.sleep(0.1)

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        return self.start("scheduler", "distributed.cli.dask_scheduler", *words, says="Scheduler at")

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        words = ["worker", self.address, "--jobs", "1", *self.sharing, "--progress", "plain"]
        return self.start(name, "builder", *words, says="works for")

    def start_client(self, name: str = "client") -> subprocess.Popen[bytes]:
        words = ["matrix", "build", str(self.matrix), "-o", str(self.directory / f"{name}-out"), "--on", self.address]
        return self.start(name, "builder", *words, "--offline", *self.sharing, "--progress", "plain")

    def wait_for_cell(self, name: str) -> None:
        """Until a worker unpacks packages for a cell."""
        self.wait(lambda: any(self.directory.glob(f"{name}/scratch/build-*/out/*/build.log")), name)


@contextmanager
def open_farm(directory: Path, store: Store) -> Iterator[Farm]:
    farm = Farm(directory, store)
    with farm.stack:
        yield farm


@pytest.fixture
def farm(tmp_path: Path, store: Store, demo: Path) -> Iterator[Farm]:
    with open_farm(tmp_path, store) as made:
        yield made


def test_cells_are_built_by_workers_and_come_back_through_the_cache(farm: Farm) -> None:
    farm.start_scheduler()
    farm.start_worker("w1")
    farm.start_worker("w2")
    client = farm.start_client()
    assert client.wait(SECONDS) == 0, farm.read_log("client")
    data = json.loads((farm.directory / "client-out/matrix.json").read_text())
    assert [(row["id"], row["state"]) for row in data["cells"]] == [
        ("demo-raw-one", "up to date"),
        ("demo-raw-two", "up to date"),
    ]
    assert all("packages" in row["last"]["build"]["ran"] for row in data["cells"])  # by a worker
    said = (farm.directory / "client-out/demo-raw-one/output.log").read_text()
    assert "is as the shared cache has it" in said


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_cell_some_time_and_nothing_else(farm: Farm) -> None:
    farm.start_scheduler()
    worker = farm.start_worker("w1")
    client = farm.start_client()
    farm.wait_for_cell("w1")
    worker.kill()
    worker.wait()
    farm.start_worker("w2")
    assert client.wait(SECONDS) == 0, farm.read_log("client")
    farm.wait(lambda: running_below(farm.directory / "w1") == [], "w1")  # what it had begun ends with it


@pytest.mark.slow
def test_a_scheduler_that_is_started_again_goes_on_from_the_cache(farm: Farm) -> None:
    scheduler = farm.start_scheduler()
    farm.start_worker("w1")
    client = farm.start_client()
    farm.wait(lambda: "demo-raw-one: done" in farm.read_log("client"), "client")
    scheduler.kill()
    scheduler.wait()
    assert client.wait(SECONDS) == 3, farm.read_log("client")
    assert "has gone" in farm.read_log("client")
    farm.start_scheduler()
    farm.wait(lambda: farm.read_log("w1").count("works for") == 2, "w1")
    assert farm.start_client().wait(SECONDS) == 0, farm.read_log("client")


def test_a_worker_of_another_version_is_given_nothing(farm: Farm) -> None:
    farm.start_scheduler()
    words = [farm.address, "--resources", "build-os-amd64-0123=1", "--no-nanny", "--no-dashboard"]
    farm.start("other", "distributed.cli.dask_worker", *words, says="Registered to")
    assert farm.start_client().wait(SECONDS) == 3
    said = farm.read_log("client")
    assert "has no worker with build-os-" in said
    assert "there is one with build-os-amd64-0123" in said


def test_ctrl_c_ends_what_workers_do(farm: Farm) -> None:
    farm.start_scheduler()
    farm.start_worker("w1")
    client = farm.start_client()
    farm.wait_for_cell("w1")
    client.send_signal(signal.SIGINT)
    assert client.wait(SECONDS) == 130, farm.read_log("client")
    farm.wait(lambda: not any(farm.directory.glob("w1/scratch/build-*")), "w1")

"""A matrix on other machines: a real scheduler, real workers with stores of their own, and what can happen to them."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.image.test_interrupted_builds import running_below
from tests.support.farm import SECONDS, Farm, open_farm

pytestmark = pytest.mark.image


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
    builds = [row["last"]["build"] for row in data["cells"]]
    assert all("packages" in build["ran"] for build in builds)  # by a worker
    assert all(build["worker"].startswith(socket.gethostname()) for build in builds)
    assert all(build["cache"]["pushed"] > 0 for build in builds)
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
    assert not any(farm.directory.glob("cache/entries/images-*"))  # it did not just come to its end

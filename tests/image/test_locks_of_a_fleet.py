"""Two servers of locks over Debian's etcd, and machines that are processes: never two of them reboot at once."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.debian_programs import open_programs

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 120.0
# A machine: it asks until it may, reboots, and gives the lock back. Who reboots beside another finds the file.
MACHINE = """\
import os, sys, time
from pathlib import Path
from update.agent.fleet_lock import claim_lock, release_lock
from update.agent.host import Host
from update.agent.settings import FleetLock
host, rebooting = Host(Path(sys.argv[1])), Path(sys.argv[2])
for turn in range(4):
    lock = FleetLock(sys.argv[3 + turn % 2], "web")
    while claim_lock(host, lock):
        time.sleep(0.01)
    os.close(os.open(rebooting, os.O_CREAT | os.O_EXCL))
    time.sleep(0.05)
    rebooting.unlink()
    while release_lock(host):
        time.sleep(0.01)
    print("rebooted", flush=True)
"""


@pytest.fixture(scope="module")
def programs(store: Store) -> Tools:
    return open_programs(store, "etcd-server", "bash")


@contextmanager
def run_etcd(programs: Tools, directory: Path, port: int) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        peers = f"http://127.0.0.1:{free.getsockname()[1]}"
    arguments = {
        "data-dir": str(directory / "data"),
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
        "log-level": "error",
    }
    directory.mkdir(exist_ok=True)
    with (
        (directory / "log").open("ab") as log,
        programs.spawn(
            "etcd", *(f"--{key}={value}" for key, value in arguments.items()), stdout=log, stderr=log
        ) as etcd,
    ):
        deadline = time.monotonic() + START_SECONDS
        while not is_healthy(url):
            assert etcd.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield url


def is_healthy(url: str) -> bool:
    try:
        return bool(requests.get(f"{url}/health", timeout=5).json()["health"] == "true")
    except (requests.RequestException, ValueError, KeyError):
        return False


@contextmanager
def run_server(etcd: str) -> Iterator[str]:
    command = [sys.executable, "-m", "builder", "serve", "--etcd", etcd, "--group", "web=1", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@contextmanager
def run_machine(root: Path, number: int, rebooting: Path, *servers: str) -> Iterator[subprocess.Popen[str]]:
    (root / "etc").mkdir(parents=True)
    (root / "etc/machine-id").write_text(f"{number:032x}\n")
    command = [sys.executable, "-c", MACHINE, root, rebooting, *servers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as machine:
        try:
            yield machine
        finally:
            machine.kill()


def list_locks(etcd: str) -> str:
    command = [sys.executable, "-m", "builder", "serve", "--etcd", etcd, "--list-locks"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=REPOSITORY, text=True).stdout


def test_two_machines_never_reboot_at_once_and_wait_while_etcd_is_gone(programs: Tools, tmp_path: Path) -> None:
    rebooting = tmp_path / "rebooting"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as servers:
        with run_etcd(programs, tmp_path / "etcd", port) as etcd:
            urls = [servers.enter_context(run_server(etcd)) for _ in range(2)]
            with ExitStack() as stack:
                machines = [
                    stack.enter_context(run_machine(tmp_path / f"{number}", number, rebooting, *urls))
                    for number in range(3)
                ]
                for machine in machines:
                    assert machine.communicate(timeout=300)[0].split() == ["rebooted"] * 4
                    assert machine.returncode == 0
            assert list_locks(etcd) == ""
        # Nobody knows who holds what: nobody gets a lock, until etcd is there again.
        with run_machine(tmp_path / "late", 9, rebooting, *urls) as machine:
            answer = requests.post(
                f"{urls[0]}v1/pre-reboot",
                json={"client_params": {"id": "other", "group": "web"}},
                headers={"fleet-lock-protocol": "true"},
                timeout=60,
            )
            assert answer.status_code == 503
            assert machine.poll() is None
            with run_etcd(programs, tmp_path / "etcd", port):
                assert machine.communicate(timeout=300)[0].split() == ["rebooted"] * 4

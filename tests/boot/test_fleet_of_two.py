"""Two machines of a group in which one may reboot at a time, and their server: 'build-os serve', as it is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.boot.test_updates import OUT, REPOSITORY, build_os, build_versions, note, status
from tests.support.machines import booted
from vm.fakes import HOST
from vm.machine import Machine

# Two builds that tests/boot/test_updates.py has as well, and six boots by firmware.
pytestmark = [pytest.mark.boot, pytest.mark.slow]


class Fleet:
    """Machines, their repository, and who holds the locks.

    Attributes:
        port: where the server listens, also when it is started again.
    """

    def __init__(self, room: Path) -> None:
        self.repository, self.locks, self.port = room / "repository", room / "locks.json", 0
        self.machines: list[Machine] = []
        self.names: dict[str, str] = {}

    @contextmanager
    def serve(self) -> Iterator[None]:
        words = ("--locks", self.locks, "--group", "web=1", "--port", str(self.port))
        command = [sys.executable, "-m", "builder", "serve", self.repository, *words]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY, text=True
        ) as server:
            try:
                assert server.stdout is not None
                self.port = int(server.stdout.readline().strip().rstrip("/").rpartition(":")[2])
                yield
            finally:
                server.terminate()

    def list_locks(self) -> list[str]:
        """Who holds one, by name."""
        command = [sys.executable, "-m", "builder", "serve", "--locks", self.locks, "--list-locks"]
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=REPOSITORY, text=True).stdout
        return [self.names[line.split()[0].removeprefix("web/")] for line in said.splitlines()]


@pytest.fixture(scope="module")
def fleet(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    manifests = build_versions("12", store)
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    for version in "12":
        build_os("publish", fleet.repository, "--keys", OUT / "keys", "--out", OUT / version)
    with ExitStack() as stack:
        for name in ("one", "two"):
            folder = tmp_path_factory.mktemp("machine") / name
            options = {"name": name, "restrict": False, "memory": 768, "seconds": 1200}
            machine = stack.enter_context(booted(manifests["1"], folder, store, **options))
            # It looks by itself once an hour, and again while it waits; here only when we say so.
            machine.succeed("systemctl", "stop", "os-update.timer")
            fleet.machines.append(machine)
            fleet.names[find_id(machine)] = name
        yield fleet


def find_id(machine: Machine) -> str:
    """What the server knows it by."""
    return machine.succeed("systemd-id128", "machine-id", "--app-specific=5bfb2e5c-0fd9-4f52-8a36-0dc4ce9ae0b2")


def ask_to_reboot(machine: Machine) -> str:
    """What the timer starts, on a machine that has to wait; what it says."""
    machine.succeed("systemctl", "start", "os-update.service")
    machine.succeed("systemctl", "stop", "os-update-again.timer")
    assert machine.unit("os-update-again.timer")["ActiveState"] == "inactive"
    assert status(machine)["pending"]["version"] == "2"
    return machine.succeed("journalctl", "-b", "-u", "os-update.service", "-o", "cat")


def test_two_machines_reboot_one_after_the_other_and_wait_while_their_server_is_gone(fleet: Fleet) -> None:
    one, two = fleet.machines
    with fleet.serve():
        url = f"http://{HOST}:{fleet.port}/"
        for machine in (one, two):
            machine.write("/etc/os-update.json", json.dumps({"url": url, "fleet_lock": {"url": url, "group": "web"}}))
            # Written, and not started: nobody reboots because of that.
            machine.succeed("os-update", "apply")
        started = time.monotonic()
        one.run_until_reboot("systemctl", "start", "os-update.service")
        assert fleet.list_locks() == ["one"]
        assert f"the lock's server {url} says no" in ask_to_reboot(two)
        note("until the second was told to wait", started)
    # The first cannot give its lock back now, and the second gets none.
    one.wait_reboot()
    one.wait_unit("systemd-bless-boot.service")
    assert status(one)["running"] == "2"
    assert f"the lock's server {url} does not answer" in ask_to_reboot(two)
    assert fleet.list_locks() == ["one"]
    with fleet.serve():
        one.succeed("/bin/sh", "-c", "until test ! -e /var/lib/update/fleet-lock.json; do sleep 1; done")
        assert fleet.list_locks() == []
        started = time.monotonic()
        two.run_until_reboot("systemctl", "start", "os-update.service")
        assert fleet.list_locks() == ["two"]
        two.wait_reboot()
        two.wait_unit("systemd-bless-boot.service")
        assert status(two)["running"] == "2"
        two.succeed("/bin/sh", "-c", "until test ! -e /var/lib/update/fleet-lock.json; do sleep 1; done")
        note("from the second's turn until it had given its lock back", started)
        assert fleet.list_locks() == []
    for machine in (one, two):
        assert machine.succeed("journalctl", "--list-boots", "-q", "-o", "json").count("boot_id") == 2

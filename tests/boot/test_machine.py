"""What the harness can do to a machine that runs, done to a real one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vm.machine import Machine

DEMO = Path(__file__).parents[2] / "configs" / "machines" / "demo.yaml"
pytestmark = [pytest.mark.boot, pytest.mark.vm(config=DEMO, memory=1024)]


def test_a_snapshot_brings_back_memory_and_disks(vm: Machine) -> None:
    boot = vm.read("/proc/sys/kernel/random/boot_id")
    vm.write("/run/in-memory", "before")
    vm.write("/var/on-disk", "before")
    vm.snapshot()
    vm.write("/run/in-memory", "after")
    vm.succeed("rm /var/on-disk")
    vm.clock(datetime(2038, 1, 20, tzinfo=UTC))
    assert vm.succeed("date +%Y") == "2038"

    vm.restore()

    assert vm.read("/run/in-memory") == "before"
    assert vm.read("/var/on-disk") == "before"
    assert vm.succeed("date +%Y") != "2038"
    assert vm.read("/proc/sys/kernel/random/boot_id") == boot


def test_the_cable_is_pulled_and_put_back(vm: Machine) -> None:
    def carrier() -> str:
        return vm.succeed("cat /sys/class/net/enp0s2/carrier")

    assert carrier() == "1"
    vm.net_down()
    assert carrier() == "0"
    vm.net_up()
    assert carrier() == "1"


def test_each_test_begins_where_the_machine_had_booted(vm: Machine) -> None:
    assert vm.fail("cat", "/var/on-disk").status == 1
    assert vm.firstboot.find_finished() is not None
    assert vm.unit("multi-user.target")["ActiveState"] == "active"
    assert "<html" in vm.wait_http(8080)

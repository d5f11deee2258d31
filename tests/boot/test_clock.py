"""The clock of a machine that runs is put years forward, and back again: nothing ends, nothing is started anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vm.machine import Machine

DEMO = Path(__file__).parents[2] / "configs" / "machines" / "demo.yaml"
pytestmark = [pytest.mark.boot, pytest.mark.vm(config=DEMO, memory=1024)]

DECADE = timedelta(days=3652)


def restarts(machine: Machine) -> dict[str, str]:
    """How often each running service was started again."""
    said = machine.succeed("systemctl show --property=Id,NRestarts --type=service --state=running *")
    pairs = [dict(line.split("=", 1) for line in block.splitlines()) for block in said.split("\n\n")]
    return {each["Id"]: each["NRestarts"] for each in pairs if "NRestarts" in each}


def scheduled(machine: Machine) -> int:
    """How often the journal says that something is started again."""
    return sum("Scheduled restart job" in line for line in machine.journal())


# A second before seconds no longer fit 32 bits, and when two digits of a year begin again.
LAST_OF_32_BITS = datetime(2038, 1, 19, 3, 14, 6, tzinfo=UTC)
NEXT_CENTURY = datetime(2100, 3, 1, tzinfo=UTC)


def test_years_forward_and_back_restart_nothing(vm: Machine) -> None:
    vm.succeed("systemctl stop systemd-timesyncd.service")
    before, told = restarts(vm), scheduled(vm)
    now = datetime.fromtimestamp(int(vm.succeed("date +%s")), tz=UTC)
    for moment in (now + DECADE, LAST_OF_32_BITS, NEXT_CENTURY, now - DECADE, now):
        vm.clock(moment)
        assert abs(int(vm.succeed("date +%s")) - moment.timestamp()) < 600
        vm.write("/var/lib/dated", "")
        assert abs(int(vm.succeed("stat -c %Y /var/lib/dated")) - moment.timestamp()) < 600
        assert "<html" in vm.wait_http(8080)
    after = restarts(vm)
    assert {name: after.get(name) for name in before} == before
    assert scheduled(vm) == told
    assert vm.succeed("systemctl list-units --failed --no-legend --plain") == ""
    overdue = vm.succeed("systemctl list-timers --all --no-legend --plain")
    assert overdue, "no timer is left"

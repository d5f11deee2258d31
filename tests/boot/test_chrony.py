"""The example with chrony: it takes the place of systemd-timesyncd, without a word about that in the definition."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.machines import booted, build
from vm.machine import Machine

pytestmark = pytest.mark.boot

REPOSITORY = Path(__file__).parent.parent.parent
OUT = REPOSITORY / "out" / "time-server"


@pytest.fixture(scope="module")
def machine(store: Store) -> Iterator[Machine]:
    """A machine of configs/time-server.yaml with its config."""
    manifest = build(REPOSITORY / "configs" / "time-server.yaml", OUT, store)
    config = REPOSITORY / "configs" / "machines" / "time-server.yaml"
    with booted(manifest, OUT / "machine", store, config=config, seconds=300, boot="kernel") as machine:
        yield machine


def test_chrony_keeps_the_time_as_the_config_says(machine: Machine) -> None:
    machine.wait_unit("chrony.service")
    assert machine.succeed("stat -c %U:%G:%a /var/lib/chrony") == "_chrony:_chrony:750"
    assert machine.succeed("stat -c %U:%G:%a /etc/chrony/chrony.keys") == "root:_chrony:640"
    asked = machine.succeed("chronyc -N sources -a")
    assert "ntp-1.example.org" in asked
    assert "ntp-2.example.org" in asked
    # "local stratum 10" of the config: it answers although it has nobody to ask.
    assert "Stratum         : 10" in machine.succeed("chronyc -n tracking")


def test_timesyncd_is_not_there(machine: Machine) -> None:
    machine.fail("test -e /usr/lib/systemd/systemd-timesyncd")
    assert machine.unit("systemd-timesyncd.service")["LoadState"] == "not-found"


def test_nothing_failed(machine: Machine) -> None:
    assert machine.succeed("systemctl list-units --failed --no-legend --plain") == ""

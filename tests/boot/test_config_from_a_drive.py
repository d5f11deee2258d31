"""The example with chrony, which gets its config from a drive as clouds attach one.

chrony takes the place of systemd-timesyncd, without a word about that in the definition.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.machines import PATIENT, booted, build
from vm.machine import Machine

pytestmark = pytest.mark.boot

REPOSITORY = Path(__file__).parent.parent.parent
OUT = REPOSITORY / "out" / "time-server"
CONFIG = REPOSITORY / "configs" / "machines" / "time-server.yaml"
DRIVE = OUT / "drive.img"


def write_user_data(text: str, tools: Tools) -> None:
    """Put a config onto the drive, in place of what is there."""
    config = OUT / "user-data"
    config.write_text(text)
    tools.run("mcopy", "-o", "-i", DRIVE, config, "::user-data")


@pytest.fixture(scope="module")
def machine(store: Store, tools: Tools) -> Iterator[Machine]:
    """A machine of configs/time-server.yaml with its config."""
    manifest = build(REPOSITORY / "configs" / "time-server.yaml", OUT, store)
    with DRIVE.open("wb") as file:
        file.truncate(4 << 20)
    tools.run("mkfs.vfat", "-n", "CIDATA", DRIVE)
    write_user_data(CONFIG.read_text(), tools)
    arguments = f"{PATIENT} ignition.platform.id=kubevirt"
    options = {"boot": "kernel", "arguments": arguments, "media": [DRIVE], "net": "none"}
    with booted(manifest, OUT / "machine", store, seconds=300, **options) as machine:
        yield machine


def test_the_config_came_from_the_drive(machine: Machine) -> None:
    assert machine.read("/etc/hostname") == "clock-1\n"
    assert "the config drive vdb" in machine.read("/run/firstboot/result.json")
    assert machine.read("/proc/mounts").count("/run/firstboot") == 0


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


@pytest.mark.slow
def test_another_drive_at_a_later_boot_changes_nothing(machine: Machine, tools: Tools) -> None:
    before = machine.read("/run/state/firstboot/complete")
    # Somebody swaps the medium for one of their own.
    write_user_data(CONFIG.read_text().replace("clock-1", "taken-over"), tools)
    machine.reboot()
    machine.wait_unit("multi-user.target")
    assert machine.read("/etc/hostname") == "clock-1\n"
    assert machine.read("/run/state/firstboot/complete") == before
    assert machine.firstboot.events == ()

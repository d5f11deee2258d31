"""What a mirror, a volume group and subvolumes hold outlives the machine's own state."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from builder.core.store import Store
from tests.boot.test_disks import VOLUMES, require_volumes
from tests.support.machines import booted, build_text
from vm.machine import Machine
from vm.spec.extra_disk import ExtraDisk

# Three boots, for what test_disks shows as far as one machine can, and unit tests in all cases.
pytestmark = [pytest.mark.boot, pytest.mark.slow]

# Devices have 90 s to appear, which says nothing under emulation on a busy computer.
DEFINITION = """\
name: volumes
version: 1.0.0
features: [lvm]
outputs: [qcow2]
kernel: {command_line: [systemd.default_device_timeout_sec=infinity]}
"""
PLACES = ("/var/lib/kept", "/var/lib/database", "/var/lib/photos", "/var/lib/notes")
IDENTITIES = "blkid -o value -s UUID /dev/md/kept /dev/store/database /dev/store/pool"


@pytest.fixture(scope="module")
def machine(store: Store) -> Iterator[Machine]:
    out = VOLUMES.parents[2] / "out" / "volumes"
    manifest = build_text(DEFINITION, out, store)
    disks = [ExtraDisk(1 << 30, "three"), ExtraDisk(1 << 30, "four")]
    with booted(manifest, out / "machine", store, config=VOLUMES, extra_disks=disks, seconds=900) as machine:
        yield machine


def test_a_machine_that_is_set_up_anew_finds_its_data_again(machine: Machine) -> None:
    require_volumes(machine)
    identities = machine.succeed(IDENTITIES)
    made_as = machine.read("/etc/machine-id")
    for place in PLACES:
        machine.write(f"{place}/mine", f"{place}\n")
    machine.succeed("systemctl start --no-block factory-reset.target")
    machine.wait_reboot()
    machine.wait_firstboot()
    machine.wait_unit("multi-user.target")
    assert machine.read("/etc/machine-id") != made_as
    assert machine.succeed(IDENTITIES) == identities
    require_volumes(machine)
    assert [machine.read(f"{place}/mine") for place in PLACES] == [f"{place}\n" for place in PLACES]

    machine.reboot()
    machine.wait_unit("multi-user.target")
    require_volumes(machine)
    assert [machine.read(f"{place}/mine") for place in PLACES] == [f"{place}\n" for place in PLACES]


def test_the_first_boot_left_nothing_of_lvm_in_etc(machine: Machine) -> None:
    changed = json.loads(machine.succeed("firstboot status --json"))["changed"]
    assert [each for each in changed if "lvm" in json.dumps(each)] == []
    machine.fail("test -e /etc/lvm/devices/system.devices")

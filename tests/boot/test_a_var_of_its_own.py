"""A config's own ``/var``, encrypted, as Fedora CoreOS documents it: the only one from the first write on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.core.tools import Tools
from firstboot.config.mount_points import VAR_UNIT_FILE
from tests.boot.test_refused_configs import seen
from tests.support.machines import booted, build_text
from tests.support.state_partition import State
from vm.disks import tamper
from vm.machine import Machine
from vm.spec import Disk
from vm.spec.extra_disk import ExtraDisk

pytestmark = pytest.mark.boot

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "configs" / "machines" / "encrypted-var.yaml"
DEFINITION = """\
name: own-var
version: 1.0.0
features: [disks]
outputs: [qcow2]
"""
CANARY = "canary-of-an-encrypted-var"
KEYS = "/home/core/.ssh/authorized_keys.d/ignition"
# How long systemd waits for a device, which says nothing under emulation on a busy computer.
PATIENCE = "/etc/systemd/system.conf.d/devices.conf"
PATIENT = "[Manager]\nDefaultDeviceTimeoutSec=infinity\n"


@pytest.fixture(scope="module")
def machine(store: Store) -> Iterator[Machine]:
    out = REPOSITORY / "out" / "own-var"
    manifest = build_text(DEFINITION, out, store)
    config = out / "machine.yaml"
    patience = f"    - path: {PATIENCE}\n      contents:\n        inline: {PATIENT!r}\n".replace("'", '"')
    config.write_text(CONFIG.read_text(encoding="utf-8") + patience, encoding="utf-8")
    disks = [ExtraDisk(1 << 30, "data")]
    with booted(manifest, out / "machine", store, config=config, extra_disks=disks, tpm=True) as machine:
        yield machine


def require_its_own_var(machine: Machine) -> None:
    assert machine.succeed("findmnt -n -o SOURCE,FSTYPE --mountpoint /var").split() == ["/dev/mapper/var", "xfs"]
    assert machine.succeed("lsblk -n -o TYPE /dev/mapper/var") == "crypt"
    assert machine.read("/var/lib/app/token") == CANARY
    assert machine.read(KEYS).endswith("you@example.org\n")
    assert machine.succeed(f"stat -L -c %U {KEYS}") == "core"
    assert "nothing since" in machine.succeed("firstboot status")
    assert machine.succeed("findmnt -n -o TARGET --target /var/log/journal") == "/var"
    assert machine.succeed("ls /var/log/journal") != ""
    assert machine.succeed("systemctl --failed --plain --no-legend") == ""
    assert [line for line in machine.journal() if "ordering cycle" in line] == []


def require_nothing_in_clear(machine: Machine) -> None:
    assert machine.succeed("ls /run/state").split() == ["etc", "firstboot", "lost+found", "provisioned"]
    machine.succeed("sync")
    # Of the disk that the image boots from, it has what the machine has written: files of /etc, and nothing of /var.
    written = Path(machine.spec.disks[0].path).read_bytes()
    assert PATIENT.encode() in written
    assert CANARY.encode() not in written


def test_everything_is_in_it_and_nothing_of_it_in_clear(machine: Machine) -> None:
    require_its_own_var(machine)
    require_nothing_in_clear(machine)


@pytest.mark.slow
def test_the_next_boot_has_the_same_and_without_its_device_the_machine_stops(machine: Machine) -> None:
    machine.write("/var/lib/mine", "kept\n")
    machine.reboot()
    machine.wait_unit("multi-user.target")
    assert machine.transcript.find("Failed unmounting") is None
    assert machine.read("/var/lib/mine") == "kept\n"
    require_its_own_var(machine)
    require_nothing_in_clear(machine)

    machine.write(PATIENCE, PATIENT.replace("infinity", "20s"))
    machine.shutdown()
    disks = machine.spec.disks
    logins = console(machine).count("login:")
    machine.spec = replace(machine.spec, disks=disks[:-1])
    try:
        machine.boot()
        shown = seen(machine, "build-os: this machine stopped")
        assert "build-os: /var is not mounted: /dev/mapper/var is missing" in shown
        assert shown.count("login:") == logins
    finally:
        machine.unplug()
        machine.spec = replace(machine.spec, disks=disks)


@pytest.mark.slow
def test_without_its_unit_the_machine_stops(machine: Machine, tools: Tools) -> None:
    if not machine.is_off:
        machine.shutdown()
    logins = console(machine).count("login:")
    without_unit = remove_unit(machine.spec.disks[0], tools)
    machine.spec = replace(machine.spec, disks=(without_unit, *machine.spec.disks[1:]))
    machine.boot()
    shown = seen(machine, "but var is gone from its state partition")
    assert shown.count("login:") == logins
    machine.unplug()
    without_unit.path.unlink()


def remove_unit(system: Disk, tools: Tools) -> Disk:
    """A copy of a machine's disk that has lost what says that its /var is its own, as after a file system's repair."""
    disk = Disk(system.path.with_name("disk.raw"), format="raw")
    tools.run("qemu-img", "convert", "-O", "raw", system.path, disk.path)
    partition = tamper.find_partition(tamper.list_partitions(disk, tools), "state")
    State(disk.path, tools, partition.start).write(f"rm etc/upper/{VAR_UNIT_FILE.removeprefix('/etc/')}")
    return disk


def console(machine: Machine) -> str:
    return "\n".join(line.text for line in machine.transcript.list_lines())

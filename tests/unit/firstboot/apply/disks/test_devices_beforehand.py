"""Block devices are looked at before any of them is touched: what would be refused later is refused now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from firstboot.apply.action import Refused
from firstboot.apply.disks.beforehand import is_made
from firstboot.engine.compile import load
from tests.support.guest import Guest
from tests.unit.firstboot.conftest import FakePrograms

pytestmark = pytest.mark.unit

TWO = """variant: buildos
version: 1.0.0
storage:
  filesystems:
    - {device: /dev/one, format: ext4, wipe_filesystem: true, path: /var/lib/one, with_mount_unit: true}
    - {device: /dev/two, format: ext4, path: /var/lib/two, with_mount_unit: true}
"""
LAYERS = """variant: buildos
version: 1.0.0
storage:
  disks:
    - {device: /dev/vdb, wipe_table: true, partitions: [{label: a, number: 1}]}
    - {device: /dev/disk/by-id/virtio-x, wipe_table: true, partitions: [{label: b, number: 1}]}
  raid: [{name: mirror, level: raid1, devices: [/dev/disk/by-partlabel/a, /dev/disk/by-partlabel/b]}]
  luks: [{name: box, device: /dev/md/mirror, wipe_volume: true}]
  lvm: [{name: store, devices: [/dev/mapper/box], volumes: [{name: all}]}]
  filesystems: [{device: /dev/store/all, format: ext4}]
"""


class Devices(FakePrograms):
    """Says of each device what is on it, as wipefs does."""

    signatures: dict[str, str]

    @classmethod
    def at(cls, root: Path, **signatures: str) -> Devices:
        made = cls()
        made.__dict__.update(FakePrograms.below(root).__dict__)
        made.signatures = signatures
        return made

    def run_for_status(self, argv: Sequence[str]) -> tuple[int, str]:
        super().run_for_status(argv)
        if argv[0] == "wipefs" and "--parsable" in argv:
            return 0, self.signatures.get(argv[-1].rpartition("/")[2], "")
        if list(argv[:2]) == ["lvm", "pvs"]:
            return 0, '{"report": [{"pv": []}]}'
        return 0, ""


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Devices that are there; nothing waits for others."""
    there = {"/dev/one", "/dev/two"}

    def wait_for(device: str) -> str:
        if device not in there:
            raise Refused(f"there is no device {device} (waited for 60 s)")
        return device

    for module in ("beforehand", "filesystems", "mounts"):
        monkeypatch.setattr(f"firstboot.apply.disks.{module}.wait_for", wait_for)
    return there


def changed(guest: Guest) -> list[tuple[str, ...]]:
    """What was started and changes something."""
    return [argv for argv in guest.programs.calls if "--parsable" not in argv and argv[0] != "systemctl"]


def boot(root: Path, text: str, **signatures: str) -> Guest:
    guest = Guest(root, Devices.at(root, **signatures))
    guest.give(text)
    assert guest.boot() == 1
    return guest


def test_a_device_that_is_missing_is_missed_before_another_one_is_wiped(accounts: Path, present: set[str]) -> None:
    present.remove("/dev/two")
    guest = boot(accounts, TWO)
    assert ":6:" in guest.console()
    assert "there is no device /dev/two" in guest.console()
    assert changed(guest) == []
    assert "Disks were set up already" not in guest.console()


def test_all_that_is_in_the_way_is_said_at_once_before_anything_is_wiped(accounts: Path, present: set[str]) -> None:
    assert present
    text = TWO.replace("wipe_filesystem: true, ", "")
    guest = boot(accounts, text, one="xfs", two="vfat")
    assert "/dev/one has xfs; wipeFilesystem would replace it" in guest.console()
    assert "/dev/two has vfat; wipeFilesystem would replace it" in guest.console()
    assert changed(guest) == []


def test_a_device_in_use_is_noticed_before_anything_is_wiped(
    accounts: Path, present: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert present
    users: dict[str, list[str]] = {"/dev/two": ["/var/lib/mine"]}
    monkeypatch.setattr("firstboot.apply.disks.devices.list_device_users", lambda node: users.get(node, []))
    text = TWO.replace("/dev/two, format: ext4", "/dev/two, format: ext4, wipe_filesystem: true")
    guest = boot(accounts, text, two="xfs")
    assert "/dev/two is in use by /var/lib/mine" in guest.console()
    assert changed(guest) == []


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("raid: [{name: m, level: raid1, reuse: true, devices: [/dev/one, /dev/two]}]", "without reuse the RAID would"),
        ("luks: [{name: box, device: /dev/two}]", "wipeVolume would replace it"),
        ("lvm: [{name: g, devices: [/dev/two], volumes: [{name: v}]}]", "wipe_group would replace it"),
    ],
)
def test_what_a_layer_may_not_replace_is_found_before_a_filesystem_is_wiped(
    accounts: Path, present: set[str], layer: str, says: str
) -> None:
    assert present
    first, _, _ = TWO.rpartition("    - ")
    text = f"{first}  {layer}\n"
    guest = boot(accounts, text, two="xfs")
    assert f"/dev/two has xfs; {says}" in guest.console()
    assert {argv[0] for argv in changed(guest)} <= {"mdadm", "lvm"}
    assert {argv[1] for argv in changed(guest)} <= {"--examine", "pvs"}


def test_without_a_tpm_nothing_is_encrypted_for_one(
    accounts: Path, present: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    present.add("/dev/mapper/box")
    monkeypatch.setattr("firstboot.apply.disks.beforehand.has_tpm", lambda: False)
    luks = "  luks: [{name: box, device: /dev/two, wipe_volume: true, clevis: {tpm2: true}}]\n"
    guest = boot(accounts, TWO.replace("/dev/two, format", "/dev/mapper/box, format") + luks)
    assert ":7:" in guest.console()
    assert "the machine has no TPM 2.0" in guest.console()
    assert changed(guest) == []


@pytest.mark.parametrize(
    ("device", "made"),
    [
        ("/dev/vdb1", True),
        ("/dev/vdb", True),
        ("/dev/vdbc1", False),
        ("/dev/disk/by-id/virtio-x-part1", True),
        ("/dev/disk/by-id/virtio-xy", False),
        ("/dev/disk/by-partlabel/a", True),
        ("/dev/disk/by-partlabel/other", False),
        ("/dev/disk/by-label/data", True),
        ("/dev/disk/by-id/dm-name-box", True),
        ("/dev/md/mirror", True),
        ("/dev/md/other", False),
        ("/dev/mapper/box", True),
        ("/dev/store/all", True),
        ("/dev/sdz", False),
    ],
)
def test_what_the_config_makes_itself_is_not_looked_at(device: str, made: bool) -> None:
    assert is_made(device, load(LAYERS, "m.yaml").config) is made


def test_a_config_of_one_filesystem_makes_nothing_that_it_could_name() -> None:
    text = TWO.rsplit("    - ", 1)[0].replace("/dev/one", "/dev/disk/by-label/data")
    config: Any = load(text, "m.yaml").config
    assert not is_made("/dev/disk/by-label/data", config)

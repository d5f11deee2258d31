"""Volume groups, subvolumes and arrays that are kept: what may be said of them, and when what is there may stay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from firstboot.apply.action import Machine, Refused
from firstboot.apply.disks.filesystems import Signature
from firstboot.apply.disks.lvm import (
    MakeVolume,
    MakeVolumeGroup,
    PhysicalVolume,
    create_command,
    is_kept,
    is_size,
    list_replaced,
)
from firstboot.apply.disks.plan import plan_devices, plan_mounts
from firstboot.apply.disks.raid import MakeRaid, Superblock, find_difference, find_superblock, make_command, make_uuid
from firstboot.apply.programs import Programs
from firstboot.apply.root import Root
from firstboot.config.devices import LogicalVolume, Raid, VolumeGroup
from firstboot.config.document import read
from firstboot.config.text import LocatedError, Problem
from firstboot.engine.compile import load

pytestmark = pytest.mark.unit

HEAD = "variant: buildos\nversion: 1.0.0\nstorage:\n"
VOLUMES = Path(__file__).parents[5] / "configs" / "machines" / "volumes.yaml"
MIB = 1 << 20


def problems(storage: str) -> list[str]:
    """``LINE: MESSAGE`` of everything that is wrong with a config; its storage begins in line 4."""
    try:
        load(HEAD + storage, "m.yaml")
    except LocatedError as error:
        marks = [error.located.mark_of(each.path) for each in error.problems]
        return [f"{mark.line}: {each.message}" for each, mark in zip(error.problems, marks, strict=True) if mark]
    return []


# --- what a config may say ---


@pytest.mark.parametrize(
    ("lvm", "complaint"),
    [
        ("{name: a, devices: [/dev/x]}", None),
        ("{name: a, devices: [/dev/x], volumes: [{name: b, size_mib: 1}, {name: c}]}", None),
        ("{devices: [/dev/x]}", "the name of a volume group is required"),
        ("{name: -a, devices: [/dev/x]}", "'-a' cannot be the name of a volume group"),
        ("{name: mapper, devices: [/dev/x]}", "/dev/mapper is a directory of its own"),
        ("{name: a}", "the devices of a volume group are required"),
        ("{name: a, devices: [x]}", "not absolute"),
        ("{name: a, devices: [/dev/x], volumes: [{name: ..}]}", "'..' cannot be the name of a logical volume"),
        ("{name: a, devices: [/dev/x], volumes: [{name: x_tmeta}]}", "LVM keeps names like 'x_tmeta' for itself"),
        ("{name: a, devices: [/dev/x], volumes: [{name: b, size_mib: 1, size_percent: 1}]}", "not both"),
        ("{name: a, devices: [/dev/x], volumes: [{name: b, size_mib: 0}]}", "at least 1 MiB"),
        ("{name: a, devices: [/dev/x], volumes: [{name: b, size_percent: 101}]}", "from 1 to 100"),
        ("{name: a, devices: [/dev/x], volumes: [{name: b}, {name: c}]}", "'b' takes all that is free"),
        ("{name: a, devices: [/dev/x], volumes: [{name: b}, {name: b}]}", "'b' is defined twice"),
        ("{name: a, devices: [/dev/x], volumes: [{name: " + "b" * 125 + "}]}", "more than 125 bytes together"),
        ("{name: a, devices: [/dev/x], volume: []}", "unknown setting"),
    ],
)
def test_volume_groups(lvm: str, complaint: str | None) -> None:
    found = problems(f"  lvm:\n    - {lvm}\n")
    if complaint is None:
        assert found == []
    else:
        assert any(each.startswith("5: ") and complaint in each for each in found), found


def test_a_device_is_in_one_group() -> None:
    found = problems("  lvm:\n    - {name: a, devices: [/dev/x]}\n    - {name: b, devices: [/dev/x]}\n")
    assert found == ["6: /dev/x is a device of the volume group 'a' already"]


@pytest.mark.parametrize(
    ("subvolumes", "complaint"),
    [
        ("[{name: a}, {name: a/b, path: /var/b, default: true, compression: zstd}]", None),
        ("[{path: /var/a}]", "the name of a subvolume is required"),
        ("[{name: /a}]", "'/a' cannot be the name of a subvolume"),
        ("[{name: a/../b}]", "'a/../b' cannot be the name of a subvolume"),
        ("[{name: 'a,ro'}]", "'a,ro' cannot be the name of a subvolume"),
        ("[{name: a, path: var}]", "not absolute"),
        ("[{name: a, path: /etc}]", "a filesystem at /etc is not supported"),
        ("[{name: a, with_mount_unit: true}]", "with a mount unit needs a path"),
        ("[{name: a, mount_options: [ro]}]", "options for mounting need a path"),
        ("[{name: a, path: /var/a, mount_options: ['subvol=b']}]", "is said by its name"),
        ("[{name: a, compression: gzip}]", "the compression 'gzip' is not known"),
        ("[{name: a, default: true}, {name: b, default: true}]", "'a' is the default already"),
        ("[{name: a}, {name: a}]", "'a' is defined twice"),
        ("[{name: a, path: /var/a}, {name: b, path: /var/a/}]", "'a' is mounted at /var/a/ already"),
        ("[{name: a, path: /var/top}]", "/dev/x is mounted at /var/top already"),
    ],
)
def test_subvolumes(subvolumes: str, complaint: str | None) -> None:
    text = "  filesystems:\n    - device: /dev/x\n      path: /var/top\n      format: btrfs\n"
    text += f"      subvolumes: {subvolumes}\n"
    found = problems(text)
    if complaint is None:
        assert found == []
    else:
        assert any(each.startswith("8: ") and complaint in each for each in found), found
    assert any("only a btrfs" in each for each in problems(text.replace("btrfs", "ext4")))


def test_ignition_has_none_of_it() -> None:
    storage = {
        "lvm": [{"name": "a", "devices": ["/dev/x"]}],
        "raid": [{"name": "a", "level": "raid1", "devices": ["/dev/y"], "reuse": True}],
        "filesystems": [{"device": "/dev/z", "format": "btrfs", "subvolumes": [{"name": "a"}]}],
    }
    document = read(json.dumps({"ignition": {"version": "3.6.0"}, "storage": storage}), "m.ign")
    assert [each.message.split(",")[0] for each in document.problems] == ["unknown setting"] * 3
    assert read(VOLUMES.read_text(), "m.yaml").compile()["ignition"]["version"] == "3.6.0+buildos"


def test_a_compiled_config_means_the_same() -> None:
    loaded = load(VOLUMES.read_text(), "m.yaml")
    again = load(json.dumps(read(VOLUMES.read_text(), "m.yaml").compile()), "m.ign")
    assert again.config.storage == loaded.config.storage
    units = {each.name: each.contents or "" for each in loaded.config.systemd.units}
    assert "What=/dev/store/pool\nType=btrfs\nOptions=noatime,subvol=text/notes\n" in units["var-lib-notes.mount"]


# --- in which order it is done ---


def test_a_group_comes_after_what_it_is_on_and_before_what_is_on_it() -> None:
    storage = (
        "  luks:\n"
        "    - {name: over, device: /dev/a/b}\n"
        "    - {name: under, device: /dev/x}\n"
        "  lvm:\n"
        "    - {name: a, devices: [/dev/mapper/under], volumes: [{name: b}]}\n"
    )
    planned = plan_devices(load(HEAD + storage, "m.yaml").config, Programs())
    said = [each.describe() for each in planned if not isinstance(each, Problem)]
    assert [each.split()[-1] for each in said] == ["under", "a", "a/b", "over"]


def test_what_is_mounted_above_comes_first() -> None:
    storage = (
        "  filesystems:\n"
        "    - {device: /dev/x, format: btrfs, subvolumes: [{name: a, path: /var/a/b/c}, {name: b, path: /var/a}]}\n"
        "    - {device: /dev/y, format: ext4, path: /var/a/b}\n"
    )
    said = [each.describe() for each in plan_mounts(load(HEAD + storage, "m.yaml").config)]
    assert [each.split()[-1] for each in said] == ["/var/a", "/var/a/b", "/var/a/b/c"]


# --- what may stay ---

HERE, THERE = PhysicalVolume("8:1", "/dev/sda1", "store"), PhysicalVolume("8:2", "/dev/sda2", "store")
OTHER, LEFT = PhysicalVolume("8:1", "/dev/sda1", "other"), PhysicalVolume("8:3", "/dev/sda3", "other")


def group(*, wipe: bool = False) -> VolumeGroup:
    return VolumeGroup(name="store", devices=("/dev/sda1", "/dev/sda2"), wipe_group=wipe)


def test_a_group_of_the_same_devices_stays_unless_it_is_to_be_wiped() -> None:
    assert is_kept(group(), ["8:2", "8:1"], [HERE, THERE, LEFT])
    assert not is_kept(group(wipe=True), ["8:1", "8:2"], [HERE, THERE])
    assert list_replaced(group(wipe=True), ["8:1", "8:2"], [HERE, THERE]) == ["store"]
    assert not is_kept(group(), ["8:1", "8:2"], [LEFT])
    assert list_replaced(group(), ["8:1", "8:2"], [LEFT]) == []


def test_a_group_of_other_devices_is_refused() -> None:
    with pytest.raises(Refused, match="there is a volume group store already, of other devices: /dev/sda1"):
        is_kept(group(), ["8:1", "8:2"], [HERE])
    with pytest.raises(Refused, match="of other devices"):
        is_kept(group(), ["8:1"], [HERE, PhysicalVolume("", "[unknown]", "store")])


def test_a_device_that_a_first_boot_has_only_marked_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The power went before the group was written: the next attempt must not call that a group in its way."""
    monkeypatch.setattr("firstboot.apply.disks.lvm.probe", lambda *_: Signature("LVM2_member"))
    monkeypatch.setattr("firstboot.apply.disks.lvm.read_device_number", {"/dev/sda1": "8:1", "/dev/sda2": "8:2"}.get)
    make, nodes = MakeVolumeGroup(group(), ()), ["/dev/sda1", "/dev/sda2"]
    marked = [PhysicalVolume("8:1", "/dev/sda1", ""), PhysicalVolume("8:2", "/dev/sda2", "")]
    make.require_empty(nodes, marked, Programs())
    with pytest.raises(Refused, match="/dev/sda2 has LVM2_member; wipe_group would replace it"):
        make.require_empty(nodes, [marked[0], OTHER._replace(number="8:2")], Programs())


def test_devices_of_another_group_are_taken_only_if_all_of_it_may_go() -> None:
    with pytest.raises(Refused, match="/dev/sda1 is a device of the volume group other; wipe_group would replace it"):
        list_replaced(group(), ["8:1", "8:2"], [OTHER])
    assert list_replaced(group(wipe=True), ["8:1", "8:2"], [OTHER]) == ["other"]
    with pytest.raises(Refused, match="the volume group other is also on /dev/sda3"):
        list_replaced(group(wipe=True), ["8:1", "8:2"], [OTHER, LEFT])


@pytest.mark.parametrize(
    ("size", "there", "same"),
    [
        ({"size_mib": 100}, 100, True),
        ({"size_mib": 98}, 100, True),  # extents have 4 MiB
        ({"size_mib": 96}, 100, False),
        ({"size_mib": 101}, 100, False),
        ({"size_percent": 50}, 100, True),
        ({}, 100, True),
    ],
)
def test_a_volume_stays_if_its_size_is_what_is_wanted(size: dict[str, int], there: int, same: bool) -> None:
    assert is_size(LogicalVolume(name="a", **size), there * MIB, 4 * MIB) is same


def test_how_volumes_are_made() -> None:
    assert create_command("g", LogicalVolume(name="a", size_mib=5))[-3:] == ["--size", "5m", "g"]
    assert create_command("g", LogicalVolume(name="a"))[-2:] == ["100%FREE", "g"]
    assert create_command("g", LogicalVolume(name="a", size_percent=7))[-2:] == ["7%FREE", "g"]
    assert MakeVolume("g", LogicalVolume(name="a"), ()).describe() == "make the logical volume g/a"


SAME = Superblock("1:2", "data", "raid1", 2)


@pytest.mark.parametrize(
    ("block", "difference"),
    [
        (SAME, None),
        (None, "is no part of the RAID data, as others of the devices are"),
        (SAME._replace(name="old"), "is a part of another RAID, old"),
        (SAME._replace(uuid="3:4"), "is a part of another RAID of the name data"),
        (SAME._replace(level="raid5"), "is a part of a RAID of level raid5"),
        (SAME._replace(devices=3), "is a part of a RAID of 3 devices"),
    ],
)
def test_an_array_stays_if_it_is_what_is_wanted(block: Superblock | None, difference: str | None) -> None:
    for level in ("raid1", "1", "mirror"):
        raid = Raid(name="data", level=level, devices=("/dev/a", "/dev/b", "/dev/c"), spares=1)
        assert find_difference(raid, block, SAME) == difference


def test_what_mdadm_says_of_a_device_is_read() -> None:
    said = "MD_LEVEL=raid1\nMD_DEVICES=2\nMD_NAME=localhost:data\nMD_UUID=1:2\nMD_EVENTS=17\n"
    assert find_superblock(said) == SAME
    assert find_superblock("mdadm: No md superblock detected on /dev/a.\n") is None


def test_an_array_that_a_first_boot_has_only_begun_is_no_array(tree: Path) -> None:
    """The power went when one of its devices had been written to: the next attempt makes it anew, also with reuse."""
    raid = Raid(name="kept", level="raid1", devices=("/dev/a", "/dev/b"), reuse=True)
    words = make_command(raid, ["/dev/a", "/dev/b"], "0123456789abcdef")
    uuid = words[words.index("--uuid") + 1]
    assert uuid == make_uuid(raid, "0123456789abcdef")
    assert uuid != make_uuid(raid.model_copy(update={"name": "other"}), "0123456789abcdef")
    assert "--uuid" not in make_command(raid, ["/dev/a"])
    own = raid.model_copy(update={"options": ("--uuid=0:0:0:0",)})
    assert "--uuid" not in make_command(own, ["/dev/a", "/dev/b"], "0123456789abcdef")

    class Mdadm(Programs):
        def run_for_status(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, str]:
            del stdin
            return (0, f"MD_UUID={uuid}\nMD_NAME=any:kept\n") if argv[-1] == "/dev/a" else (1, "")

    make = MakeRaid(raid, ())
    with Root(tree) as root:
        machine = Machine(root, Mdadm())
        machine.attempt = "0123456789abcdef"
        assert not make.is_there(["/dev/a", "/dev/b"], machine)
        machine.attempt = "fedcba9876543210"
        with pytest.raises(Refused, match="without reuse the RAID would be made anew"):
            make.is_there(["/dev/a", "/dev/b"], machine)

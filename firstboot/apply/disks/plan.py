"""What is done to block devices, in order. What is on them is looked at only when it is done."""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.apply.action import Action
from firstboot.apply.disks.clevis import PROGRAMS
from firstboot.apply.disks.filesystems import MakeFilesystem, get_maker
from firstboot.apply.disks.luks import KeepKey, MakeLuks
from firstboot.apply.disks.lvm import MakeVolume, MakeVolumeGroup
from firstboot.apply.disks.mounts import MountFilesystem, UnmountFilesystem, list_to_mount, measure_depth
from firstboot.apply.disks.partitions import PartitionDisk
from firstboot.apply.disks.raid import MakeRaid
from firstboot.apply.disks.subvolumes import MakeSubvolumes
from firstboot.apply.programs import Programs, explain_missing
from firstboot.config.clevis import find_binding
from firstboot.config.models import Config
from firstboot.config.text import Path, Problem
from firstboot.config.tpm import find_tpm


def plan_devices(config: Config, programs: Programs) -> Iterator[Action | Problem]:
    """Partitions, then RAID, volume groups and encryption, then filesystems; a program that is missing is a problem."""
    storage = config.storage
    yield from check_program(programs, "wipefs", "disks", storage.disks)
    yield from check_program(programs, "sfdisk", "disks", storage.disks)
    for index, disk in enumerate(storage.disks):
        yield PartitionDisk(disk, ("storage", "disks", index))
    yield from check_program(programs, "mdadm", "raid", storage.raid)
    for index, raid in enumerate(storage.raid):
        yield MakeRaid(raid, ("storage", "raid", index))
    yield from check_program(programs, "cryptsetup", "luks", storage.luks)
    for index, luks in enumerate(storage.luks):
        if find_tpm(luks) is not None and programs.find("systemd-cryptenroll") is None:
            yield _missing("systemd-cryptenroll", ("storage", "luks", index, "clevis"))
        if (binding := find_binding(luks)) is not None:
            for program in (*PROGRAMS, *(f"clevis-encrypt-{pin}" for pin in sorted(binding.pins))):
                if programs.find(program) is None:
                    yield _missing(program, ("storage", "luks", index, "clevis"))
    yield from check_program(programs, "lvm", "lvm", storage.lvm)
    yield from _in_order(config)
    for index, filesystem in enumerate(storage.filesystems):
        at: Path = ("storage", "filesystems", index)
        if filesystem.format in (None, "", "virtiofs"):
            continue
        if filesystem.format != "none" and programs.find(program := get_maker(str(filesystem.format))) is None:
            yield _missing(program, (*at, "format"))
        yield MakeFilesystem(filesystem, at)
        if filesystem.subvolumes:
            if programs.find("btrfs") is None:
                yield _missing("btrfs", (*at, "subvolumes"))
            yield MakeSubvolumes(filesystem, (*at, "subvolumes"))


def _in_order(config: Config) -> Iterator[Action]:
    """Volume groups and encrypted devices, either of which may be on the other: a group whose devices are encrypted
    comes after them, and before what is encrypted on it.
    """
    storage = config.storage
    waiting = [(index, luks) for index, luks in enumerate(storage.luks)]
    for index, group in enumerate(storage.lvm):
        below = {device for device in group.devices if device.startswith("/dev/mapper/")}
        for row in [luks for luks in waiting if f"/dev/mapper/{luks[1].name}" in below]:
            waiting.remove(row)
            yield MakeLuks(row[1], ("storage", "luks", row[0]))
        at: Path = ("storage", "lvm", index)
        yield MakeVolumeGroup(group, at)
        for position, volume in enumerate(group.volumes):
            yield MakeVolume(group.name, volume, (*at, "volumes", position))
    for position, luks in waiting:
        yield MakeLuks(luks, ("storage", "luks", position))


def plan_mounts(config: Config) -> list[MountFilesystem]:
    """Mount, the shallowest first."""
    return [MountFilesystem(*row) for row in sorted(list_to_mount(config), key=lambda row: measure_depth(row[0]))]


def plan_unmounts(config: Config) -> list[UnmountFilesystem]:
    """Unmount, the deepest first."""
    return [UnmountFilesystem(mount.filesystem, mount.at) for mount in reversed(plan_mounts(config))]


def plan_keys(config: Config) -> list[KeepKey]:
    """Keys of encrypted devices, to be written once the root can be."""
    return [KeepKey(luks, ("storage", "luks", index)) for index, luks in enumerate(config.storage.luks)]


def check_program(programs: Programs, program: str, section: str, wanted: tuple[object, ...]) -> Iterator[Problem]:
    """A problem if a program is missing that a section needs."""
    if wanted and programs.find(program) is None:
        yield _missing(program, ("storage", section, 0))


def _missing(program: str, at: Path) -> Problem:
    feature = "lvm" if program == "lvm" else "clevis" if program.startswith(PROGRAMS) else "disks"
    hint = f"the image's definition can add the package that has it; the feature '{feature}' has all of them"
    return explain_missing(program, at, hint)

"""Volume groups and logical volumes: made, or kept if they are there (lvm(8))."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from firstboot.apply.action import Machine, Refused
from firstboot.apply.disks.devices import require_unused, settle, wait_for
from firstboot.apply.disks.filesystems import describe, probe
from firstboot.apply.programs import ProgramError, Programs
from firstboot.config.devices import LogicalVolume, VolumeGroup
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path

# Links to volumes are made by LVM itself where udev has no rules for it, as in the initrd. Nothing is left in /etc,
# which is the machine's own; and all devices are looked at, not those that a machine has been told of.
_SETTINGS = (
    'devices{use_devicesfile=0 hints="none"} backup{backup=0 archive=0} '
    "activation{verify_udev_operations=1 monitoring=0}"
)
_MIB = 1 << 20
MEMBER = "LVM2_member"


class PhysicalVolume(NamedTuple):
    """A device that LVM has marked. ``group`` is empty if it belongs to none.

    Attributes:
        number: of the device, ``MAJOR:MINOR``; empty if the device is missing.
        device: as LVM calls it.
    """

    number: str
    device: str
    group: str


class MakeVolumeGroup(NamedTuple):
    """Make a group, or keep and activate the one that is there."""

    group: VolumeGroup
    at: Path

    def describe(self) -> str:
        return f"make the volume group {self.group.name}"

    def perform(self, machine: Machine) -> None:
        group, programs = self.group, machine.programs
        nodes = [wait_for(device) for device in dict.fromkeys(group.devices)]
        members = read_members(programs)
        if is_kept(group, [read_device_number(node) for node in nodes], members):
            run_lvm(programs, "vgchange", "--activate", "y", group.name)
            settle(programs)
            return
        for name in list_replaced(group, [read_device_number(node) for node in nodes], members):
            run_lvm(programs, "vgchange", "--activate", "n", name)
            run_lvm(programs, "vgremove", "--force", "--force", "--yes", name)
        settle(programs)
        self.require_empty(nodes, members, programs)
        require_unused(nodes, f"it cannot become part of {group.name}")
        for node in nodes:
            programs.run(["wipefs", "--quiet", "--all", node])
        run_lvm(programs, "vgcreate", "--yes", group.name, *nodes)

    def require_empty(self, nodes: Sequence[str], members: Sequence[PhysicalVolume], programs: Programs) -> None:
        """Refuse to replace what the config does not say it may. On a device that LVM has marked, and that is part of
        no group, is nothing: a first boot that was cut short leaves one so.

        Raises:
            Refused: something is on one of the devices. ProgramError.
        """
        for node in nodes:
            signature = probe(node, programs)
            is_free = any(member.number == read_device_number(node) and not member.group for member in members)
            if signature.type and not self.group.wipe_group and not (signature.type == MEMBER and is_free):
                raise Refused(f"{node} has {describe(signature)}; wipe_group would replace it")


class MakeVolume(NamedTuple):
    """Make a volume of a group that is there, or keep it."""

    group: str
    volume: LogicalVolume
    at: Path

    def describe(self) -> str:
        return f"make the logical volume {self.group}/{self.volume.name}"

    def perform(self, machine: Machine) -> None:
        volume, programs = self.volume, machine.programs
        device = f"/dev/{self.group}/{volume.name}"
        sizes, extent = read_volumes(self.group, programs)
        size = sizes.get(volume.name)
        if size is not None and volume.wipe_volume:
            require_unused([os.path.realpath(device)], "it cannot be made anew")
            run_lvm(programs, "lvremove", "--yes", f"{self.group}/{volume.name}")
            size = None
        if size is None:
            run_lvm(programs, *create_command(self.group, volume))
        elif not is_size(volume, size, extent):
            raise Refused(f"{device} has {size // _MIB} MiB, not {volume.size_mib}; wipe_volume would make it anew")
        settle(programs)
        wait_for(device)


def is_kept(group: VolumeGroup, numbers: Sequence[str], members: Sequence[PhysicalVolume]) -> bool:
    """Whether the group that the config wants is there, and may stay.

    Args:
        numbers: of the config's devices.
        members: all that LVM has marked.

    Raises:
        Refused: there is one of that name, of other devices.
    """
    if group.wipe_group:
        return False
    there = [member for member in members if member.group == group.name]
    if there and {member.number for member in there} != {*numbers}:
        names = ", ".join(member.device for member in there)
        raise Refused(f"there is a volume group {group.name} already, of other devices: {names}")
    return bool(there)


def list_replaced(group: VolumeGroup, numbers: Sequence[str], members: Sequence[PhysicalVolume]) -> list[str]:
    """The groups that have to go so that this one can be made: those on its devices, and one of its name.

    Raises:
        Refused: one of them may not go, or is also on a device that the config does not name.
    """
    names = {
        member.group for member in members if member.group and (member.number in numbers or member.group == group.name)
    }
    for member in members:
        if member.group not in names:
            continue
        if not group.wipe_group:
            raise Refused(
                f"{member.device} is a device of the volume group {member.group}; wipe_group would replace it"
            )
        if member.number not in numbers:
            raise Refused(
                f"the volume group {member.group} is also on {member.device}, which this config does not name"
            )
    return sorted(names)


def is_size(volume: LogicalVolume, size: int, extent: int) -> bool:
    """Whether a volume of so many bytes is what the config wants; ``extent`` is what its group divides itself into.

    A share of what was free can be told only when it is made.
    """
    return volume.size_mib is None or -(-volume.size_mib * _MIB // extent) * extent == size


def create_command(group: str, volume: LogicalVolume) -> list[str]:
    """LVM's command that makes a volume; what lies there of earlier ones is wiped."""
    words = ["lvcreate", "--yes", "--wipesignatures", "y", "--zero", "y", "--name", volume.name]
    if volume.size_mib is not None:
        words += ["--size", f"{volume.size_mib}m"]
    else:
        words += ["--extents", f"{volume.size_percent or 100}%FREE"]
    return [*words, group]


def read_members(programs: Programs) -> list[PhysicalVolume]:
    """All devices that LVM has marked.

    Raises:
        ProgramError
    """
    rows = _report(programs, "pv", "pvs", "--options", "pv_name,vg_name")
    return [PhysicalVolume(read_device_number(row["pv_name"]), row["pv_name"], row["vg_name"]) for row in rows]


def read_volumes(group: str, programs: Programs) -> tuple[dict[str, int], int]:
    """The sizes of a group's volumes by name, and what it divides itself into, in bytes.

    Raises:
        ProgramError
    """
    units = ("--units", "b", "--nosuffix")
    (about,) = _report(programs, "vg", "vgs", *units, "--options", "vg_extent_size", group)
    rows = _report(programs, "lv", "lvs", *units, "--options", "lv_name,lv_size", group)
    return {row["lv_name"]: int(row["lv_size"]) for row in rows}, int(about["vg_extent_size"])


def run_lvm(programs: Programs, command: str, *arguments: str) -> str:
    """Run one of LVM's commands.

    Raises:
        ProgramError
    """
    return programs.run(["lvm", command, "--config", _SETTINGS, *arguments])


def read_device_number(device: str) -> str:
    """``MAJOR:MINOR`` of a device; empty if there is none."""
    try:
        number = os.stat(device).st_rdev  # noqa: PTH116 - of a node, not of a path to walk
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}"


def _report(programs: Programs, kind: str, command: str, *arguments: str) -> list[dict[str, Any]]:
    output = run_lvm(programs, command, "--reportformat", "json", *arguments)
    try:
        # Warnings come before and after it on the same stream.
        data, _ = json.JSONDecoder().raw_decode(output, output.index("{"))
        rows: list[dict[str, Any]] = data["report"][0][kind]
    except (ValueError, KeyError, IndexError):
        raise ProgramError(f"what lvm {command} says cannot be read", output.splitlines()[-5:]) from None
    return rows

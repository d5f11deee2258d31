"""What would be refused on this machine's block devices, said before the first of them is touched.

What is on a device that the config itself makes, or changes, is not looked at: it will be something else by then.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from firstboot.apply.action import Action, Machine, Refused
from firstboot.apply.contents import get_contents
from firstboot.apply.disks.devices import require_unused, wait_for
from firstboot.apply.disks.filesystems import MakeFilesystem, probe
from firstboot.apply.disks.luks import MakeLuks
from firstboot.apply.disks.lvm import MakeVolumeGroup, is_kept, list_replaced, read_device_number, read_members
from firstboot.apply.disks.partitions import PartitionDisk
from firstboot.apply.disks.raid import MakeRaid
from firstboot.apply.disks.tpm import has_tpm
from firstboot.apply.programs import ProgramError
from firstboot.config.clevis import find_binding
from firstboot.config.devices import Disk
from firstboot.config.models import Config
from firstboot.config.resource import BadResource
from firstboot.config.text import Problem
from firstboot.config.tpm import find_tpm

_PARTLABEL = "/dev/disk/by-partlabel/"
# udev's names for what is on a device; one by-partlabel is of the config, or of nobody here.
_NAMED_BY_CONTENT = tuple(
    f"/dev/disk/by-{kind}" for kind in ("partuuid", "label", "uuid", "id/md-", "id/dm-", "id/lvm-")
)


def look(actions: Iterable[Action], config: Config, machine: Machine) -> Iterator[Problem]:
    """Everything that cannot be done as things are now. Waits for devices as the actions themselves do."""
    for action in actions:
        try:
            _look(action, config, machine)
        except (Refused, ProgramError, BadResource, OSError) as error:
            yield Problem(action.at, f"cannot {action.describe()}: {error}", on_key=True)


def _look(action: Action, config: Config, machine: Machine) -> None:
    match action:
        case PartitionDisk():
            action.decide(machine)
        case MakeRaid(raid=raid):
            nodes = _present(raid.devices, config)
            if raid.reuse and len(nodes) == len({*raid.devices}):
                action.is_there(nodes, machine)
        case MakeLuks(luks=luks):
            binding = find_binding(luks)
            if (find_tpm(luks) is not None or (binding is not None and "tpm2" in binding.pins)) and not has_tpm():
                raise Refused("it is to be opened by the machine's TPM, and the machine has no TPM 2.0")
            if luks.key_file.source:
                get_contents(luks.key_file, machine.fetched)
            action.read_advertisements(machine)
            for device in _present([str(luks.device)], config):
                if action.is_made_anew(device, machine):
                    require_unused([device], "it cannot be encrypted")
        case MakeVolumeGroup(group=group):
            nodes = _present(group.devices, config)
            if len(nodes) == len({*group.devices}):
                members, numbers = read_members(machine.programs), [read_device_number(node) for node in nodes]
                if not is_kept(group, numbers, members):
                    list_replaced(group, numbers, members)
                    action.require_empty(nodes, members, machine.programs)
        case MakeFilesystem(filesystem=filesystem):
            for device in _present([filesystem.device], config):
                signature = probe(device, machine.programs)
                if action.is_made_anew(signature, machine) and signature.type:
                    require_unused([device], "it cannot be wiped")
        case _:
            pass  # it stands on one of those


def _present(devices: Iterable[str], config: Config) -> list[str]:
    """The nodes of the devices that the config does not make.

    Raises:
        Refused: one does not appear in time.
    """
    return [wait_for(device) for device in dict.fromkeys(devices) if not is_made(device, config)]


def is_made(device: str, config: Config) -> bool:
    """Whether a device is something that the config makes, or lies on a disk that it changes."""
    storage = config.storage
    made = {f"/dev/md/{array.name}" for array in storage.raid}
    made |= {f"/dev/mapper/{device.name}" for device in storage.luks}
    made |= {f"/dev/{group.name}/{volume.name}" for group in storage.lvm for volume in group.volumes}
    made |= {f"{_PARTLABEL}{part.label}" for disk in storage.disks for part in disk.partitions if part.label}
    there = os.path.exists(device)  # noqa: PTH110 - a node, not a path to walk
    if device in made or any(_is_on(device, disk) for disk in storage.disks):
        return True
    if not there:
        # Not there yet, by a name that says what is on a device: something that the config makes may be meant.
        makes = storage.disks or storage.raid or storage.luks or storage.lvm or len(storage.filesystems) > 1
        return bool(makes) and device.startswith(_NAMED_BY_CONTENT)
    node = os.path.realpath(device)
    return any(_is_on(node, disk) for disk in storage.disks) or any(node == os.path.realpath(path) for path in made)


def _is_on(device: str, disk: Disk) -> bool:
    """Whether it is a partition of the disk, or the disk itself and that is wiped."""
    for name in (disk.device, os.path.realpath(disk.device)):
        if device == name:
            return bool(disk.wipe_table or disk.partitions)
        if re.fullmatch(r"(p|-part)?\d+", device.removeprefix(name)) and device.startswith(name):
            return True
    return False

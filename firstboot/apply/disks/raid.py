"""Make a software RAID, or keep the one that is there (mdadm(8))."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Sequence

from firstboot.apply.action import Machine, Refused
from firstboot.apply.disks.devices import list_device_users, require_unused, settle, wait_for
from firstboot.apply.disks.filesystems import describe, probe
from firstboot.apply.programs import Programs
from firstboot.config.devices import Raid
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path

_LEVELS = {"0": "raid0", "stripe": "raid0", "mirror": "raid1"} | {
    level: f"raid{level}" for level in ("1", "4", "5", "6")
}
_LEVELS |= {"10": "raid10"}


class Superblock(NamedTuple):
    """What a device says of the array that it is a part of.

    Attributes:
        uuid: of the array.
        name: of the array, without the host's.
        level: ``raid1`` and the like.
        devices: how many it has, spares not counted.
    """

    uuid: str
    name: str
    level: str
    devices: int


class MakeRaid(NamedTuple):
    """Made anew, as Ignition does: what was on the devices is lost. With ``reuse`` the one that is there is kept."""

    raid: Raid
    at: Path

    def describe(self) -> str:
        return f"{'make or assemble' if self.raid.reuse else 'make'} the RAID {self.raid.name}"

    def perform(self, machine: Machine) -> None:
        raid, programs = self.raid, machine.programs
        devices = [wait_for(device) for device in dict.fromkeys(raid.devices)]
        if not raid.reuse or not self._keep(devices, machine):
            programs.run(make_command(raid, devices, machine.attempt))
        settle(programs)
        wait_for(get_node(raid))

    def _keep(self, devices: list[str], machine: Machine) -> bool:
        """Assemble the array that is there.

        Returns:
            Whether there is one.

        Raises:
            Refused: there is something else. ProgramError.
        """
        if not self.is_there(devices, machine):
            return False
        if not _is_running(self.raid, devices):
            require_unused(devices, f"the RAID {self.raid.name} cannot be assembled")
            machine.programs.run(["mdadm", "--assemble", get_node(self.raid), "--run", "--homehost", "any", *devices])
        return True

    def is_there(self, devices: list[str], machine: Machine) -> bool:
        """Whether the devices are the array that the config wants; if not, nothing else is on them either, but what
        this first boot has begun before it was cut short.

        Raises:
            Refused: there is something else. ProgramError.
        """
        programs = machine.programs
        blocks = [read_superblock(device, programs) for device in devices]
        ours = make_uuid(self.raid, machine.attempt)
        if ours and {block.uuid for block in blocks if block} == {ours}:
            return False
        if not any(blocks):
            for device in devices:
                if (signature := probe(device, programs)).type:
                    raise Refused(f"{device} has {describe(signature)}; without reuse the RAID would replace it")
            return False
        for device, block in zip(devices, blocks, strict=True):
            if (difference := find_difference(self.raid, block, next(filter(None, blocks)))) is not None:
                raise Refused(f"{device} {difference}; without reuse the RAID would be made anew")
        return True


def find_difference(raid: Raid, block: Superblock | None, first: Superblock) -> str | None:
    """How what a device says is not what the config wants; ``None`` if it is that. ``first`` is another device's."""
    if block is None:
        return f"is no part of the RAID {first.name}, as others of the devices are"
    if block.name != raid.name:
        return f"is a part of another RAID, {block.name}"
    if block.uuid != first.uuid:
        return f"is a part of another RAID of the name {raid.name}"
    if block.level != _LEVELS.get(str(raid.level), raid.level):
        return f"is a part of a RAID of level {block.level}"
    if block.devices != len({*raid.devices}) - (raid.spares or 0):
        return f"is a part of a RAID of {block.devices} devices"
    return None


def read_superblock(device: str, programs: Programs) -> Superblock | None:
    """What a device says of its array; ``None`` if it is in none.

    Raises:
        ProgramError
    """
    status, output = programs.run_for_status(["mdadm", "--examine", "--export", device])
    return find_superblock(output) if status == 0 else None


def find_superblock(output: str) -> Superblock | None:
    """What ``mdadm --examine --export`` says, if it says anything."""
    said = dict(line.split("=", 1) for line in output.splitlines() if line.startswith("MD_") and "=" in line)
    if "MD_UUID" not in said:
        return None
    # mdadm puts the name of the host before an array's own: HOST:NAME.
    name = said.get("MD_NAME", "").rpartition(":")[2]
    devices = said.get("MD_DEVICES", "")
    return Superblock(said["MD_UUID"], name, said.get("MD_LEVEL", ""), int(devices) if devices.isdigit() else 0)


def _is_running(raid: Raid, devices: Sequence[str]) -> bool:
    users = {user for device in devices for user in list_device_users(device)}
    try:
        return users == {wait_for(get_node(raid), 0).rpartition("/")[2]}
    except Refused:
        return False


def get_node(raid: Raid) -> str:
    """Where the RAID is found."""
    return f"/dev/md/{raid.name}"


def make_uuid(raid: Raid, attempt: str) -> str:
    """The UUID that a first boot gives an array, by which it knows it again if it is cut short; empty for none."""
    if not attempt:
        return ""
    name = raid.name.encode()
    return f"{attempt[:8]}:{attempt[8:16]}:{crc32(name):08x}:{crc32(name, 1):08x}"


def make_command(raid: Raid, devices: list[str], attempt: str = "") -> list[str]:
    """mdadm's command line; ``attempt`` is the first boot that does it."""
    spares = raid.spares or 0
    words = ["mdadm", "--create", get_node(raid), "--force", "--run", "--homehost", "any", "--level", str(raid.level)]
    words += ["--raid-devices", str(len(devices) - spares)]
    if spares:
        words += ["--spare-devices", str(spares)]
    if attempt and not any(option.partition("=")[0] in ("--uuid", "-u") for option in raid.options):
        words += ["--uuid", make_uuid(raid, attempt)]
    return [*words, *raid.options, *devices]

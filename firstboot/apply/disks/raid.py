"""Make a software RAID (mdadm(8))."""

from __future__ import annotations

from typing import NamedTuple

from firstboot.apply.action import Machine
from firstboot.apply.disks.devices import settle, wait_for
from firstboot.config.devices import Raid
from firstboot.config.text import Path


class MakeRaid(NamedTuple):
    """Always made anew, as Ignition does: what was on the devices is lost."""

    raid: Raid
    at: Path

    def describe(self) -> str:
        return f"make the RAID {self.raid.name}"

    def perform(self, machine: Machine) -> None:
        raid = self.raid
        devices = [wait_for(device) for device in dict.fromkeys(raid.devices)]
        machine.programs.run(command(raid, devices))
        settle(machine.programs)
        wait_for(node(raid))


def node(raid: Raid) -> str:
    """Where the RAID is found."""
    return f"/dev/md/{raid.name}"


def command(raid: Raid, devices: list[str]) -> list[str]:
    """mdadm's command line."""
    spares = raid.spares or 0
    words = ["mdadm", "--create", node(raid), "--force", "--run", "--homehost", "any", "--level", str(raid.level)]
    words += ["--raid-devices", str(len(devices) - spares)]
    if spares:
        words += ["--spare-devices", str(spares)]
    return [*words, *raid.options, *devices]

"""Partition a disk as the config says."""

from __future__ import annotations

from firstboot.apply.action import Machine, Refused
from firstboot.apply.disks.devices import get_partition_node, require_unused, tell_kernel, wait_for
from firstboot.apply.disks.gpt import NoTable, Table, make_empty_table, read_table, write_table
from firstboot.apply.disks.layout import Layout, Mismatch, lay_out
from firstboot.apply.programs import ProgramError
from firstboot.config.devices import Disk
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path


class PartitionDisk(NamedTuple):
    """Make a disk's partition table what the config wants."""

    disk: Disk
    at: Path

    def describe(self) -> str:
        return f"partition {self.disk.device}"

    def perform(self, machine: Machine) -> None:
        programs = machine.programs
        device, before, layout = self.decide(machine)
        if self.disk.wipe_table:
            programs.run(["wipefs", "--quiet", "--all", "--force", device])
        elif layout.table == before:
            return
        write_table(device, layout.table, programs)
        tell_kernel(device, before, layout.table, programs)

    def decide(self, machine: Machine) -> tuple[str, Table, Layout]:
        """The disk's node, its table, and what becomes of it.

        Raises:
            Refused: it cannot become that. ProgramError.
        """
        device = wait_for(self.disk.device)
        before = self._table(device, machine)
        try:
            layout = lay_out(before if not self.disk.wipe_table else before._replace(entries=()), self.disk.partitions)
        except Mismatch as mismatch:
            raise Refused(f"{self.disk.device}: {mismatch}") from None
        if self.disk.wipe_table:
            gone = frozenset(entry.number for entry in before.entries)
            require_unused([device, *self._nodes(device, gone)], "its partition table cannot be wiped")
        elif layout.table != before:
            require_unused(self._nodes(device, layout.touched), "the partition cannot be changed")
        return device, before, layout

    def _table(self, device: str, machine: Machine) -> Table:
        """The disk's table; an empty one for a disk that has none, or whose table is to be wiped."""
        try:
            return read_table(device, machine.programs)
        except NoTable as error:
            if error.kind and not self.disk.wipe_table:
                raise Refused(
                    f"{self.disk.device} has a partition table of kind {error.kind}; wipeTable would replace it"
                ) from None
        except ProgramError:
            if not self.disk.wipe_table:
                raise
        return make_empty_table(device, machine.programs)

    @staticmethod
    def _nodes(device: str, numbers: frozenset[int]) -> list[str]:
        return [get_partition_node(device, number) for number in sorted(numbers)]

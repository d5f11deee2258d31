"""A disk's GUID partition table, as a value; read and written with sfdisk(8), which ships with util-linux."""

from __future__ import annotations

import json
import re
import uuid

from firstboot.apply.programs import ProgramError, Programs
from firstboot.config.named_tuple import NamedTuple

LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
ENTRIES = 128
_GRAIN = 1 << 20  # bytes; where partitions begin when nobody says otherwise


class PartitionEntry(NamedTuple):
    """A partition. ``start`` and ``size`` in sectors of the disk."""

    number: int
    start: int
    size: int
    type: str = LINUX_DATA
    guid: str = ""
    label: str = ""
    attributes: str = ""

    @property
    def end(self) -> int:
        """The first sector after it."""
        return self.start + self.size


class Table(NamedTuple):
    """A partition table. ``sector`` in bytes; ``first`` and ``last`` are the sectors that partitions may use."""

    sector: int
    first: int
    last: int
    guid: str = ""
    entries: tuple[PartitionEntry, ...] = ()

    @property
    def per_mib(self) -> int:
        """Sectors in a MiB."""
        return (1 << 20) // self.sector

    def find_entry(self, number: int) -> PartitionEntry | None:
        """The partition of this number."""
        return next((entry for entry in self.entries if entry.number == number), None)

    def remove_entry(self, number: int) -> Table:
        """The table with this partition deleted."""
        return self._replace(entries=tuple(entry for entry in self.entries if entry.number != number))

    def add_entry(self, entry: PartitionEntry) -> Table:
        """The table with one partition more, in the order of numbers."""
        others = self.remove_entry(entry.number).entries
        return self._replace(entries=tuple(sorted((*others, entry), key=lambda entry: entry.number)))

    def choose_number(self) -> int:
        """The lowest number that no partition has."""
        used = {entry.number for entry in self.entries}
        return next(number for number in range(1, ENTRIES + 1) if number not in used)

    def measure_largest_free(self) -> tuple[int, int]:
        """The largest run of free sectors, aligned: its first one, and the first one after it; ``(0, 0)`` if none."""
        best = (0, 0)
        for start, end in self._free():
            grain = max(1, _GRAIN // self.sector)
            aligned = -(-start // grain) * grain
            if end - aligned > best[1] - best[0]:
                best = (aligned, end)
        return best

    def compute_free_end(self, sector: int) -> int:
        """The first sector after ``sector`` that is not free; ``sector`` itself if it is taken."""
        return next((end for start, end in self._free() if start <= sector < end), sector)

    def _free(self) -> list[tuple[int, int]]:
        runs = []
        at = self.first
        for entry in sorted(self.entries, key=lambda entry: entry.start):
            if entry.start > at:
                runs.append((at, entry.start))
            at = max(at, entry.end)
        if at <= self.last:
            runs.append((at, self.last + 1))
        return runs

    def render_script(self) -> str:
        """Input for ``sfdisk``."""
        lines = ["label: gpt", "unit: sectors", f"first-lba: {self.first}", f"last-lba: {self.last}"]
        if self.guid:
            lines.append(f"label-id: {self.guid}")
        lines.append("")
        for entry in self.entries:
            words = [f"start={entry.start}", f"size={entry.size}", f"type={entry.type}", f"uuid={entry.guid}"]
            if entry.label:
                words.append(f'name="{escape_label(entry.label)}"')
            if entry.attributes:
                words.append(f'attrs="{entry.attributes}"')
            lines.append(f"{entry.number} : {', '.join(words)}")
        return "\n".join(lines) + "\n"


class NoTable(Exception):
    """The disk has no GUID partition table; ``kind`` names the one it has, ``""`` if none."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def make_empty_table(device: str, programs: Programs) -> Table:
    """The table of a disk that has none (UEFI 2.10, 5.3.2: 128 entries of 128 bytes, twice, and their headers).

    Raises:
        ProgramError: the disk cannot be asked for its size.
    """
    size = int(programs.run(["blockdev", "--getsize64", device]))
    sector = int(programs.run(["blockdev", "--getss", device]))
    reserved = ENTRIES * 128 // sector + 1
    return Table(sector, reserved + 1, size // sector - reserved - 1)


def read_table(device: str, programs: Programs) -> Table:
    """A disk's partition table.

    Raises:
        NoTable: it has none, or another kind.
        ProgramError: it cannot be read.
    """
    status, output = programs.run_for_status(["sfdisk", "--json", device])
    if status != 0:
        if "does not contain a recognized partition table" in output:
            raise NoTable("")
        raise ProgramError(f"the partition table of {device} cannot be read", output.splitlines()[-5:])
    # Warnings come before it on the same stream.
    data = json.loads(output[output.index("{") :])["partitiontable"]
    if data["label"] != "gpt":
        raise NoTable(str(data["label"]))
    whole = make_empty_table(device, programs)
    entries = tuple(
        PartitionEntry(
            number=int(re.findall(r"\d+", row["node"])[-1]),
            start=row["start"],
            size=row["size"],
            type=row["type"],
            guid=row.get("uuid", ""),
            label=row.get("name", ""),
            attributes=row.get("attrs", ""),
        )
        for row in data.get("partitions", ())
    )
    # A disk that has grown has room after the end that its table knows; sfdisk moves the second copy.
    return whole._replace(guid=data["id"], entries=tuple(sorted(entries, key=lambda entry: entry.number)))


def write_table(device: str, table: Table, programs: Programs) -> None:
    """Write a table; the kernel is not told.

    Raises:
        ProgramError
    """
    command = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--force", "--wipe", "never"]
    command += ["--wipe-partitions", "never", device]
    programs.run(command, table.render_script().encode())


def make_guid() -> str:
    """A random GUID."""
    return str(uuid.uuid4()).upper()


def escape_label(label: str) -> str:
    """A label inside double quotes of an sfdisk script."""
    return re.sub(r"[^A-Za-z0-9 ._+-]", lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), label)

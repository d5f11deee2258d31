"""What a disk's partition table becomes: a pure function of the table and the config.

The rules are Ignition's (its operator notes, "Partition Reuse Semantics"): what exists and does not match is an error
unless the config allows to wipe or to resize it; a start or size of 0 means "as much as there is", a missing one "as
it is".
"""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.apply.disks.gpt import LINUX_DATA, PartitionEntry, Table, make_guid
from firstboot.config.devices import Partition
from firstboot.config.named_tuple import NamedTuple


class Mismatch(Exception):
    """A partition is not as the config wants it, and may not be changed. ``index`` is its place in the config."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class Layout(NamedTuple):
    """The table to write. ``deleted`` and ``changed`` name partitions of the old table that are touched."""

    table: Table
    deleted: frozenset[int]
    changed: frozenset[int]

    @property
    def touched(self) -> frozenset[int]:
        """Numbers of partitions that must not be in use."""
        return self.deleted | self.changed


class PlannedPartition(NamedTuple):
    """A partition of the config whose start and size are known, as far as it says anything about them."""

    place: int
    number: int
    start: int | None
    size: int | None
    partition: Partition

    @property
    def exists(self) -> bool:
        return self.partition.should_exist is not False

    @property
    def wipe(self) -> bool:
        return bool(self.partition.wipe_partition_entry)


def lay_out(table: Table, partitions: tuple[Partition, ...]) -> Layout:
    """The table that the config asks for.

    Raises:
        Mismatch
    """
    wanted = list(_resolved(table, tuple(_matched(table, partitions))))
    result = table
    changed: set[int] = set()
    creating: list[tuple[PlannedPartition, PartitionEntry | None]] = []
    created = {target.number for target in wanted if target.exists and not target.partition.number}
    for target in wanted:
        old = table.find_entry(target.number)
        if not target.exists:
            if old is None:
                continue
            if not target.wipe:
                raise Mismatch(target.place, f"partition {target.number} exists, and may not be deleted")
            # A partition without a number may have been given this one: then it is replaced, not deleted.
            if target.number not in created:
                result = result.remove_entry(target.number)
            continue
        if old is None:
            creating.append((target, None))
            continue
        difference = _difference(old, target)
        if not difference:
            continue
        changed.add(target.number)
        result = result.remove_entry(target.number)
        if target.wipe or target.number in _deleted(wanted):
            creating.append((target, None))
        elif target.partition.resize and set(difference) == {"size"}:
            creating.append((target, old))
        else:
            raise Mismatch(target.place, f"partition {target.number} is there with another {' and '.join(difference)}")
    for target, old in creating:
        result = result.add_entry(_entry(result, target, old))
    deleted = frozenset(entry.number for entry in table.entries if result.find_entry(entry.number) is None)
    return Layout(result, deleted, frozenset(changed))


def _deleted(wanted: list[PlannedPartition]) -> set[int]:
    return {target.number for target in wanted if not target.exists}


def _matched(table: Table, partitions: tuple[Partition, ...]) -> Iterator[Partition]:
    """The partitions, with the numbers of those that are found by their labels.

    Raises:
        Mismatch: several have the label.
    """
    named = {partition.number for partition in partitions}
    for index, partition in enumerate(partitions):
        if not partition.match_label or partition.number or not partition.label:
            yield partition
            continue
        matching = [entry.number for entry in table.entries if entry.label == partition.label]
        if len(matching) > 1:
            numbers = " and ".join(str(number) for number in matching)
            raise Mismatch(index, f"partitions {numbers} have the label '{partition.label}', which is to be matched")
        if matching and matching[0] in named:
            raise Mismatch(
                index, f"partition {matching[0]} has the label '{partition.label}', and is named by its number"
            )
        yield partition.model_copy(update={"number": matching[0]}) if matching else partition


def _resolved(table: Table, partitions: tuple[Partition, ...]) -> Iterator[PlannedPartition]:
    """Numbers, starts and sizes, as if everything the config names were made anew; numbered partitions first."""
    numbered = sorted(enumerate(partitions), key=lambda row: row[1].number == 0)
    scratch = table
    for _, partition in numbered:
        if partition.number:
            scratch = scratch.remove_entry(partition.number)
    for index, partition in numbered:
        number = partition.number or scratch.choose_number()
        old = table.find_entry(partition.number) if partition.number else None
        start = None if partition.start_mib is None else partition.start_mib * table.per_mib
        size = None if partition.size_mib is None else partition.size_mib * table.per_mib
        if old is not None and not partition.wipe_partition_entry:
            start = old.start if start is None else start
            size = old.size if size is None else size
        wanted = PlannedPartition(index, number, start, size, partition)
        if partition.should_exist is not False:
            entry = _entry(scratch, wanted, None)
            scratch = scratch.add_entry(entry)
            wanted = wanted._replace(
                start=None if start is None else entry.start, size=None if size is None else entry.size
            )
        yield wanted


def _difference(old: PartitionEntry, wanted: PlannedPartition) -> list[str]:
    """Names of what is not as it is wanted."""
    partition = wanted.partition
    pairs = {
        "start": wanted.start is not None and wanted.start != old.start,
        "size": wanted.size is not None and wanted.size != old.size,
        "GUID": bool(partition.guid) and str(partition.guid).upper() != old.guid.upper(),
        "type GUID": bool(partition.type_guid) and str(partition.type_guid).upper() != old.type.upper(),
        "label": partition.label is not None and partition.label != old.label,
    }
    return [name for name, differs in pairs.items() if differs]


def _entry(table: Table, wanted: PlannedPartition, old: PartitionEntry | None) -> PartitionEntry:
    """The partition to write; what the config leaves open is as in ``old``, or what is free.

    Raises:
        Mismatch: there is no room for it.
    """
    start = wanted.start or (old.start if old is not None else 0)
    limit = table.last + 1
    if start:
        limit = table.compute_free_end(start)
    else:
        start, limit = table.measure_largest_free()
    size = wanted.size or limit - start
    if size <= 0 or start + size > limit:
        mib = max(0, limit - start) // table.per_mib
        raise Mismatch(wanted.place, f"partition {wanted.number} does not fit: {mib} MiB are free where it would be")
    partition = wanted.partition
    kept = old or PartitionEntry(wanted.number, start, size)
    return PartitionEntry(
        number=wanted.number,
        start=start,
        size=size,
        type=(partition.type_guid or kept.type or LINUX_DATA).upper(),
        guid=(partition.guid or kept.guid or make_guid()).upper(),
        label=kept.label if partition.label is None else partition.label,
        attributes=kept.attributes,
    )

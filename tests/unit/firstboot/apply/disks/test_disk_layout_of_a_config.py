"""What a partition table becomes: Ignition's rules, as a pure function."""

from __future__ import annotations

import pytest

from firstboot.apply.disks.gpt import PartitionEntry, Table, escape_label
from firstboot.apply.disks.layout import Mismatch, lay_out
from firstboot.config.devices import Partition

pytestmark = pytest.mark.unit

MIB = 2048
DATA, OTHER = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
GUID = "05AE8178-224E-4744-862A-4F4B042662D0"
EMPTY = Table(512, 34, 1024 * MIB - 34)


def partition(**fields: object) -> Partition:
    return Partition(**fields)


def entry(number: int, start: int, size: int, label: str = "", guid: str = GUID) -> PartitionEntry:
    return PartitionEntry(number, start * MIB, size * MIB, DATA, guid, label)


OLD = EMPTY._replace(entries=(entry(1, 1, 100, "one"), entry(2, 101, 100, "two")))


def where(table: Table) -> dict[int, tuple[float, float]]:
    return {each.number: (each.start / MIB, each.size / MIB) for each in table.entries}


@pytest.mark.parametrize(
    ("table", "partitions", "expected"),
    [
        pytest.param(EMPTY, [partition(number=1, start_mib=1, size_mib=32)], {1: (1, 32)}, id="said"),
        pytest.param(EMPTY, [partition(number=1, start_mib=0, size_mib=0)], {1: (1, 1023 - 33 / MIB)}, id="all of it"),
        pytest.param(EMPTY, [partition(label="x", size_mib=32)], {1: (1, 32)}, id="the next number"),
        pytest.param(
            EMPTY,
            [partition(label="b", size_mib=32), partition(number=1, size_mib=8)],
            {1: (1, 8), 2: (9, 32)},
            id="numbered ones first",
        ),
        pytest.param(OLD, [partition(label="x", size_mib=10)], {1: (1, 100), 2: (101, 100), 3: (201, 10)}, id="add"),
        pytest.param(OLD, [partition(number=1)], {1: (1, 100), 2: (101, 100)}, id="as it is"),
        pytest.param(
            OLD,
            [partition(number=2, size_mib=300, resize=True)],
            {1: (1, 100), 2: (101, 300)},
            id="grow",
        ),
        pytest.param(
            OLD,
            [partition(number=2, size_mib=0, resize=True)],
            {1: (1, 100), 2: (101, 923 - 33 / MIB)},
            id="grow to the end",
        ),
        pytest.param(
            OLD,
            [partition(number=1, should_exist=False, wipe_partition_entry=True)],
            {2: (101, 100)},
            id="delete",
        ),
        pytest.param(
            OLD,
            [partition(number=1, label="new", size_mib=50, wipe_partition_entry=True)],
            {1: (201, 50), 2: (101, 100)},
            id="made anew where most room is",
        ),
        pytest.param(OLD, [partition(number=9, should_exist=False)], {1: (1, 100), 2: (101, 100)}, id="not there"),
    ],
)
def test_the_table_that_comes_out(
    table: Table, partitions: list[Partition], expected: dict[int, tuple[float, float]]
) -> None:
    assert where(lay_out(table, tuple(partitions)).table) == expected


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (partition(number=1, should_exist=False), "partition 1 exists, and may not be deleted"),
        (partition(number=1, size_mib=50), "another size"),
        (partition(number=1, label="other"), "another label"),
        (partition(number=1, start_mib=2, size_mib=50, resize=True), "another start and size"),
        (partition(number=1, type_guid=OTHER), "another type GUID"),
        (partition(number=1, guid=OTHER), "another GUID"),
        (partition(number=3, size_mib=2000), "does not fit: 822 MiB are free"),
        (partition(number=1, size_mib=150, resize=True), "does not fit"),
    ],
)
def test_what_is_there_is_not_changed_without_leave(wanted: Partition, complaint: str) -> None:
    with pytest.raises(Mismatch, match=complaint):
        lay_out(OLD, (wanted,))


def test_a_partition_is_found_by_its_label_if_that_is_wanted() -> None:
    again = partition(label="two", match_label=True)
    assert lay_out(OLD, (again,)).table == OLD
    assert len(lay_out(OLD, (partition(label="two", size_mib=1),)).table.entries) == 3  # as Ignition
    grown = lay_out(OLD, (partition(label="two", match_label=True, size_mib=300, resize=True),))
    assert where(grown.table) == {1: (1, 100), 2: (101, 300)}
    new = lay_out(OLD, (partition(label="three", match_label=True, size_mib=10),))
    assert where(new.table) == {1: (1, 100), 2: (101, 100), 3: (201, 10)}


def test_a_label_that_does_not_name_one_partition_is_refused() -> None:
    wanted = partition(label="one", match_label=True)
    twice = OLD.add_entry(entry(3, 300, 10, "one"))
    with pytest.raises(Mismatch, match="partitions 1 and 3 have the label 'one'"):
        lay_out(twice, (wanted,))
    with pytest.raises(Mismatch, match="partition 1 has the label 'one', and is named by its number"):
        lay_out(OLD, (wanted, partition(number=1)))


def test_growing_keeps_what_a_partition_is() -> None:
    layout = lay_out(OLD, (partition(number=2, size_mib=300, resize=True),))
    assert layout.table.find_entry(2) == OLD.entries[1]._replace(size=300 * MIB)
    assert (layout.deleted, layout.changed) == (frozenset(), frozenset({2}))


def test_case_does_not_matter_in_guids() -> None:
    same = partition(number=1, guid=GUID.lower(), type_guid=DATA.lower())
    assert lay_out(OLD, (same,)).table == OLD


def test_a_label_survives_sfdisks_script() -> None:
    assert escape_label('a "b" \\ ü') == "a \\x22b\\x22 \\x5c \\xc3\\xbc"
    assert 'name="a\\x22"' in EMPTY.add_entry(entry(1, 1, 1, 'a"')).render_script()

"""Damage to a machine's disk is done where it was meant to be, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import ToolError, VmError
from builder.core.image import read_image
from builder.core.tools import Tools
from vm.disks.prepare import make_disk
from vm.disks.tamper import find_partition, invert_bytes, list_partitions
from vm.spec import Disk

pytestmark = pytest.mark.image


def test_bytes_of_a_partition_are_inverted_in_the_overlay_alone(tmp_path: Path, demo: Path, tools: Tools) -> None:
    path, form = read_image(demo).choose_disk()
    before = path.stat().st_mtime_ns
    disk = Disk(tmp_path / "disk0.qcow2", base=path, base_format=form)
    make_disk(disk, tools)
    found = list_partitions(disk, tools)
    root = find_partition(found, "root")
    assert [partition.type for partition in found[:3]] == ["esp", "root", "root-verity"]

    invert_bytes(disk, tools, root, 70_001, 1000)

    with pytest.raises(ToolError) as caught:
        tools.run("qemu-img", "compare", "-f", disk.format, "-F", form, disk.path, path)
    assert f"mismatch at offset {(root.start + 70_001) // 512 * 512}!" in str(caught.value)
    invert_bytes(disk, tools, root, 70_001, 1000)
    assert "identical" in tools.run("qemu-img", "compare", "-f", disk.format, "-F", form, disk.path, path)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 0), (1 << 40, 1)])
def test_what_is_not_within_the_partition_is_refused(
    tmp_path: Path, demo: Path, tools: Tools, offset: int, length: int
) -> None:
    path, form = read_image(demo).choose_disk()
    found = list_partitions(Disk(path, format=form), tools)
    with pytest.raises(VmError, match="not within"):
        invert_bytes(Disk(path, format=form), tools, find_partition(found, "root"), offset, length)
    with pytest.raises(VmError, match="0 partitions are named 'nothing'"):
        find_partition(found, "nothing")

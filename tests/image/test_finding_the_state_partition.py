"""Which partition is this machine's state where several disks have one of that name: what the initrd runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

SCRIPT = Path(__file__).parents[2] / "overlays/base/usr/lib/build-os/find-state"
IMAGE = ["esp", "demo_1.0.0", "demo_1.0.0", "_empty", "state"]


class Sysfs:
    """Block devices as sysfs shows them."""

    def __init__(self, directory: Path) -> None:
        self.sys, self.run = directory / "sys", directory / "run"
        self.blocks = self.sys / "class/block"
        self.blocks.mkdir(parents=True)

    def disk(self, name: str, *partitions: str) -> None:
        whole = self.sys / "devices" / f"pci-{name}" / "block" / name
        whole.mkdir(parents=True)
        (self.blocks / name).symlink_to(os.path.relpath(whole, self.blocks))
        for number, label in enumerate(partitions, start=1):
            part = whole / f"{name}{number}"
            part.mkdir()
            (part / "partition").write_text(f"{number}\n")
            named = f"PARTNAME={label}\n" if label else ""
            (part / "uevent").write_text(f"MAJOR=254\nDEVNAME={part.name}\nDEVTYPE=partition\n{named}")
            (self.blocks / part.name).symlink_to(os.path.relpath(part, self.blocks))

    def mapped(self, number: int, name: str, *slaves: str) -> None:
        device = self.sys / "devices/virtual/block" / f"dm-{number}"
        (device / "slaves").mkdir(parents=True)
        (device / "dm").mkdir()
        (device / "dm/name").write_text(f"{name}\n")
        for slave in slaves:
            (device / "slaves" / slave).symlink_to((self.blocks / slave).resolve())
        (self.blocks / device.name).symlink_to(os.path.relpath(device, self.blocks))

    def find(self) -> tuple[int, str]:
        """The script's status, and what it says or the partition that it has found."""
        shell = shutil.which("dash") or "/bin/sh"
        done = subprocess.run(
            [shell, SCRIPT, self.sys, self.run], capture_output=True, text=True, check=False, cwd=self.sys
        )
        return done.returncode, done.stderr or str((self.run / "build-os/state").readlink())


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


def test_it_is_on_the_disk_of_the_root(sysfs: Sysfs) -> None:
    sysfs.disk("vda", *IMAGE)
    sysfs.mapped(0, "secret", "vda4")
    sysfs.mapped(1, "root", "vda2", "vda3")
    assert sysfs.find() == (0, "/dev/vda5")
    assert sysfs.find() == (0, "/dev/vda5")


def test_a_partition_that_was_just_made_has_no_name_yet(sysfs: Sysfs) -> None:
    sysfs.disk("vda", *IMAGE[:4], "")
    sysfs.disk("vdb", "", "state")
    sysfs.mapped(0, "root", "vda2", "vda3")
    assert sysfs.find() == (0, "/dev/vda5")


def test_others_may_have_no_name_either(sysfs: Sysfs) -> None:
    sysfs.disk("vda", "", *IMAGE, "")
    sysfs.mapped(0, "root", "vda3", "vda4")
    assert sysfs.find() == (0, "/dev/vda6")


def test_a_partition_of_that_name_on_another_disk_is_not_taken(sysfs: Sysfs) -> None:
    sysfs.disk("sda", "state", "data with spaces")
    sysfs.disk("vda", *IMAGE)
    sysfs.disk("vdb", "state")
    sysfs.mapped(0, "root", "vda2", "vda3")
    assert sysfs.find() == (0, "/dev/vda5")


def test_a_copy_of_the_disk_stops_the_machine_and_both_are_named(sysfs: Sysfs) -> None:
    sysfs.disk("vda", *IMAGE)
    sysfs.disk("nvme0n1", *IMAGE)
    sysfs.mapped(0, "root", "vda2", "vda3")
    status, said = sysfs.find()
    assert status == 1
    assert said == "build-os: the image demo_1.0.0 is on two disks, vda and nvme0n1: detach one of them\n"
    assert not (sysfs.run / "build-os/state").is_symlink()


def test_data_and_hashes_of_two_copies_are_no_root(sysfs: Sysfs) -> None:
    sysfs.disk("vda", *IMAGE)
    sysfs.disk("vdb", *IMAGE)
    sysfs.mapped(0, "root", "vda2", "vdb3")
    assert sysfs.find()[0] == 1


def test_a_disk_of_another_version_is_no_copy(sysfs: Sysfs) -> None:
    sysfs.disk("vda", *IMAGE)
    sysfs.disk("vdb", *[name.replace("1.0.0", "0.9.0") for name in IMAGE])
    sysfs.mapped(0, "root", "vda2", "vda3")
    assert sysfs.find() == (0, "/dev/vda5")


@pytest.mark.parametrize(
    ("partitions", "mapped", "says"),
    [
        (IMAGE[:4], "root", "build-os: vda, the disk of the root, has no partition for the state\n"),
        (
            [*IMAGE[:4], "", ""],
            "root",
            "build-os: vda, the disk of the root, has several partitions without a name, and none for the state\n",
        ),
        (IMAGE, "usr", "build-os: there is no verified root\n"),
    ],
)
def test_what_is_missing_is_named(sysfs: Sysfs, partitions: list[str], mapped: str, says: str) -> None:
    sysfs.disk("vda", *partitions)
    sysfs.mapped(0, mapped, "vda2", "vda3")
    assert sysfs.find() == (1, says)

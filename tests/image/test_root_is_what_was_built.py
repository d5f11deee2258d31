"""Whether the root is the verified one, asked in the initrd before anything of it is used: the script that stops."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

SCRIPT = Path(__file__).parents[2] / "overlays/base/usr/lib/build-os/verified-root"
HASH = "d6899d38d05a5119928bf49062087c5e15e158af361059bade0fa42565f8a09c"
LINE = f"roothash={HASH} systemd.verity=yes root=/dev/mapper/root ro *"
MOUNTED = "24 1 253:0 / /sysroot ro,relatime shared:2 - erofs /dev/mapper/root ro"
OTHERS = ["1 1 0:2 / / rw - rootfs rootfs rw", "25 1 0:21 / /run rw,nosuid - tmpfs tmpfs rw"]
TABLE = f"0 308312 verity 1 253:2 253:3 4096 4096 38539 1 sha256 {HASH} 6225108c 1 panic_on_corruption"


class Initrd:
    """What the script asks, as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.line, self.mounts, self.table, self.name = LINE, [*OTHERS, MOUNTED], TABLE, "root"

    def judge(self) -> tuple[int, str]:
        """The script's status and what it says."""
        line, mounts, sys = (self.directory / name for name in ("cmdline", "mountinfo", "sys"))
        line.write_text(f"{self.line}\n")
        mounts.write_text("".join(f"{each}\n" for each in self.mounts))
        device = sys / "dev/block/253:0/dm"
        device.mkdir(parents=True, exist_ok=True)
        (device / "name").write_text(f"{self.name}\n")
        (sys / "dev/block/253:1").mkdir(exist_ok=True)
        dmsetup = self.directory / "dmsetup"
        dmsetup.write_text(f"#!/bin/sh\n[ \"$*\" = 'table root' ] && echo '{self.table}'\n")
        dmsetup.chmod(0o755)
        shell = shutil.which("dash") or "/bin/sh"
        environment = {"PATH": f"{self.directory}:/usr/bin:/bin"}
        command = [shell, str(SCRIPT), str(line), str(mounts), str(sys)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=sys)
        return done.returncode, done.stderr.removeprefix("build-os: the root is not as it was built: ").strip()


@pytest.fixture
def initrd(tmp_path: Path) -> Initrd:
    return Initrd(tmp_path)


def test_a_root_that_is_as_it_was_built_is_started(initrd: Initrd) -> None:
    assert initrd.judge() == (0, "")


def test_a_machine_that_starts_again_at_a_changed_block_is_as_good_as_one_that_panics(initrd: Initrd) -> None:
    initrd.table = TABLE.replace("panic_on", "restart_on")
    assert initrd.judge() == (0, "")


def test_a_kernel_that_was_told_no_root_hash_stops_the_machine(initrd: Initrd) -> None:
    initrd.line = "root=/dev/vda2 ro quiet"
    assert initrd.judge() == (1, "the kernel was told no root hash")


def test_another_root_hash_than_the_kernels_stops_the_machine(initrd: Initrd) -> None:
    initrd.table = TABLE.replace(HASH, "ff" * 32)
    assert initrd.judge() == (1, f"its root hash is '{'ff' * 32}', and the kernel was told {HASH}")


def test_a_root_that_is_not_on_the_verified_device_stops_the_machine(initrd: Initrd) -> None:
    initrd.mounts[-1] = MOUNTED.replace("253:0", "253:1")
    assert initrd.judge() == (1, "the device 253:1 is not the verified one")
    initrd.mounts[-1], initrd.name = MOUNTED, "other"
    assert initrd.judge() == (1, "the device 253:0 is not the verified one")


def test_a_file_system_that_was_mounted_over_the_root_stops_the_machine(initrd: Initrd) -> None:
    initrd.mounts.append("30 24 0:40 / /sysroot ro - tmpfs tmpfs ro")
    assert initrd.judge() == (1, "the device 0:40 is not the verified one")


def test_a_root_that_is_not_mounted_or_can_be_written_stops_the_machine(initrd: Initrd) -> None:
    initrd.mounts[-1] = MOUNTED.replace("ro,", "rw,")
    assert initrd.judge() == (1, "it can be written")
    initrd.mounts.pop()
    assert initrd.judge() == (1, "nothing is mounted")


def test_a_device_that_verifies_nothing_stops_the_machine(initrd: Initrd) -> None:
    initrd.table = "0 308312 linear 253:2 0"
    assert initrd.judge() == (1, "the device is of the kind 'linear'")


def test_a_device_on_which_a_changed_block_is_only_an_error_stops_the_machine(initrd: Initrd) -> None:
    initrd.table = TABLE.partition(" 1 panic")[0]
    assert initrd.judge() == (1, "a changed block would not stop it")
    initrd.table = TABLE.replace("panic_on_corruption", "ignore_corruption")
    assert initrd.judge() == (1, "a changed block would not stop it")

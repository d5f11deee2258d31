"""What the root says of its state partition: the script of state-health.service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

SCRIPT = Path(__file__).parents[2] / "overlays/base/usr/lib/build-os/state-health"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """``/run`` of a machine that is well."""
    (tmp_path / "build-os").mkdir()
    (tmp_path / "state/lost+found").mkdir(parents=True)
    (tmp_path / "build-os/state").symlink_to("/dev/vda5")
    (tmp_path / "build-os/state-errors").write_text("0\n")
    (tmp_path / "build-os/state-check").write_text("state: clean, 12/64 files\n")
    return tmp_path


def health(run: Path) -> tuple[int, str]:
    shell = shutil.which("dash") or "/bin/sh"
    done = subprocess.run([shell, SCRIPT, run], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_partition_in_order_is_nothing_to_talk_about(run: Path) -> None:
    assert health(run) == (0, "")


@pytest.mark.parametrize("count", ["1\n", "", "23\n"])
def test_an_error_that_the_kernel_has_counted_is_told(run: Path, count: str) -> None:
    (run / "build-os/state-errors").write_text(count)
    status, said = health(run)
    assert status == 1
    assert "the file system of the state partition (/dev/vda5) is damaged" in said


def test_a_count_that_cannot_be_read_is_no_zero(run: Path) -> None:
    (run / "build-os/state-errors").unlink()
    assert health(run)[0] == 1


def test_what_was_repaired_is_told_line_by_line(run: Path) -> None:
    (run / "build-os/state-repaired").touch()
    (run / "build-os/state-check").write_text("state: Entry 'key' in /etc has deleted inode 7. CLEARED.\nback\\slash\n")
    status, said = health(run)
    assert status == 1
    assert "has been repaired in this boot" in said
    assert "<2>    state: Entry 'key' in /etc has deleted inode 7. CLEARED.\n<2>    back\\slash\n" in said


def test_what_lost_its_name_is_told_until_it_is_gone(run: Path) -> None:
    for name in ("#12", "#13"):
        (run / "state/lost+found" / name).touch()
    status, said = health(run)
    assert status == 1
    assert "2 files or directories lost their names" in said
    for name in ("#12", "#13"):
        (run / "state/lost+found" / name).unlink()
    assert health(run) == (0, "")

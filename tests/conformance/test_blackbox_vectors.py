"""The provisioner driven through the original's command line on real (loop) disks, by the reference runner."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.conformance

Row = dict[str, Any]
SHARED = Path(__file__).parents[3] / "shared" / "conformance"
PROJECT = Path(__file__).parents[2]
PROGRAMS = (
    *("losetup", "partx", "blkid", "wipefs", "sgdisk", "sfdisk", "mke2fs", "mkfs.fat", "mkfs.btrfs", "mkfs.xfs"),
    *("mkswap", "mdadm", "cryptsetup", "systemctl"),
)

# Rows that spend their time waiting: for a device that never comes, for servers that answer after 11 s.
PATIENT = re.compile(r"cmdline\.device\.notfound|timeouts\.(http|file\.create\.http\.timesout) ")


def name_of(row: Row) -> str:
    return f"{row['kind']}/{row['name']}"


def some_of_each(rows: list[Row]) -> list[Row]:
    """The first row of each subject, which is the first word of a row's name, that passes and that fails."""
    chosen: dict[tuple[str, str], Row] = {}
    for row in rows:
        if not PATIENT.search(f"{row['name']} "):
            chosen.setdefault((row["kind"], row["name"].partition(".")[0]), row)
    return list(chosen.values())


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """All rows; skips where they or something they need is not there."""
    vectors = SHARED / "vectors" / "blackbox.json"
    if not vectors.exists():
        pytest.skip(f"{vectors} is not there")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if os.geteuid() != 0 or subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode:
        pytest.skip("needs root and loop devices")
    found: list[Row] = json.loads(vectors.read_text())["tests"]
    return found


@pytest.fixture
def run_rows(tmp_path: Path, say_score: Callable[[str], None]) -> Callable[[list[Row]], None]:
    """Run rows by the reference runner; fail with those that differ."""

    def run(wanted: list[Row]) -> None:
        stubs = tmp_path / "stubs"
        stubs.mkdir()
        for name in ("useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel"):
            (stubs / name).symlink_to(Path(__file__).with_name("shadow_stub.py"))
        results = tmp_path / "results.json"
        runner = [
            sys.executable,
            str(SHARED / "run_vectors.py"),
            f"--provisioner={sys.executable} -m firstboot",
            f"--filter=^({'|'.join(re.escape(name_of(row)) for row in wanted)})$",
            f"--out={results}",
            "--skip-unfeasible",
        ]
        environment = {**os.environ, "PATH": f"{stubs}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(runner, env=environment, capture_output=True, text=True, check=False)
        if not results.exists():
            pytest.skip(f"the runner cannot run here: {done.stderr.strip().splitlines()[-1:]}")
        outcome = json.loads(results.read_text())
        failed = [f"{name_of(each)}: {each['detail']}" for each in outcome if each["result"] != "PASS"]
        line = f"blackbox.json: {len(outcome) - len(failed)} of {len(wanted)} rows pass"
        if left := sorted({name_of(row) for row in wanted} - {name_of(each) for each in outcome}):
            # What they need and a container has not: device mapper, a TPM, vfat in the kernel.
            line += f", {len(left)} cannot be run on this machine ({', '.join(left)})"
        say_score(line)
        assert not failed, "\n".join(failed)

    return run


def test_some_rows_of_each_subject(rows: list[Row], run_rows: Callable[[list[Row]], None]) -> None:
    run_rows(some_of_each(rows))


@pytest.mark.slow
def test_all_rows(rows: list[Row], run_rows: Callable[[list[Row]], None]) -> None:
    run_rows(rows)

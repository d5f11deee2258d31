"""The provisioner driven through the original's command line on real (loop) disks, by the reference runner."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.archive import Source
from tests.support.recorded import OUTSIDE, PROJECT, require_recorded

pytestmark = pytest.mark.conformance

Row = dict[str, Any]
# What the runner and the provisioner take, from a tools tree: nothing is installed on this machine.
PACKAGES = (
    *("base-files", "btrfs-progs", "coreutils", "cryptsetup-bin", "dash", "dosfstools", "e2fsprogs", "fdisk", "gdisk"),
    *("libc-bin", "mdadm", "mount", "python3", "python3-yaml", "systemd", "util-linux", "xfsprogs"),
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
def rows(pytestconfig: pytest.Config) -> list[Row]:
    """All rows; skips where they are not, and where no disk can be made."""
    path = require_recorded("blackbox.json", pytestconfig)
    losetup = subprocess.run(["losetup", "-f"], capture_output=True, check=False) if os.geteuid() == 0 else None
    if losetup is None or losetup.returncode:
        pytest.skip("needs root and loop devices")
    found: list[Row] = json.loads(path.read_text())["tests"]
    return found


@pytest.fixture(scope="module")
def programs(store: Store) -> Tools:
    """The programs that the rows need."""
    return Source.open(store, QuietConsole()).tools(PACKAGES)


@pytest.fixture
def run_rows(programs: Tools, tmp_path: Path, say_score: Callable[[str], None]) -> Callable[[list[Row]], None]:
    """Run rows by the reference runner; fail with those that differ."""

    def run(wanted: list[Row]) -> None:
        stubs = tmp_path / "stubs"
        stubs.mkdir()
        for name in ("useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel"):
            (stubs / name).symlink_to(Path(__file__).with_name("shadow_stub.py"))
        results = tmp_path / "results.json"
        runner = programs.make_argv(
            *("python3", OUTSIDE / "run_vectors.py", "--provisioner=python3 -m firstboot", f"--out={results}"),
            *(f"--filter=^({'|'.join(re.escape(name_of(row)) for row in wanted)})$", "--skip-unfeasible"),
        )
        environment = programs.make_environment({"PATH": f"{stubs}:/usr/sbin:/usr/bin", "PYTHONPATH": str(PROJECT)})
        done = subprocess.run(runner, env=environment, capture_output=True, text=True, check=False)
        assert results.exists(), f"the runner left no results:\n{done.stdout}{done.stderr}"
        outcome = json.loads(results.read_text())
        failed = [f"{name_of(each)}: {each['detail']}" for each in outcome if each["result"] != "PASS"]
        line = f"blackbox.json: {len(outcome) - len(failed)} of {len(wanted)} rows pass"
        if left := sorted({name_of(row) for row in wanted} - {name_of(each) for each in outcome}):
            # What they need and a container has not: device mapper, a TPM, vfat in the kernel.
            line += f", {len(left)} cannot be run on this machine ({', '.join(left)})"
        say_score(line)
        assert not failed, "\n".join(failed)
        assert outcome, "no row was run"

    return run


def test_some_rows_of_each_subject(rows: list[Row], run_rows: Callable[[list[Row]], None]) -> None:
    run_rows(some_of_each(rows))


@pytest.mark.slow
def test_all_rows(rows: list[Row], run_rows: Callable[[list[Row]], None]) -> None:
    run_rows(rows)

"""What commands cost that have nothing to do: counted, and not measured by a clock that others move."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent
# Millions of instructions in user space, of 'build-os check' of the demo: 1,410 on 2026-11-28, 1,955 before.
CHECK_BUDGET = 1_550
# Runs a command and prints what is imported then; on standard error, because the command has the other.
PROGRAM = """
import sys
from builder.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print("MODULES", *sys.modules, file=sys.stderr)
"""
# Each brings much along, and has nothing to do with what a definition says.
HEAVY = {
    *("requests", "urllib3", "ssl", "asyncio", "concurrent.futures", "logging", "multiprocessing", "tuf", "solv"),
    *("pysequoia", "cryptography", "packaging", "elftools", "isal"),
    *("builder.core.pigz", "builder.debian.database", "builder.debian.unpack", "builder.outputs.image"),
    *("builder.debian.release", "builder.outputs.signing", "builder.oci.registry.client"),
}


def list_modules(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("MODULES "))
    return set(line.split()[1:])


def test_checking_planning_and_having_nothing_to_build_import_nothing_that_they_do_not_use(demo: Path) -> None:
    for command in (("check",), ("plan", "-o", str(demo.parent)), ("build", "-o", str(demo.parent))):
        modules = list_modules(command[0], "configs/demo.yaml", *command[1:])
        assert "pydantic" in modules
        assert sorted(HEAVY & modules) == [], command[0]


def test_a_check_stays_within_its_instructions() -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("valgrind counts instructions, and is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "builder", "check", "configs/demo.yaml"]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)  # bytecode is there now
    counting = [valgrind, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run(
        [*counting, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    count = re.search(r"I +refs: +([\d,]+)", done.stderr)
    assert count is not None
    assert int(count[1].replace(",", "")) < CHECK_BUDGET * 1_000_000

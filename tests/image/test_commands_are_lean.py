"""What commands cost that have nothing to do: counted, and not measured by a clock that others move."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

# Of the same command again, while nothing has changed: 266 on 2026-11-29.
AGAIN_BUDGET = 300
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


def make_environment() -> dict[str, str]:
    """One that no command has had before: nothing that it says is remembered."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"BUILD_OS_UNHEARD_OF": str(uuid.uuid4())}


def list_modules(environment: dict[str, str], *arguments: str) -> set[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("MODULES "))
    return set(line.split()[1:])


def test_checking_planning_and_having_nothing_to_build_import_nothing_that_they_do_not_use(demo: Path) -> None:
    for command in (("check",), ("plan", "-o", str(demo.parent)), ("build", "-o", str(demo.parent))):
        modules = list_modules(make_environment(), command[0], "configs/demo.yaml", *command[1:])
        assert "pydantic" in modules
        assert sorted(HEAVY & modules) == [], command[0]


def test_the_same_again_reads_no_definition(demo: Path) -> None:
    for command in (("check",), ("plan", "-o", str(demo.parent)), ("build", "-o", str(demo.parent))):
        environment = make_environment()
        for _ in range(3):  # bytecode that the first has written is young for the second
            modules = list_modules(environment, command[0], "configs/demo.yaml", *command[1:])
        assert sorted({"pydantic", "yaml", "jinja2", "builder.definition.load"} & modules) == [], command[0]


def test_a_build_that_signs_nothing_brings_no_cryptography() -> None:
    brought = ("builder.build.system", "builder.outputs.image", "builder.outputs.publish", "builder.outputs.sbom")
    program = f"import sys, {', '.join(brought)}\nprint(*sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert sorted({"cryptography", "tuf", "requests"} & set(done.stdout.split())) == []


def test_a_check_stays_within_its_instructions() -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("valgrind counts instructions, and is not installed")
    command = [sys.executable, "-m", "builder", "check", "configs/demo.yaml"]
    run = partial(subprocess.run, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    run(command, env=make_environment())  # bytecode is there now
    counting = [valgrind, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    environment = make_environment()
    for budget in (CHECK_BUDGET, AGAIN_BUDGET):
        done = run([*counting, *command], env=environment)
        count = re.search(r"I +refs: +([\d,]+)", done.stderr)
        assert count is not None
        assert int(count[1].replace(",", "")) < budget * 1_000_000

"""What 'build-os init' makes builds, boots and passes its own tests, with nothing of this repository in sight."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.boot

BUILD_OS = [sys.executable, "-m", "builder"]


def build_os(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BUILD_OS, *arguments], cwd=home, capture_output=True, text=True, check=False)


def test_a_new_repository_passes_its_own_boot_tests(tmp_path: Path) -> None:
    home = tmp_path / "my os"
    home.mkdir()
    assert build_os(home, "init", "--name", "my-os").returncode == 0
    assert build_os(home, "build").returncode == 0
    listed = build_os(home, "test", "--list", "--json")
    assert [each["test"] for each in json.loads(listed.stdout)] == [
        "tests/test_boot.py::test_boots",
        "tests/test_boot.py::test_says_hello",
    ]

    tested = build_os(home, "test")

    assert tested.returncode == 0, tested.stdout
    results = json.loads((home / "out" / "test-results" / "results.json").read_text())
    assert results["outcomes"] == {"passed": 2}
    assert (home / "out" / "test-results" / "index.html").is_file()

    (home / "tests" / "test_boot.py").write_text("def test_fails(vm):\n    vm.succeed('false')\n")
    failed = build_os(home, "test")
    assert failed.returncode == 5
    assert "false failed in the guest with status 1" in failed.stdout
    assert "build-os test tests/test_boot.py::test_fails --shell-on-failure" in failed.stdout
    # With what tells of it in a folder of its own, which no other test's machine overwrites.
    assert list(home.rglob("tests-test_boot.py-test_fails/*/boot.svg")) != []
    nothing = build_os(home, "test", "no_such_name")
    assert (nothing.returncode, "no test was run" in nothing.stderr) == (2, True)

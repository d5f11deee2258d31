"""``make demo``, the README's first command, where nothing was built before."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.boot

REPOSITORY = Path(__file__).parents[2]


def test_one_command_builds_boots_and_shows_what_the_container_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "builder", "demo", "--out", tmp_path / "out"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY)
    assert "the container says\n  It works\n" in done.stdout
    assert re.search(r"^power-on to container: ", done.stdout, re.MULTILINE)
    assert not (tmp_path / "out/vm/demo/disk0.qcow2").exists()

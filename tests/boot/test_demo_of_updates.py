"""``make demo-update``: one command shows a machine that updates itself and goes back."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.boot, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]


def test_one_command_shows_an_update_and_the_way_back(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "builder", "demo", "--updates", "--out", tmp_path / "out"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY)
    print(done.stdout)
    running = re.findall(r"^running   demo-update (\d) \((.*)\)$", done.stdout, re.MULTILINE)
    assert running == [("1", "good"), ("2", "good"), ("1", "good")]
    assert re.search(r"good +2 \(from 1\)", done.stdout)
    assert re.search(r"rolled back +2", done.stdout)

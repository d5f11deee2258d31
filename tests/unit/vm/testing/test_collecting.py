"""What is kept of a machine whose test has failed, though it answers to some questions only."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from builder.core.errors import VmError
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.testing.collect import PIECES, collect
from vm.waiting.deadline import Deadline

pytestmark = pytest.mark.unit


class StubMachine:
    """A guest that answers to the programs that are named, and to others never."""

    def __init__(self, folder: Path, *answers: str) -> None:
        self.folder = MachineFolder(folder)
        self.is_off = False
        self.spec = SimpleNamespace(video=False)
        self.probe = SimpleNamespace(hello={}, read=lambda *_: b"journal")
        self.deadline = Deadline(0)
        self.answers = answers
        self.limits: dict[str, float] = {}

    def succeed(self, program: str, *_: str) -> str:
        self.limits.setdefault(program, self.deadline.seconds)
        if program not in self.answers:
            raise VmError(f"{program} did not end in time")
        return f"what {program} says"


def test_a_journal_that_takes_too_long_takes_nothing_from_the_rest(tmp_path: Path) -> None:
    machine = StubMachine(tmp_path, "systemctl", "systemd-analyze")
    collect(cast("Machine", machine))
    assert machine.folder.boot_chart.read_text() == "what systemd-analyze says"
    assert "what systemctl says" in machine.folder.units.read_text()
    assert not machine.folder.journal.exists()
    assert list(machine.limits) == ["systemctl", "systemd-analyze", "python3"]
    assert all(seconds > 0 for seconds in machine.limits.values()), "the test's own time is over"


def test_a_machine_that_answers_to_nothing_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    machine = StubMachine(tmp_path)
    collect(cast("Machine", machine))
    assert list(tmp_path.iterdir()) == []
    assert sum(PIECES.values()) <= 20

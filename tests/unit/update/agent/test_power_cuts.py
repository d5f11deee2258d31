"""The power goes at each step of an update: the old version starts, or the whole new one; there is no third state."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.unit.update.agent.conftest import FakeMachine
from update.agent.command import main
from update.agent.state import STATE, read_state
from update.gpt import HEAD, parse_gpt

pytestmark = pytest.mark.unit

Make = Callable[..., Path]
STEPS = 16  # at least as many as there are; a test says so


class PowerCutError(BaseException):
    """Nothing is done any more."""


class Countdown:
    """Cuts the power before the step of this number."""

    def __init__(self, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        self.left, self.is_cut = step, False
        run, replace = machine.run, Path.replace

        def count_run(argv: Sequence[str], timeout: float = 0) -> str:
            self.count()
            return run(argv, timeout)

        def count_replace(path: Path, target: Path) -> Path:
            self.count()
            return replace(path, target)

        monkeypatch.setattr(machine, "run", count_run)
        monkeypatch.setattr(Path, "replace", count_replace)

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.is_cut = True
            raise PowerCutError


def is_whole(machine: FakeMachine, version: str) -> bool:
    """Whether a slot holds a version, root and hash tree."""
    disk = machine.disk.read_bytes()
    found = {part.type: disk[part.start :] for part in parse_gpt(disk[:HEAD]) if part.name == f"demo_{version}"}
    return found.get("root", b"").startswith(f"root of {version}".encode() * 100) and found.get(
        "root-verity", b""
    ).startswith(f"verity of {version}".encode())


@pytest.mark.parametrize("step", range(STEPS))
def test_what_can_be_started_is_whole_whenever_the_power_goes(
    machine: FakeMachine, payload: Make, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    machine.add_image("demo_0.efi", "0")
    for number in (5, 6):
        machine.set_label(number, "demo_0")
    directory, before = payload("2"), machine.disk.read_bytes()
    with monkeypatch.context() as patch:
        countdown = Countdown(machine, patch, step)
        try:
            done = main(["apply", "--from", str(directory)], machine.host)
        except PowerCutError:
            done = None
        assert (done is None) is countdown.is_cut
    started = {re.sub(r"\+.*|\.efi$", "", name).removeprefix("demo_") for name in machine.list_images()}
    assert "1" in started
    assert "2" not in started or is_whole(machine, "2")
    assert "0" not in started or machine.disk.read_bytes() == before
    if "2" in started:
        pending = read_state(machine.host).pending
        assert pending is not None
        assert pending.version == "2"

    # The machine starts what it can, and the update is taken once more if it has not come through.
    if "2" not in started:
        machine.boot("1", "c" * 32)
        if (machine.root / STATE.lstrip("/")).exists():
            assert main(["boot"], machine.host) == 0
        assert main(["apply", "--from", str(directory)], machine.host) == 0
    assert is_whole(machine, "2")
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]


def test_every_step_is_tried(machine: FakeMachine, payload: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    countdown = Countdown(machine, monkeypatch, STEPS - 1)
    assert main(["apply", "--from", str(payload("2"))], machine.host) == 0
    assert not countdown.is_cut

"""What somebody at the console sees of a first boot that waits."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from firstboot.log import Log

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_wait_is_told_after_ten_seconds_and_then_every_thirty(tmp_path: Path) -> None:
    """Counted from its own beginning, and anew for the next one."""
    clock, journal, console = Clock(), io.StringIO(), tmp_path / "console"
    log = Log(journal, priorities=True, console=console, clock=clock)
    told: list[float] = []
    for begins in (200.0, 500.0):
        clock.now = begins
        for _ in range(100):
            console.write_text("")
            log.wait("GET https://config.example/a?token=abc: connection refused; trying again in 5.0 s")
            if said := console.read_text():
                assert said.startswith("build-os: first boot waits: GET https://config.example/a")
                assert said.endswith("in 5.0 s\n")
                assert "abc" not in said
                told.append(clock.now)
            clock.now += 1
    assert told == [210, 240, 270, 510, 540, 570]
    assert journal.getvalue().count("<6>GET https://config.example/a") == 200


def test_nothing_is_told_where_no_machine_is_started_and_a_missing_console_is_no_failure(tmp_path: Path) -> None:
    clock, console = Clock(), tmp_path / "console"
    console.write_text("")
    log = Log(io.StringIO(), priorities=False, console=console, clock=clock)
    broken = Log(io.StringIO(), priorities=True, console=tmp_path / "not/there", clock=clock)
    for _ in range(60):
        clock.now += 1
        log.wait("GET x")
        broken.wait("GET x")
    assert console.read_text() == ""
    assert list(tmp_path.iterdir()) == [console]

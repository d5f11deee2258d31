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
    clock, journal, kernel_log = Clock(), io.StringIO(), tmp_path / "kmsg"
    log = Log(journal, priorities=True, kernel_log=kernel_log, clock=clock)
    told: list[float] = []
    for _ in range(100):
        log.wait("GET https://config.example/a?token=abc: connection refused; trying again in 5.0 s")
        if kernel_log.exists():
            assert kernel_log.read_text().startswith("<3>build-os: first boot waits: GET https://config.example/a")
            assert "abc" not in kernel_log.read_text()
            kernel_log.unlink()
            told.append(clock.now - 100)
        clock.now += 1
    assert told == [10, 40, 70]
    assert journal.getvalue().count("<6>GET https://config.example/a") == 100


def test_nothing_is_told_where_no_machine_is_started_and_a_missing_log_is_no_failure(tmp_path: Path) -> None:
    clock = Clock()
    log = Log(io.StringIO(), priorities=False, kernel_log=tmp_path / "kmsg", clock=clock)
    broken = Log(io.StringIO(), priorities=True, kernel_log=tmp_path / "not/there", clock=clock)
    clock.now += 60
    log.wait("GET x")
    broken.wait("GET x")
    assert list(tmp_path.iterdir()) == []

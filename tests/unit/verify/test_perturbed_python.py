"""What the second build's Python is told: another time, another order, another number of processors."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path

import pytest

from builder.verify.perturbed import count_processors, shuffle_directories, turn_clock

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is patched is as it was afterwards."""
    for module, names in (
        (time, "time time_ns gmtime localtime ctime strftime asctime"),
        (datetime, "datetime date"),
        (os, "scandir listdir cpu_count"),
    ):
        for name in names.split():
            monkeypatch.setattr(module, name, getattr(module, name))
    if hasattr(os, "process_cpu_count"):
        monkeypatch.setattr(os, "process_cpu_count", os.process_cpu_count)


def test_every_clock_is_turned() -> None:
    before = datetime.date.today()
    expected = before + datetime.timedelta(days=400)
    turn_clock(400)
    year, month, day = expected.year, expected.month, expected.day
    assert datetime.datetime.now().date() == expected
    assert datetime.datetime.today().date() == expected
    assert datetime.date.today() == expected
    assert datetime.datetime.now(datetime.UTC).timestamp() == pytest.approx(time.time(), abs=5)
    assert time.localtime()[:3] == (year, month, day)
    assert time.strftime("%Y-%m-%d") == f"{year}-{month:02d}-{day:02d}"
    assert time.ctime().endswith(str(year))
    assert time.asctime().endswith(str(year))
    assert time.time_ns() // 10**9 == pytest.approx(time.time(), abs=5)


def test_a_time_that_is_given_stays() -> None:
    turn_clock(400)
    assert time.gmtime(0)[:3] == (1970, 1, 1)
    assert time.strftime("%Y", time.gmtime(0)) == "1970"
    assert datetime.datetime.fromtimestamp(0, datetime.UTC).year == 1970
    assert isinstance(datetime.datetime(2026, 1, 1), datetime.datetime)


def test_a_real_date_passes_for_one() -> None:
    real = datetime.datetime(2026, 1, 1)
    turn_clock(400)
    assert isinstance(real, datetime.datetime)
    assert isinstance(real, datetime.date)
    assert not isinstance("2026", datetime.datetime)


def test_directories_are_read_in_another_order_and_whole(tmp_path: Path) -> None:
    names = {f"f{number}" for number in range(50)}
    for name in names:
        (tmp_path / name).touch()
    before = [path.name for path in tmp_path.iterdir()]
    shuffle_directories(1)
    assert [path.name for path in tmp_path.iterdir()] != before
    with os.scandir(tmp_path) as entries:
        assert {entry.name for entry in entries} == names
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {name for _, _, found in os.walk(tmp_path) for name in found} == names
    assert [path.name for path in sorted(tmp_path.glob("f1*"))] == sorted(n for n in names if n.startswith("f1"))


def test_processors_are_counted_otherwise() -> None:
    count_processors(7)
    assert os.cpu_count() == 7

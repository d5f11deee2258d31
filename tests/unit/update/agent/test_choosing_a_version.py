"""Which version a machine takes, and when it reboots into it."""

from __future__ import annotations

import calendar
from pathlib import Path
from typing import Any

import pytest

from update.agent.choose import Asking, choose_version, compute_place
from update.agent.window import parse_window
from update.documents import Channel, ChannelRelease, Rollout

pytestmark = pytest.mark.unit


def channel(*releases: Any) -> Channel:
    made = tuple(each if isinstance(each, ChannelRelease) else ChannelRelease(each, 0) for each in releases)
    return Channel("demo", "amd64", "stable", made)


def choose(offered: Channel, version: str = "1", **asking: Any) -> tuple[str | None, str]:
    return choose_version(offered, Asking(version, **{"machine": "m", "now": 1000.0, **asking}))


def test_the_newest_is_taken() -> None:
    assert choose(channel("1", "2", "3")) == ("3", "")
    assert choose(channel("1", "2", "3"), "3") == (None, "the channel stable has nothing newer than 3")
    assert choose(channel("1"), "2")[0] is None


def test_a_version_that_has_failed_is_skipped_until_a_newer_one_comes() -> None:
    assert choose(channel("1", "2"), failed={"2"}) == (
        None,
        "version 2 is there, and not for this machine now: it has failed here",
    )
    assert choose(channel("1", "2", "3"), failed={"2"})[0] == "3"


def test_a_barrier_must_be_passed_through() -> None:
    offered = channel("1", ChannelRelease("2", 0, barrier=True), "3")
    assert choose(offered)[0] == "2"
    assert choose(offered, "2")[0] == "3"
    version, reason = choose(offered, failed={"2"})
    assert version is None
    assert "version 2 must have run before" in reason


def test_minimum_and_maximum_are_of_what_runs() -> None:
    offered = channel(ChannelRelease("5", 0, minimum="2", maximum="4"))
    assert [choose(offered, version)[0] for version in ("1", "2", "4", "4.1")] == [None, "5", "5", None]
    assert "at least version 2" in choose(offered, "1")[1]


def test_a_dead_end_says_why() -> None:
    offered = channel(ChannelRelease("1", 0, dead_end="move to channel next"), "2")
    assert choose(offered) == (None, "version 1 is a dead end: move to channel next")


def test_a_pin_is_the_only_version() -> None:
    assert choose(channel("2", "3"), pin="2")[0] == "2"
    assert "pinned to version 2" in choose(channel("3"), pin="2")[1]


def test_a_rollout_reaches_its_share_of_the_machines_and_then_all() -> None:
    offered = channel(ChannelRelease("2", 0, rollout=Rollout(1000, 1000)))
    machines = [f"{number:032x}" for number in range(1000)]

    def count(now: float) -> int:
        return sum(choose(offered, machine=machine, now=now)[0] == "2" for machine in machines)

    assert count(999) == count(1000) == 0
    assert 200 < count(1250) < 300
    assert count(2000) == 1000
    assert "offered to 0 % of the machines" in choose(offered, now=1000)[1]


def test_a_machine_s_place_is_its_own_for_each_version() -> None:
    assert len({compute_place(machine, version) for machine in "abc" for version in "12"}) == 6


def at(text: str) -> float:
    """A moment of the first week of June 2026, which begins on a Monday."""
    day, hour, minute = int(text[0]), int(text[2:4]), int(text[5:7])
    return calendar.timegm((2026, 6, day, hour, minute, 0))


@pytest.mark.parametrize(
    ("now", "is_open"),
    [("1 22:59", False), ("1 23:00", True), ("2 01:59", True), ("2 02:00", False), ("2 23:30", False)],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(now: str, is_open: bool) -> None:
    window = parse_window({"days": ["mon"], "begin": "23:00", "end": "02:00", "timezone": "UTC"})
    assert window.is_open(at(now)) is is_open


@pytest.mark.skipif(not Path("/usr/share/zoneinfo/Europe/Berlin").exists(), reason="this host has no time zones")
def test_a_window_has_a_time_zone() -> None:
    window = parse_window({"days": ["tue"], "begin": "01:00", "end": "02:00", "timezone": "Europe/Berlin"})
    assert window.is_open(at("1 23:30"))
    assert not window.is_open(at("2 01:30"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": ["noday"]}, "'noday' is no day"),
        ({"begin": "24:00"}, "'24:00' is no time of the day"),
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"timezone": "../etc"}, "is no time zone"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_window({"days": ["mon"], "begin": "01:00", "end": "02:00", "timezone": "UTC", **change})

"""When a machine may reboot by itself: days and hours in a time zone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.update_words import DAYS, HOUR_PATTERN

WINDOW = {"days": DAYS, "timezone": "UTC"}
_HOUR = re.compile(HOUR_PATTERN)


class Window(NamedTuple):
    """From ``begin`` to ``end``, minutes of the day, on ``days`` (0 is Monday).

    One that ends before it begins goes on after midnight: it belongs to the day on which it begins.
    """

    days: tuple[int, ...]
    begin: int
    end: int
    timezone: str

    def is_open(self, now: float) -> bool:
        """Whether it is open at a time, in seconds since 1970."""
        here = datetime.fromtimestamp(now, ZoneInfo(self.timezone))
        minute = here.hour * 60 + here.minute
        if self.begin < self.end:
            return here.weekday() in self.days and self.begin <= minute < self.end
        if minute >= self.begin:
            return here.weekday() in self.days
        return minute < self.end and (here - timedelta(days=1)).weekday() in self.days


def parse_hour(text: str) -> int:
    """Minutes since midnight of ``02:30``.

    Raises:
        ValueError: it is no time of the day.
    """
    if _HOUR.fullmatch(text) is None:
        raise ValueError(f"'{text}' is no time of the day, like 02:30")
    return int(text[:2]) * 60 + int(text[3:])


def parse_window(data: Mapping[str, Any]) -> Window:
    """A window as the settings have it: what it does not say is as in :data:`WINDOW`.

    Raises:
        ValueError: something in it makes no sense; the text says what.
    """
    data = {**WINDOW, **data}
    unknown = [str(day) for day in data["days"] if day not in DAYS]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no day; days are {', '.join(DAYS)}")
    zone = data["timezone"]
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"'{zone}' is no time zone, like Europe/Berlin") from None
    days = tuple(DAYS.index(day) for day in data["days"])
    begin, end = parse_hour(data["begin"]), parse_hour(data["end"])
    if begin == end:
        raise ValueError(f"a window from {data['begin']} to {data['end']} is never open")
    return Window(days, begin, end, zone)

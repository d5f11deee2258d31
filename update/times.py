"""Moments in documents: RFC 3339, in UTC, of whole seconds."""

from __future__ import annotations

import calendar
import re
import time

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
EXPECTED = "a time in UTC, like 2026-11-28T14:00:00Z"


def parse_time(text: str) -> int:
    """Seconds since 1970.

    Raises:
        ValueError: it is none; the text says what was expected.
    """
    if _TIME.fullmatch(text) is None:
        raise ValueError(EXPECTED)
    try:
        return calendar.timegm(time.strptime(text, _FORMAT))
    except (ValueError, OverflowError):
        raise ValueError(EXPECTED) from None


def format_time(seconds: int) -> str:
    """The moment that many seconds after 1970.

    Raises:
        ValueError, OverflowError: it is not in the years 1 to 9999.
    """
    year = time.gmtime(seconds).tm_year
    if not 1 <= year <= 9999:
        raise ValueError(f"the year {year} cannot be written")
    return f"{year:04}" + time.strftime("-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

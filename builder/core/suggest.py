"""The nearest names to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to ``count`` names that look like ``name``, best first."""
    return difflib.get_close_matches(name, sorted(known), n=count, cutoff=0.6)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with a leading space, or nothing."""
    found = nearest(name, known, 1)
    return f" (did you mean '{found[0]}'?)" if found else ""

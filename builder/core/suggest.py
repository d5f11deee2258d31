"""The nearest names to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def find_nearest(name: str, known: Iterable[str], count: int = 3, *, cutoff: float = 0.6) -> list[str]:
    """Up to ``count`` names that look like ``name``, best first.

    What both end in (``.service``) says nothing: ``ldconfig.service`` is not what ``nginx.service`` was meant to be.
    """
    stem, dot, ending = name.rpartition(".")
    if not stem:
        return difflib.get_close_matches(name, sorted(known), n=count, cutoff=cutoff)
    alike = {each.removesuffix(dot + ending): each for each in sorted(known) if each.endswith(dot + ending)}
    others = {each.rpartition(".")[0] or each: each for each in sorted(known) if not each.endswith(dot + ending)}
    found = [alike[each] for each in difflib.get_close_matches(stem, alike, n=count, cutoff=cutoff)]
    return (
        found + [others[each] for each in difflib.get_close_matches(stem, others, n=count, cutoff=max(cutoff, 0.75))]
    )[:count]


def make_suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with a leading space, or nothing."""
    found = find_nearest(name, known, 1)
    return f" (did you mean '{found[0]}'?)" if found else ""

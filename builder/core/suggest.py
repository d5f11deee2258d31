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
    alike = {word.removesuffix(dot + ending): word for word in sorted(known) if word.endswith(dot + ending)}
    others = {word.rpartition(".")[0] or word: word for word in sorted(known) if not word.endswith(dot + ending)}
    matches = [alike[word] for word in difflib.get_close_matches(stem, alike, n=count, cutoff=cutoff)]
    return (
        matches + [others[word] for word in difflib.get_close_matches(stem, others, n=count, cutoff=max(cutoff, 0.75))]
    )[:count]


def make_suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with a leading space, or nothing."""
    nearest = find_nearest(name, known, 1)
    return f" (did you mean '{nearest[0]}'?)" if nearest else ""

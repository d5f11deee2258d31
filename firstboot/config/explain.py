"""The user's own words for what is wrong: what a value is, what was expected instead, which name was meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from firstboot.config.lazy import import_lazily
from firstboot.config.text import Path, Problem

if TYPE_CHECKING:
    import difflib
else:
    difflib = import_lazily("difflib")


def find_suggestion(wrong: str, known: Iterable[str]) -> str | None:
    """``did you mean 'format'?``, or ``None`` if nothing is near."""
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None


def describe_kind(value: Any) -> str:
    """What a value is, in the user's words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"'{str(value).lower()}'"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def explain_wrong_kind(expected: str, value: Any, path: Path) -> Problem:
    """What is there is of another kind than was expected."""
    hint = None
    if expected == "text" and isinstance(value, int | float):
        hint = "put it in quotes"
    elif expected == "a whole number" and isinstance(value, str) and value.strip().isdigit():
        hint = "write it without quotes"
    elif expected == "true or false" and str(value).lower() in ("yes", "on", "y"):
        hint = "write true"
    elif expected == "true or false" and str(value).lower() in ("no", "off", "n"):
        hint = "write false"
    return Problem(path, f"expected {expected}, found {describe_kind(value)}", hint)

"""Elements of a list that are the same thing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from firstboot.config.fields import list_fields
from firstboot.config.model import Model
from firstboot.config.text import Path, Problem, format_path


def check_duplicates(model: Model, path: Path) -> Iterator[Problem]:
    """Two elements with one key, in one list or in lists that share their keys."""
    seen: dict[str, dict[str, Path]] = {}
    for field in list_fields(type(model)).values():
        value: Any = getattr(model, field.name)
        below = (*path, field.alias)
        if field.kind == "model":
            yield from check_duplicates(value, below)
        elif field.kind in ("models", "scalars"):
            for index, element in enumerate(value):
                if field.kind == "models":
                    yield from check_duplicates(element, (*below, index))
            if field.name in model.UNKEYED:
                continue
            space = next((shared[0] for shared in model.SHARED if field.name in shared), field.name)
            keys = seen.setdefault(space, {})
            for index, element in enumerate(value):
                key = element.key if field.kind == "models" else str(element)
                here = (*below, index)
                if key in keys:
                    first = format_path(keys[key])
                    # A data URL is contents, which are never shown.
                    shown = "the same source" if key.startswith("data:") else f"'{key[:80]}'"
                    yield Problem(here, f"{shown} is defined twice", f"it is already defined at {first}")
                keys.setdefault(key, here)

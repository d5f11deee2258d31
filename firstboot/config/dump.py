"""A config as plain data in Ignition's spelling, for caches and for people."""

from __future__ import annotations

from typing import Any

from firstboot.config.artifact import is_artifact
from firstboot.config.fields import list_fields
from firstboot.config.model import Model
from firstboot.config.models import OWN, Resource


def dump(model: Model) -> dict[str, Any]:
    """What a config, or a part of one, sets, ready for ``json.dumps``; what is unset is left out."""
    result: dict[str, Any] = {}
    for field in list_fields(type(model)).values():
        value = getattr(model, field.name)
        if field.kind == "model":
            value = dump(value)
        elif field.kind == "models":
            value = [dump(item) for item in value]
        elif field.kind == "scalars":
            value = [*value]
        elif value == field.default and value != "":
            continue  # also 0 for the number of a partition; a name is always written
        if value not in (None, {}, []):
            result[field.alias] = value
    return result


def has_own(model: Model) -> bool:
    """Whether a config, or a part of one, says what no Ignition can."""
    if isinstance(model, Resource) and is_artifact(model.source):
        return True
    for field in list_fields(type(model)).values():
        value = getattr(model, field.name)
        if field.since == OWN.version and value:
            return True
        parts = [value] if field.kind == "model" else value if field.kind == "models" else ()
        if any(has_own(part) for part in parts):
            return True
    return False

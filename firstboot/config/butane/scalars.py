"""Scalars as go-yaml decodes them into typed fields, which is looser than YAML."""

from __future__ import annotations

import json
import re
from typing import Any

from firstboot.config.fields import Field
from firstboot.config.text import Located, Path

_YES = {"y", "Y", "yes", "on"}
_NO = {"n", "N", "no", "off"}
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INT_MAX = 2**63


def decode(field: Field, value: Any, path: Path, located: Located) -> Any:
    """A scalar as its field wants it.

    Any scalar is text for a text field; ``yes``, quoted or not, is true for a boolean one; a number like ``644.0``
    or ``0999`` is whole for a whole one. What does not fit is left as it is, for the models to refuse.
    """
    if field.of is str and isinstance(value, bool | int | float):
        return _as_written(value, path, located)
    if field.of is bool and isinstance(value, str) and value in _YES | _NO:
        return value in _YES
    if field.of is int:
        return _whole(value, path, located)
    return value


def _as_written(value: Any, path: Path, located: Located) -> str:
    plain = located.plain.get(path)
    return json.dumps(value) if plain is None else plain  # Butane may be JSON as well


def _whole(value: Any, path: Path, located: Located) -> Any:
    # 0999 is no octal number and so a floating one to go-yaml; in quotes it is text.
    if isinstance(value, str) and path in located.plain and _FLOAT.fullmatch(value):
        value = float(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _INT_MAX:
        return int(value)
    return value

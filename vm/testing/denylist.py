"""Tests that are known to fail, for a reason and until a day: ``denylist.yaml`` beside the tests.

::

    - pattern: "test_http3*"
      reason: "nginx 1.26 has no HTTP/3: https://bugs.example.org/123"
      expires: 2027-03-01
      architectures: [arm64]

What a pattern matches is skipped. From the day that is named on it fails instead, so that nothing is
skipped for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from builder.core.errors import InputError
from vm.testing.selection import is_match

FILE = "denylist.yaml"


class DenylistEntry(BaseModel):
    """One entry. ``architectures``: only these; none means all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date
    architectures: tuple[str, ...] = ()


@cache
def load_denylist(path: Path) -> tuple[DenylistEntry, ...]:
    """The entries of a file; a file that is not there has none.

    Raises:
        InputError: it is not a denylist.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    try:
        return TypeAdapter(tuple[DenylistEntry, ...]).validate_python(data or ())
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise InputError(f"{path} is not a denylist", details=problems, hint="see docs/testing.md") from None


@dataclass(frozen=True)
class Denial:
    """What becomes of a denied test, and why."""

    skip: bool
    why: str


def find_denial(path: Path, nodeid: str, arch: Callable[[], str], today: date | None = None) -> Denial | None:
    """Whether a denylist names a test.

    Args:
        arch: the image's architecture, asked only where an entry depends on it.

    Raises:
        InputError: the file is not a denylist.
    """
    for entry in load_denylist(path):
        if not is_match(nodeid, entry.pattern) or (entry.architectures and arch() not in entry.architectures):
            continue
        if (today or date.today()) >= entry.expires:
            return Denial(False, f"{path.name}: its entry has expired on {entry.expires}: {entry.reason}")
        return Denial(True, f"denied until {entry.expires}: {entry.reason}")
    return None

"""Vectors recorded from the real programs: those in the project, and those with upstream's text, which are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
OURS = PROJECT / "tests" / "conformance" / "vectors"
OUTSIDE = Path(os.environ.get("CONFORMANCE", PROJECT.parent / "shared" / "conformance"))
"""Where the others are, with their runner, if they are on this machine."""
MISSING = pytest.StashKey[set[str]]()


def require_recorded(name: str, config: pytest.Config) -> Path:
    """The path of a file of vectors; a test whose file is not on this machine is skipped, and the summary says so."""
    for directory in (OURS, OUTSIDE / "vectors"):
        if (directory / name).exists():
            return directory / name
    config.stash.setdefault(MISSING, set()).add(name)
    pytest.skip(f"{name} is not in the project, nor in {OUTSIDE / 'vectors'}")

"""Where a project is, from wherever its tests are started, and how its tests are named there."""

from __future__ import annotations

import os
from pathlib import Path

DEFINITION = "os.yaml"
BUILD = Path("out/build.json")


def project_of(directory: Path) -> Path:
    """The nearest directory, this one or one above, that has a definition or a build; this one if none has."""
    found = (
        each for each in (directory, *directory.parents) if (each / DEFINITION).exists() or (each / BUILD).exists()
    )
    return next(found, directory)


def test_id(path: Path, nodeid: str, directory: Path) -> str:
    """The id of a test as it can be typed in a directory.

    Args:
        path: the test's file.
        nodeid: pytest's own, which begins at its root directory.
    """
    name = nodeid.partition("::")[2]
    file = os.path.relpath(path, directory)
    return f"{file}::{name}" if name else file

"""Every file of this repository: what git may have left in it, and that unit tests lie where what they test does."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
DIRECTORIES = (
    ".ci",
    "builder",
    "configs",
    "docs",
    "firstboot",
    "overlays",
    "requirements",
    "tests",
    "units",
    "update",
    "vm",
)
# Lines that git writes where two changes meet; the middle one is also how some formats underline.
MARKERS = ("<" * 7 + " ", ">" * 7 + " ")


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file that belongs to the project."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for name in DIRECTORIES:
        files += [path for path in (ROOT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in files:
        data = path.read_bytes()
        if b"\0" not in data:
            yield path.relative_to(ROOT), data.decode("utf-8", "replace")


def test_no_conflict_of_two_changes_is_left() -> None:
    assert [str(path) for path, text in texts() if any(line.startswith(MARKERS) for line in text.splitlines())] == []


def packages() -> set[str]:
    """Directories of code, as ``tests/unit`` names them: ``builder`` is left out."""
    found = {
        path.parent.relative_to(ROOT)
        for name in ("builder", "firstboot", "update", "vm")
        for path in (ROOT / name).rglob("__init__.py")
    }
    return {str(path).removeprefix("builder/") for path in found}


def test_unit_tests_are_where_what_they_test_is() -> None:
    unit = ROOT / "tests" / "unit"
    # Programs of overlays are no package of ours: each test loads what it tests.
    tested = {str(path.parent.relative_to(unit)) for path in unit.rglob("test_*.py")} - {"docs", "overlays"}
    assert sorted(tested - packages()) == []


def test_every_package_has_unit_tests() -> None:
    tested = {
        path.parent.relative_to(ROOT / "tests" / "unit").parts[0]
        for path in (ROOT / "tests" / "unit").rglob("test_*.py")
    }
    assert sorted({name.partition("/")[0] for name in packages()} - tested - {"builder"}) == []


def test_every_directory_of_tests_is_looked_into(request: pytest.FixtureRequest) -> None:
    """pytest leaves out directories that are called as those of a build usually are; one of ours is."""
    patterns = request.config.getini("norecursedirs")
    directories = {
        path.relative_to(ROOT / "tests")
        for path in (ROOT / "tests").rglob("*")
        if path.is_dir() and "__" not in str(path)
    }
    left_out = {str(path) for path in directories for part in path.parts if any(fnmatch(part, p) for p in patterns)}
    assert left_out == set()

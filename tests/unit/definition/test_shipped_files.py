"""What comes with the package survives being packed: a wheel holds files, no links."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[3]
SHIPPED = ("configs", "overlays", "units", "builder", "firstboot", "update", "vm")


def test_nothing_that_is_shipped_is_a_link() -> None:
    """A wheel would carry what the link leads to instead, and the image would differ from one built in a checkout."""
    assert [path for name in SHIPPED for path in (REPOSITORY / name).rglob("*") if path.is_symlink()] == []


def test_no_unit_is_wanted_by_a_file_that_is_no_link() -> None:
    """systemd ignores such a file (systemd.unit(5)): what is shipped says Wants= and Requires= in drop-ins."""
    folders = [
        path for name in SHIPPED for end in ("wants", "requires") for path in (REPOSITORY / name).rglob(f"*.{end}")
    ]
    assert folders == []

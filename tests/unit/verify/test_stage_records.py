"""Two builds' records of their stages: which path differs, since which stage, and who put it there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from builder.tree.node import make_directory, make_file
from builder.tree.tree import Tree
from builder.verify.records import Change, Recorder, find_changes

pytestmark = pytest.mark.unit


def trees(*, packages: str = "a", mode: int = 0o755, mtime: int = 0, sealed: str = "") -> list[tuple[str, Tree]]:
    """Three stages: packages put files there, units add one, seal removes /var and clamps the time."""
    first = Tree()
    first.put("/usr/bin/a", make_file(packages, origin="package:a").copy_with(mtime=mtime))
    first.put("/var/lib/x", make_directory(mode, origin="package:x"))
    second = first.copy()
    second.put("/etc/unit", make_file("u", origin="stage:units"))
    third = second.copy()
    third.remove("/var")
    third.change("/usr/bin/a", mtime=0)
    if sealed:
        third.put("/usr/bin/sealed", make_file(sealed, origin="stage:seal"))
    return [("packages", first), ("units", second), ("seal", third)]


def record(path: Path, stages: Sequence[tuple[str, Tree]]) -> Path:
    with closing(Recorder(path)) as recorder:
        for stage, tree in stages:
            recorder.record(stage, tree)
    return path


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (trees(), []),
        (trees(mtime=5), []),
        (trees(packages="b"), [Change("/usr/bin/a", "packages", ("content",), "package:a")]),
        (trees(mode=0o700), [Change("/var/lib/x", "packages", ("mode",), "package:x", passing=True)]),
        (trees(sealed="s"), [Change("/usr/bin/sealed", "seal", ("only in the second",), "stage:seal")]),
    ],
    ids=["nothing", "a time that is clamped", "a file", "what is gone in the end", "a new file"],
)
def test_a_difference_names_path_stage_and_origin(
    tmp_path: Path, other: list[tuple[str, Tree]], expected: list[Change]
) -> None:
    assert find_changes(record(tmp_path / "one", trees()), record(tmp_path / "other", other)) == expected


def test_a_file_that_a_later_stage_rewrites_differs_since_that_stage(tmp_path: Path) -> None:
    one, other = trees(), trees(mtime=7)
    other[2][1].put("/usr/bin/a", make_file("rewritten", origin="stage:seal"))
    found = find_changes(record(tmp_path / "one", one), record(tmp_path / "other", other))
    assert [(c.path, c.stage, c.fields) for c in found] == [("/usr/bin/a", "seal", ("content",))]

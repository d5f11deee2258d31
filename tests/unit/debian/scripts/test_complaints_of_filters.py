"""What filters complain about is modelled where they miss a file that the script's own tree does not have either."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from builder.core.filters import FilterCall, FilterResult
from builder.debian.scripts.evaluate import evaluate
from builder.debian.scripts.table import make_commands
from builder.debian.scripts.target_system import Installation
from builder.tree.node import make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Complaining:
    """Filters of which each run ends the same way."""

    result: FilterResult

    def run(self, _call: FilterCall) -> FilterResult:
        return self.result


def unmodelled(line: str, result: FilterResult) -> list[str]:
    """Why lines of a script are not modelled if its filters answer so."""
    tree = Tree()
    tree.put("/d/f", make_file("a\n", origin="package:other"))
    scripts = {"postinst": f"#!/bin/sh\n{line} || :\n"}
    found = evaluate(tree, "mine", scripts, Installation("amd64", {}, {}), make_commands(Complaining(result)))
    return [each.reason for one in found for each in one.unmodelled]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sed p /gone", "sed: can't read /gone: No such file or directory"),
        ("sed -f /gone", "sed: couldn't open file /gone: No such file or directory"),
        ("sed p /d", "sed: read error on /d: Is a directory"),
        ("grep x /gone", "grep: /gone: No such file or directory"),
        ("grep x /d", "grep: /d: Is a directory"),
        ("awk 1 /gone", "awk: cannot open /gone (No such file or directory)"),
        ("awk 1 /gone", 'awk: cannot open "/gone" (No such file or directory)'),
        ("head /gone", "head: cannot open '/gone' for reading: No such file or directory"),
        ("head /gone", "head: cannot open \u2018/gone\u2019 for reading: No such file or directory"),
        ("head /d", "head: error reading '/d': Is a directory"),
        ("sort /gone", "sort: cannot read: /gone: No such file or directory"),
        ("sort /d", "sort: read failed: /d: Is a directory"),
        ("tac /gone", "tac: failed to open '/gone' for reading: No such file or directory"),
        ("cut -c1 '/a b'", "cut: '/a b': No such file or directory"),
    ],
)
def test_a_file_that_is_not_there_is_a_failure(line: str, said: str) -> None:
    assert unmodelled(line, FilterResult(1, "", f"{said}\n")) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sed -e '' /d/f", "sed: can't read /other: No such file or directory"),
        ("sed e /d/f", "sed: can't read /other: No such file or directory"),
        ("sed p /gone", "sed: can't read /gone/other: No such file or directory"),
        ("grep x /d/gone", "grep: /d/other: No such file or directory"),
        ("awk 1 x", 'awk: failed to exec /bin/sh -c "x" (No such file or directory)'),
        ("diff /d/f /d", "diff: /d/g: No such file or directory"),
    ],
)
def test_a_complaint_about_something_else_is_not_modelled(line: str, said: str) -> None:
    program = line.split(maxsplit=1)[0]
    assert unmodelled(line, FilterResult(1, "", f"{said}\n")) == [f"{program} would complain: {said}"]


def test_what_cannot_be_run_is_not_modelled() -> None:
    reasons = unmodelled("sed p", FilterResult(-1, "", refused="File too large"))
    assert reasons == ["sed cannot be run on what it is handed: File too large"]

"""Vectors recorded from the real programs: where they are, which rows are in reach, a score for each file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.recorded import MISSING, OUTSIDE, require_recorded

Row = dict[str, Any]
SCORES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def vectors(pytestconfig: pytest.Config) -> Callable[[str], list[Row]]:
    """The rows of a vector file; skips the test if that is not on this machine."""

    def load(name: str) -> list[Row]:
        with require_recorded(name, pytestconfig).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    return load


@pytest.fixture
def say_score(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Add a line to the scores that are shown at the end."""
    return pytestconfig.stash.setdefault(SCORES, []).append


@pytest.fixture
def score(say_score: Callable[[str], None]) -> Callable[..., None]:
    """Run a check over rows, count, and fail with the rows that differ.

    ``judge(row)`` returns ``None`` if the row passes, else what differs. ``out_of_slice(row)`` names the
    feature that this version does not have, or is ``None``. ``decided`` says why a row differs on purpose.
    """

    def run(
        name: str,
        rows: list[Row],
        judge: Callable[[Row], str | None],
        *,
        out_of_slice: Callable[[Row], str | None] = lambda _row: None,
        decided: Callable[[Row], str | None] = lambda _row: None,
    ) -> None:
        left_out: Counter[str] = Counter()
        failures: list[str] = []
        different: Counter[str] = Counter()
        passed = 0
        for row in rows:
            feature = out_of_slice(row)
            if feature is not None:
                left_out[feature] += 1
                continue
            verdict = judge(row)
            if verdict is None:
                passed += 1
            elif (decision := decided(row)) is not None:
                different[decision] += 1
            else:
                failures.append(f"{row['id']} ({row.get('rule')}): {verdict}")
        line = f"{name}: {passed} of {len(rows)} rows pass"
        if different:
            line += f", {sum(different.values())} differ by decision ({_counts(different)})"
        if left_out:
            line += f", {sum(left_out.values())} are out of this slice ({_counts(left_out)})"
        if failures:
            line += f", {len(failures)} FAIL"
        say_score(line)
        assert not failures, f"{len(failures)} rows differ:\n" + "\n".join(failures)
        assert passed, "no row was run"

    return run


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counter.items()))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = sorted(config.stash.get(SCORES, []))
    for name in sorted(config.stash.get(MISSING, ())):
        lines.append(f"{name}: NOT COMPARED, it is not in {OUTSIDE / 'vectors'} (CONFORMANCE names another directory)")
    if lines:
        terminalreporter.section("conformance")
        for line in lines:
            terminalreporter.write_line(line)

"""What is remembered of a cell between runs: ``cell.json`` in its directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.core.files import write_file

SCHEMA = 1
FILE = "cell.json"
TESTS = "tests"  # the directory of what a cell's tests have left


@dataclass(frozen=True)
class Outcome:
    """How one command ended for a cell.

    Attributes:
        status: its exit code; ``docs/exit-codes.md`` says what each means.
        seconds: how long it took.
        error: what it said, of a failure.
        reused: the stages that did not run, of a build.
        ran: stage -> why it ran.
        stages: seconds by stage.
        size: bytes of all artifacts.
        tests: outcome -> how many, of tests.
        cache: what a build had of the shared cache: entries and bytes, by the names of
            :class:`builder.sharing.cache.Counts`.
        worker: who did it, if not this machine.
        key: of all that decides the artifacts of a build.
    """

    status: int
    seconds: float
    error: str = ""
    reused: tuple[str, ...] = ()
    ran: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    size: int = 0
    tests: Mapping[str, int] = field(default_factory=dict)
    cache: Mapping[str, int] = field(default_factory=dict)
    worker: str = ""
    key: str = ""


def read_outcomes(directory: Path) -> dict[str, Outcome]:
    """What each command did last, by its name; none of a cell that was not run, or by another version."""
    try:
        return parse_outcomes((directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def parse_outcomes(text: str) -> dict[str, Outcome]:
    """The same, of the text of ``cell.json``."""
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            return {}
        return {name: _parse_outcome(row) for name, row in data["outcomes"].items()}
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}


def write_outcome(directory: Path, command: str, outcome: Outcome) -> None:
    """Remember how a command ended."""
    outcomes = {**read_outcomes(directory), command: outcome}
    rows = {name: asdict(row) for name, row in outcomes.items()}
    write_file(directory / FILE, json.dumps({"schema": SCHEMA, "outcomes": rows}, indent=1) + "\n")


def _parse_outcome(row: dict[str, Any]) -> Outcome:
    return Outcome(**{**row, "reused": tuple(row["reused"])})

"""The results of several runs of tests, in different places, as one: what each has left, and what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vm.testing.records import JUNIT, RESULTS, SCHEMA, TestRecord, write_results

SLOWEST = 5


@dataclass(frozen=True)
class Part:
    """One of the runs.

    Attributes:
        directory: where what it has left is now.
        tests: what it was to run.
        error: what was said of it, if it ended otherwise than a run of tests does.
    """

    directory: Path
    tests: tuple[str, ...]
    error: str = ""


def merge_results(parts: Sequence[Part], directory: Path, started: datetime, seconds: float) -> dict[str, Any]:
    """Write ``results.json``, ``index.html`` and ``junit.xml`` of all; returns what the first holds.

    A test of which nothing came back counts as an error, with what was said of its run.
    """
    suites = ElementTree.Element("testsuites", name="build-os")
    tests: list[dict[str, Any]] = []
    counts = {"boots": 0, "restores": 0, "cpu_seconds": 0.0, "machines_cpu_seconds": 0.0}
    for part in parts:
        left = _read_part(part.directory)
        own = left.get("tests", [])
        there = {test["test"] for test in own}
        lost = [TestRecord(name, "error", message=part.error) for name in part.tests if name not in there]
        tests += [*own, *(asdict(record) for record in lost)]
        counts = {name: round(count + left.get(name, 0), 1) for name, count in counts.items()}
        suites.extend([*_read_suites(part.directory), *_describe_lost(lost)])
    outcomes = [test["outcome"] for test in tests]
    summary = {
        "schema": SCHEMA,
        "directory": str(directory),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
        **counts,
        "tests": tests,
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_results(summary, directory)
    ElementTree.ElementTree(suites).write(directory / JUNIT, encoding="utf-8", xml_declaration=True)
    return summary


def _read_part(directory: Path) -> dict[str, Any]:
    """What a run has said of itself, with the machines' folders where they are now."""
    try:
        left: dict[str, Any] = json.loads((directory / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    for test in left["tests"]:
        for machine in test["machines"]:
            machine["folder"] = str(directory / os.path.relpath(machine["folder"], left["directory"]))
    return left


def _read_suites(directory: Path) -> list[ElementTree.Element]:
    try:
        return list(ElementTree.parse(directory / JUNIT).getroot())
    except (OSError, ElementTree.ParseError):
        return []


def _describe_lost(lost: Sequence[TestRecord]) -> list[ElementTree.Element]:
    if not lost:
        return []
    count = str(len(lost))
    suite = ElementTree.Element("testsuite", name="lost", tests=count, errors=count, failures="0", skipped="0")
    for record in lost:
        case = ElementTree.SubElement(suite, "testcase", name=record.test)
        ElementTree.SubElement(case, "error", message=record.message)
    return [suite]


def list_remarkable(summary: Mapping[str, Any]) -> list[str]:
    """Lines that name the tests which failed, those that passed only when they were run again, and the slowest."""
    tests = summary["tests"]
    lines = [f"{test['outcome']}: {test['test']}" for test in tests if test["outcome"] in ("failed", "error", "flaky")]
    slowest = sorted(tests, key=lambda test: -test["seconds"])[:SLOWEST]
    return lines + [f"{test['seconds']:.0f} s: {test['test']}" for test in slowest if test["seconds"] >= 1]

"""All cells in one table: for people on a terminal and as a page, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from builder.core.console import format_seconds, format_size
from builder.core.files import write_file
from builder.matrix.plan import CURRENT, LOCK, REFUSED, SHARED, PlannedCell
from builder.matrix.records import Outcome
from builder.report.page import wrap_page

SCHEMA = 1
RESULTS, PAGE = "matrix.json", "index.html"
COMMANDS = ("build", "verify", "test")


def format_plan(planned: Sequence[PlannedCell], jobs: int) -> list[str]:
    """The plan for people: a line for each cell, and what all of it comes to."""
    width = max((len(row.cell.id) for row in planned), default=0)
    lines = [f"{row.cell.id:<{width}}  {_describe(row)}" for row in planned]
    lines += [f"\n{row.cell.id}:\n{row.reason}" for row in planned if row.state == REFUSED]
    counts = [(state, sum(row.state == state for row in planned)) for state in dict.fromkeys(r.state for r in planned)]
    words = ", ".join(f"{count} {state}" for state, count in counts)
    known = sum(row.seconds or 0.0 for row in planned)
    unknown = sum(row.seconds is None and row.state != SHARED for row in planned)
    if known:
        words += f"; about {format_seconds(known)} of work, {jobs} at once"
    if unknown:
        words += f"; {unknown} of which nobody knows how long they take"
    return [*lines, f"{len(planned)} cells: {words}"]


def _describe(row: PlannedCell) -> str:
    if row.state in (CURRENT, REFUSED, SHARED):
        return row.state
    words = f"{row.state}, because {row.reason}"
    if row.ran:
        words += f"; {len(row.ran)} of {len(row.ran) + len(row.reused)} stages run"
    if row.shares:
        words += f"; after {row.shares}, which makes some of it"
    return f"{words}; about {format_seconds(row.seconds)}" if row.seconds else words


def make_results(matrix: Path, planned: Sequence[PlannedCell]) -> dict[str, Any]:
    """What ``matrix.json`` holds."""
    return {"schema": SCHEMA, "matrix": str(matrix), "cells": [_make_row(row) for row in planned]}


def _make_row(row: PlannedCell) -> dict[str, Any]:
    cell, variation = row.cell, row.cell.variation
    last = {
        name: {key: value for key, value in vars(outcome).items() if value or key in ("status", "seconds")}
        for name, outcome in (row.last or {}).items()
    }
    return {
        "id": cell.id,
        "definition": cell.written,
        "arch": variation.arch,
        "outputs": list(variation.outputs),
        "variables": cell.variables,
        "features": cell.features,
        "state": row.state,
        "reason": row.reason,
        "runs": dict(row.ran or {}),
        "reused": list(row.reused),
        "shares": row.shares or None,
        "estimated_seconds": row.seconds,
        "last": last,
    }


def write_report(out: Path, matrix: Path, planned: Sequence[PlannedCell]) -> Path:
    """Write ``matrix.json`` and the page; returns the path of the first."""
    write_file(out / PAGE, draw_page(matrix, planned))
    write_file(out / RESULTS, json.dumps(make_results(matrix, planned), indent=1, ensure_ascii=False) + "\n")
    return out / RESULTS


def draw_page(matrix: Path, planned: Sequence[PlannedCell]) -> str:
    """One HTML file that needs nothing beside it."""
    heads = ("cell", "state", "because", "stages reused", "expected", "built in", "size", "verified", "tests")
    rows = "".join(_draw_row(row) for row in planned)
    head = "".join(f"<th>{name}</th>" for name in heads)
    built = sum(row.is_built for row in planned)
    return wrap_page(
        f"{matrix.name}: {built} of {len(planned)} cells are up to date",
        [
            f"<h1>{escape(str(matrix))}</h1>",
            f"<p>{built} of {len(planned)} cells are up to date.</p>",
            f"<table><tr>{head}</tr>{rows}</table>",
        ],
    )


def _draw_row(row: PlannedCell) -> str:
    last = row.last or {}
    failed = next((last[name] for name in COMMANDS if name in last and last[name].status), None)
    because = row.reason if row.state != CURRENT else ""
    if failed is not None and failed.error:
        because = failed.error
    build, verify, test = (last.get(name) for name in COMMANDS)
    stages = "" if row.state in (LOCK, REFUSED) else f"{len(row.reused)} of {len(row.reused) + len(row.ran or {})}"
    cells = [
        f'<td><a href="{escape(row.cell.id)}/">{escape(row.cell.id)}</a></td>',
        f"<td>{'<b>failed</b>' if failed is not None else escape(row.state)}</td>",
        f"<td>{escape(because)[:2000]}</td>",
        f'<td class="number">{stages}</td>',
        f'<td class="number">{format_seconds(row.seconds) if row.seconds else ""}</td>',
        f'<td class="number">{_draw_seconds(build) if build else ""}</td>',
        f'<td class="number">{format_size(build.size) if build and build.size else ""}</td>',
        f"<td>{_draw_status(verify.status) if verify else ''}</td>",
        f"<td>{escape(', '.join(f'{n} {name}' for name, n in test.tests.items())) if test else ''}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _draw_seconds(build: Outcome) -> str:
    return format_seconds(build.seconds) + (f" on {escape(build.worker)}" if build.worker else "")


def _draw_status(status: int) -> str:
    return "same bits" if status == 0 else f"status {status}"

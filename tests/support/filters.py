"""What sed, grep, awk and their like answered to the calls of unit tests, which start no program.

``make filters`` asks the programs of the store's newest tools tree anew; an image test compares what is recorded with
them.
"""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path
from typing import Any

from builder.core.console import QuietConsole
from builder.core.filters import FilterCall, FilterResult, Filters, ToolFilters
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.scripts.table import make_commands
from builder.debian.scripts.target_system import NotModelled

FILE = Path(__file__).with_name("filters.json")
DEFAULTS = FilterCall("", ())


def read_recording() -> dict[FilterCall, FilterResult]:
    """Calls and what became of them."""
    return {_call(row["call"]): _result(row["result"]) for row in json.loads(FILE.read_text())}


def write_recording(found: dict[FilterCall, FilterResult]) -> None:
    """Write the file, sorted; what is as it is by default is left out."""
    rows = [
        {"call": _short(call, DEFAULTS), "result": _short(result, FilterResult(-1, ""))}
        for call, result in found.items()
    ]
    lines = sorted(json.dumps(row) for row in rows)
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def _short(value: FilterCall | FilterResult, default: FilterCall | FilterResult) -> dict[str, Any]:
    return {key: each for key, each in vars(value).items() if each != vars(default)[key]}


def _call(row: dict[str, Any]) -> FilterCall:
    pairs = {key: tuple(map(tuple, row[key])) for key in ("files", "links", "environment") if key in row}
    words = {key: tuple(row[key]) for key in ("argv", "directories") if key in row}
    return FilterCall(**{**row, **pairs, **words})


def _result(row: dict[str, Any]) -> FilterResult:
    return FilterResult(**{"output": "", **row, "read": tuple(row.get("read", ()))})


class RecordedFilters:
    """Answers as the programs did."""

    def __init__(self) -> None:
        self.known = read_recording() if FILE.exists() else {}

    def run(self, call: FilterCall) -> FilterResult:
        if call not in self.known:
            if "FUZZ" in os.environ:
                raise NotModelled("nobody asked the program")
            raise AssertionError(f"nobody asked the program, which 'make filters' does: {call}")
        return self.known[call]


class Recorder:
    """Asks the programs and writes down what they answer."""

    def __init__(self) -> None:
        trees = [each for each in (Store.open().root / "tools").iterdir() if (each / "usr/bin/sed").exists()]
        self.filters = ToolFilters(Tools(max(trees, key=lambda each: each.stat().st_mtime), QuietConsole()))
        self.filters.run(FIRST)
        self.found: dict[FilterCall, FilterResult] = {}
        atexit.register(self.end)

    def run(self, call: FilterCall) -> FilterResult:
        self.found[call] = self.filters.run(call)
        return self.found[call]

    def end(self) -> None:
        self.filters.__exit__(None, None, None)
        write_recording(self.found)


# Before a test begins: a unit test could not start it.
FIRST = FilterCall("seq", ("seq", "1"))
FILTERS: Filters = Recorder() if "RECORD_FILTERS" in os.environ else RecordedFilters()
COMMANDS = make_commands(FILTERS)

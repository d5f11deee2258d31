"""Which tests run: those of machines, a share of them, several times over."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

import pytest

from builder.core.errors import InputError
from vm.testing import MACHINE_FIXTURES
from vm.testing.project import make_test_id

ROUND = "build_os_round"


@dataclass(frozen=True)
class Share:
    """The ``index``-th (from 1) of ``count`` parts of a suite, for as many hosts."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``2/3``.

        Raises:
            InputError: it is no share.
        """
        match = re.fullmatch(r"([1-9][0-9]*)/([1-9][0-9]*)", text)
        if match is None or int(match[1]) > int(match[2]):
            raise InputError(f"{text!r} is no share of a suite", hint="write I/N, like 1/3, with I from 1 to N")
        return cls(int(match[1]), int(match[2]))


def has_machine(item: pytest.Item) -> bool:
    """Whether a test has to do with virtual machines."""
    return bool(MACHINE_FIXTURES.intersection(getattr(item, "fixturenames", ())))


def make_machine_key(item: pytest.Item) -> Hashable:
    """What tests have in common that are served by one machine; they belong on one host."""
    mark = item.get_closest_marker("vm")
    if "vm" in getattr(item, "fixturenames", ()) and mark is not None:
        options = {key: value for key, value in mark.kwargs.items() if key not in ("isolation", "seconds")}
        return repr(sorted(options.items()))
    return item.nodeid


def name_group(item: pytest.Item) -> str:
    """What tests have in common that one host runs: the machine that is woken up for them, or their file, whose
    fixtures may have machines."""
    mark = item.get_closest_marker("vm")
    return str(make_machine_key(item)) if "vm" in getattr(item, "fixturenames", ()) and mark else str(item.path)


def choose_share(items: Sequence[pytest.Item], share: Share) -> list[pytest.Item]:
    """The tests of one share: every test is in exactly one, and those that a machine serves are in the same."""
    machines: dict[Hashable, list[pytest.Item]] = {}
    for item in items:
        machines.setdefault(make_machine_key(item), []).append(item)
    loads = [0] * share.count
    chosen: set[str] = set()
    for group in sorted(machines.values(), key=lambda group: (-len(group), group[0].nodeid)):
        lightest = loads.index(min(loads))
        loads[lightest] += len(group)
        if lightest == share.index - 1:
            chosen.update(item.nodeid for item in group)
    return [item for item in items if item.nodeid in chosen]


def choose(
    items: Sequence[pytest.Item], *, only_machines: bool, patterns: Sequence[str], share: str | None
) -> list[pytest.Item]:
    """The tests that are asked for, in their order.

    Raises:
        InputError: ``share`` is none.
    """
    chosen = [item for item in items if not only_machines or has_machine(item)]
    if patterns:
        chosen = [item for item in chosen if any(is_match(item.nodeid, pattern) for pattern in patterns)]
    return chosen if share is None else choose_share(chosen, Share.parse(share))


def is_match(nodeid: str, pattern: str) -> bool:
    """Whether a test is meant: a glob (fnmatch(3)) of its id, of the id without leading directories, or of its name
    without parameters; without ``*``, ``?`` and ``[``, any part of the id."""
    if not re.search(r"[*?\[]", pattern):
        return pattern in nodeid
    parts = nodeid.split("/")
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    return any(fnmatchcase(name, pattern) for name in (*tails, nodeid.rpartition("::")[2].partition("[")[0]))


def format_listing(items: Sequence[pytest.Item], *, as_json: bool) -> str:
    """The tests, a line each; as JSON also how each is typed, what has to run beside it, what it is about, its tags."""
    if not as_json:
        return "".join(f"{item.nodeid}\n" for item in items)
    entries = [
        {
            "test": item.nodeid,
            "argument": make_test_id(item.path, item.nodeid, item.config.invocation_params.dir),
            "group": name_group(item),
            "description": (getattr(getattr(item, "function", None), "__doc__", None) or "").strip(),
            "tags": sorted({mark.name for mark in item.iter_markers()} - {"vm", "parametrize", "allow_console"}),
        }
        for item in items
    ]
    return json.dumps(entries, indent=2) + "\n"

"""How much the fuzz tests try: seconds in all by default, and as many times that as FUZZ says (``make fuzz``).

It is a plugin of pytest as well: with FUZZ, the end of a run says how many examples each test has tried.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FACTOR = int(os.environ.get("FUZZ", "1"))


def examples(count: int) -> settings:
    """Settings for a fuzz test: so many examples, times the factor.

    An example that takes more than half a minute fails: no input may keep a build busy. Fixtures are shared between
    examples, which is harmless for what is used here.
    """
    return settings(
        max_examples=count * FACTOR,
        deadline=30_000,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@contextmanager
def empty_directory() -> Iterator[Path]:
    """A directory for one example, gone after it: pytest's would all stay, and each is looked for among the others."""
    with tempfile.TemporaryDirectory(prefix="build-os-fuzz-") as directory:
        yield Path(directory)


def mutated(good: bytes) -> st.SearchStrategy[bytes]:
    """The text with some of its bytes replaced, removed or doubled."""

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        data = bytearray(good)
        for position, length, insert in changes:
            start = position % (len(data) + 1)
            data[start : start + length] = insert
        return bytes(data)

    change = st.tuples(st.integers(0, 1 << 20), st.integers(0, 9), st.binary(max_size=9))
    return st.lists(change, min_size=1, max_size=5).map(apply)


def of_words(*words: str, size: int = 40) -> st.SearchStrategy[str]:
    """Texts that are mostly made of these words."""
    return st.lists(st.sampled_from(words) | st.text(max_size=4), max_size=size).map("".join)


_tried: Counter[str] = Counter()


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Count the examples of every test that hypothesis feeds."""
    if FACTOR == 1:
        return
    for item in items:
        handle = getattr(getattr(item, "obj", None), "hypothesis", None)
        if handle is not None and not hasattr(handle.inner_test, "fuzzed_as"):
            handle.inner_test = _count_examples(handle.inner_test, item.nodeid.partition("[")[0])


def _count_examples(test: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(test)
    def counted(*arguments: object, **named: object) -> None:
        test(*arguments, **named)
        _tried[name] += 1  # not those that the test discarded, nor one that failed

    counted.fuzzed_as = name  # type: ignore[attr-defined]
    return counted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was tried, also when the run was interrupted."""
    if _tried:
        terminalreporter.section("examples tried")
        for name, count in sorted(_tried.items()):
            terminalreporter.write_line(f"{count:>9,}  {name}")
        terminalreporter.write_line(f"{_tried.total():>9,}  in all")

"""How much the fuzz tests try: seconds in all by default, and as many times that as FUZZ says (``make fuzz``)."""

from __future__ import annotations

import os

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

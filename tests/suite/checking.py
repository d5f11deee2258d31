"""Lists of checks, and ways to break what they check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Checks(dict[str, Callable[[T], None]], Generic[T]):
    """Checks of one kind of subject by name; used as a decorator, it takes one up."""

    def __call__(self, function: Callable[[T], None]) -> Callable[[T], None]:
        """Register a check under its name."""
        self[function.__name__] = function
        return function

    def failing(self, subject: T) -> set[str]:
        """Names of the checks that fail."""
        found = set()
        for name, check in self.items():
            try:
                check(subject)
            except AssertionError:
                found.add(name)
        return found


@dataclass(frozen=True)
class Mutation(Generic[T]):
    """After ``change``, exactly ``fails`` must fail."""

    change: T
    fails: frozenset[str]


def breaks(change: T, *fails: str) -> Mutation[T]:
    """A mutation."""
    return Mutation(change, frozenset(fails))


def table(text: str) -> dict[str, list[str]]:
    """Lines of fields between colons (passwd(5) and its kin), by the first."""
    return {line.split(":")[0]: line.split(":") for line in text.splitlines() if line}

"""Named tuples of a first boot are what typing's are."""

from __future__ import annotations

import pickle
import re
import typing
from pathlib import Path

import pytest

import firstboot
from firstboot.config.named_tuple import NamedTuple

pytestmark = pytest.mark.unit


class Ours(NamedTuple):
    """Two fields."""

    name: str
    sizes: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.sizes)

    @classmethod
    def parse(cls, text: str) -> Ours:
        name, *sizes = text.split()
        return cls(name, tuple(map(int, sizes)))


class Theirs(typing.NamedTuple):
    """Two fields."""

    name: str
    sizes: tuple[int, ...] = ()


def test_it_is_a_tuple_with_names_defaults_and_methods() -> None:
    made = Ours.parse("a 1 2")
    assert made == Ours("a", (1, 2)) == ("a", (1, 2))
    assert (made.name, made.total, Ours("b").sizes) == ("a", 3, ())
    assert made._replace(name="b") == Ours(name="b", sizes=(1, 2))
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(AttributeError):
        made.name = "b"  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        Ours()  # type: ignore[call-arg]


def test_it_says_of_itself_what_typings_says() -> None:
    assert repr(Ours("a")) == repr(Theirs("a")).replace("Theirs", "Ours")
    assert Ours._fields == Theirs._fields
    assert Ours._field_defaults == Theirs._field_defaults
    assert (Ours.__doc__, Ours.__module__, Ours.__qualname__) == ("Two fields.", __name__, "Ours")
    assert list(Ours.__annotations__) == list(Theirs.__annotations__)


def test_no_first_boot_makes_one_of_typings() -> None:
    top = Path(firstboot.__file__).parent
    files = [path for path in top.rglob("*.py") if path.name != "named_tuple.py"]
    expensive = re.compile(r"^from typing import .*\bNamedTuple\b|\btyping\.NamedTuple\b", re.M)
    found = [str(path.relative_to(top)) for path in files if expensive.search(path.read_text(encoding="utf-8"))]
    assert found == [], "take the one of firstboot.config.named_tuple"

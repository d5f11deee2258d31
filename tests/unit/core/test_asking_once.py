"""Within a block each question is asked once, outside of it each time; the answers are the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.core.inputs import collect_inputs
from builder.core.once import answer_once, ask_once, remember_answer

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Package:
    name: str
    size: int


@dataclass(frozen=True)
class Made:
    packages: tuple[Package, ...]
    file: Path
    answers: dict[str, bool] = field(default_factory=dict)


def test_a_function_is_asked_once_within_a_block() -> None:
    asked = []

    @remember_answer
    def double(number: int, *, more: int = 0) -> int:
        asked.append(number)
        return 2 * number + more

    assert [double(2), double(2), double(2, more=1)] == [4, 4, 5]
    assert asked == [2, 2, 2]
    with ask_once():
        assert [double(3), double(3), double(3, more=1), double(3, more=1)] == [6, 6, 7, 7]
    assert asked == [2, 2, 2, 3, 3]
    with ask_once():
        assert double(3) == 6
    assert len(asked) == 6


def test_what_failed_is_asked_again() -> None:
    answers = iter([ValueError("not yet"), 5])

    @remember_answer
    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    with ask_once():
        with pytest.raises(ValueError, match="not yet"):
            ask()
        assert [ask(), ask()] == [5, 5]


def test_equal_values_are_not_the_same_one() -> None:
    """1 and True are equal, and mean something else."""
    with ask_once():
        assert answer_once([1], "text", lambda: "number") == "number"
        assert answer_once([True], "text", lambda: "word") == "word"
        same = [1]
        assert [answer_once(same, "text", lambda: "one"), answer_once(same, "text", lambda: "two")] == ["one", "one"]
        assert answer_once(same, "length", lambda: "1") == "1"


def test_results_are_made_of_the_same_whether_asked_once_or_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    packages = (Package("bash", 1), Package("dash", 2))
    one, other = (Made(packages, file, {"answer": answer}) for answer in (True, False))
    alone = [collect_inputs(value) for value in (one, other, one)]
    assert alone[0] != alone[1]
    with ask_once():
        assert [collect_inputs(value) for value in (one, other, one)] == alone
        assert [list(rows) for rows in map(collect_inputs, (one, other))] == [list(rows) for rows in alone[:2]]
    file.write_text("other content")
    with ask_once():
        assert collect_inputs(one) != alone[0]

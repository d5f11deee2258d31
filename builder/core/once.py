"""Within a block each question is asked once: for who asks of many results at one moment what they are made of.

Between two moments the files that answers come from may change, so there is no memory outside such a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_known: ContextVar[dict[Any, Any] | None] = ContextVar("known", default=None)


@contextmanager
def ask_once() -> Iterator[None]:
    """Within this block, and in this thread, functions of :func:`remember_answer` remember what they said."""
    outer = _known.set({})
    try:
        yield
    finally:
        _known.reset(outer)


def remember_answer(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function remember, within :func:`ask_once`, what it returned for the same arguments.

    Arguments must be hashable, and what is returned must not be changed by whoever gets it.
    """

    @wraps(function)
    def ask(*arguments: P.args, **named: P.kwargs) -> T:
        known = _known.get()
        if known is None:
            return function(*arguments, **named)
        key = (function, arguments, *named.items())
        if key not in known:
            known[key] = function(*arguments, **named)
        answer: T = known[key]
        return answer

    return ask


def answer_once(value: object, question: str, answer: Callable[[], T]) -> T:
    """The same for a value that cannot be hashed, or not fast: known by being the same object.

    Args:
        question: what is asked of it; together with the value it decides the answer.
    """
    known = _known.get()
    if known is None:
        return answer()
    key = (question, id(value))
    if key not in known:
        known[key] = (value, answer())  # with the value, or another could be at its address later
    made: T = known[key][1]
    return made

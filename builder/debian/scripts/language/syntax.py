"""What a shell script is made of, as values: the output of the parser and the input of the evaluator.

The names are those of the grammar in POSIX.1-2024, "Shell Command Language", 2.10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands for itself. ``quoted``: it is neither split nor a pattern."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """``$name`` or ``${name OPERATOR word}``; the operator is empty, or one of ``:- - := = :? ? :+ + # ## % %%``.

    ``length`` is the operator of ``${#name}``. bash's are ``/ // /# /%`` and ``:``, which have a ``second`` word,
    ``^ ^^ , ,,``, ``keys`` for ``${!name[@]}`` and ``indirect`` for ``${!name}``. ``subscript``: of an array.
    """

    name: str
    operator: str
    word: Word | None
    quoted: bool
    subscript: Word | None = None
    second: Word | None = None


@dataclass(frozen=True, slots=True)
class Substitution:
    """``$(commands)`` or the same in backquotes."""

    body: Command
    quoted: bool


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``$((expression))``."""

    expression: Word
    quoted: bool


@dataclass(frozen=True, slots=True)
class Elements:
    """``(word [key]=word ...)``, what bash assigns to an array: pairs of key, if one is given, and value."""

    items: tuple[tuple[Word | None, Word], ...]


Part: TypeAlias = Literal | Parameter | Substitution | Arithmetic | Elements


@dataclass(frozen=True, slots=True)
class Word:
    """A word: parts that are joined once they are expanded, and how it was written."""

    parts: tuple[Part, ...]
    text: str


@dataclass(slots=True)
class Redirect:
    """``fd operator target``; of a here-document (``<<``) the target is its text, which the parser reads later."""

    fd: int
    operator: str
    target: Word


@dataclass(frozen=True, slots=True)
class Simple:
    """A command with its arguments, or assignments alone.

    What is assigned to is a name, or in bash ``name[key]``, and with a ``+`` at its end it is added to. ``arrays`` are
    among the arguments of ``declare`` and ``local``.
    """

    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]
    first: int
    last: int
    arrays: tuple[tuple[str, Word], ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands that feed one another; ``negated`` by ``!``."""

    commands: tuple[Command, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class AndOr:
    """``left && right`` or ``left || right``."""

    left: Command
    operator: str
    right: Command


@dataclass(frozen=True, slots=True)
class Sequence:
    """Commands one after the other."""

    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class If:
    """Pairs of condition and body, and the ``else`` part."""

    branches: tuple[tuple[Command, Command], ...]
    otherwise: Command | None
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Loop:
    """``while`` (or ``until``) a condition; of ``for ((start; condition; step))`` also what comes first and after each
    turn."""

    condition: Command
    body: Command
    until: bool
    first: int
    last: int
    start: Command | None = None
    step: Command | None = None


@dataclass(frozen=True, slots=True)
class For:
    """``for name in words``; ``words`` is ``None`` for the positional parameters."""

    name: str
    words: tuple[Word, ...] | None
    body: Command
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Case:
    """``case word in pattern|pattern) body ;;``."""

    word: Word
    items: tuple[tuple[tuple[Word, ...], Command], ...]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Function:
    """``name() body``."""

    name: str
    body: Command


@dataclass(frozen=True, slots=True)
class Group:
    """``{ body; }`` or, as a ``subshell``, ``(body)``; any compound command with redirections is in one."""

    body: Command
    redirects: tuple[Redirect, ...]
    subshell: bool
    first: int
    last: int


Command: TypeAlias = Simple | Pipeline | AndOr | Sequence | If | Loop | For | Case | Function | Group

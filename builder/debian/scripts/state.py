"""What a shell knows while it evaluates a script, as one value: copied before a branch whose condition is not known,
and joined after it. What differs between the ways is not known from then on.

The tree is not in it: :class:`~builder.debian.scripts.target_system.TargetSystem` undoes what a way did to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from copy import copy
from dataclasses import dataclass, field, fields
from typing import TypeVar

from builder.debian.scripts.language.syntax import Command
from builder.debian.scripts.target_system import UNKNOWN

T = TypeVar("T")


@dataclass
class State:
    """The state of a shell.

    Attributes:
        arguments: the positional parameters; ``None`` if even their number is not known.
        directory: the current one; :data:`UNKNOWN` if that is not known.
        exit_on_error, no_glob: ``set -e`` and ``set -f``; ``None`` if not known.
        umask: bits that files do not get when they are made; ``None`` if not known.
        associative: arrays whose keys are texts.
        answers: to debconf's questions, by name; templates: the package's questions; asked: those until the next
            ``db_go``.
        input: what a command reads from its standard input, or ``None``.
        descriptors: what is still to be read from those above 2.
        frames: of each function we are in, what its local variables were before.
        unclear: functions, aliases and questions that are not the same on all ways that lead here.
    """

    variables: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Command] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    arguments: list[str] | None = field(default_factory=list)
    directory: str = "/"
    exit_on_error: bool | None = False
    no_glob: bool | None = False
    umask: int | None = 0o022
    associative: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)
    templates: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    input: str | None = None
    descriptors: dict[int, str] = field(default_factory=dict)
    frames: list[dict[str, str | None]] = field(default_factory=list)
    unclear: set[str] = field(default_factory=set)

    def copy(self) -> State:
        """The same, with containers of its own."""
        state = copy(self)
        for each in fields(self):
            setattr(state, each.name, _copied(getattr(self, each.name)))
        return state


def joined(states: Items[State]) -> State:
    """What is known after ways that end in these states."""
    first, *others = states
    both = first.copy()
    for other in others:
        both = _join(both, other)
    return both


def _join(one: State, other: State) -> State:
    unclear = one.unclear | other.unclear
    for ours, theirs in ((one.functions, other.functions), (one.aliases, other.aliases)):
        unclear |= {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    questions = one.templates.keys() | other.templates.keys() | set(one.asked) | set(other.asked)
    unclear |= {
        name
        for name in questions
        if one.templates.get(name) != other.templates.get(name) or (name in one.asked) != (name in other.asked)
    }
    return State(
        variables=_join_texts(one.variables, other.variables),
        functions={**other.functions, **one.functions},
        aliases={**other.aliases, **one.aliases},
        arguments=_join_arguments(one.arguments, other.arguments),
        directory=_same(one.directory, other.directory, UNKNOWN),
        exit_on_error=_same(one.exit_on_error, other.exit_on_error, None),
        no_glob=_same(one.no_glob, other.no_glob, None),
        umask=_same(one.umask, other.umask, None),
        associative=one.associative | other.associative,
        answers=_join_texts(one.answers, other.answers),
        templates={**other.templates, **one.templates},
        asked=list(dict.fromkeys((*one.asked, *other.asked))),
        input=_same(one.input, other.input, UNKNOWN),
        descriptors=_join_texts(one.descriptors, other.descriptors),
        frames=[_join_frames(*pair) for pair in zip(one.frames, other.frames, strict=True)],
        unclear=unclear,
    )


def _same(one: T, other: T, otherwise: T) -> T:
    return one if one == other else otherwise


K = TypeVar("K")


def _join_texts(one: Mapping[K, str], other: Mapping[K, str]) -> dict[K, str]:
    names = dict.fromkeys((*one, *other))
    return {name: one[name] if name in one and one[name] == other.get(name) else UNKNOWN for name in names}


def _join_frames(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> dict[str, str | None]:
    """A variable that is local on one way only may have either value when the function ends."""
    names = dict.fromkeys((*one, *other))
    return {n: one[n] if n in one and n in other and one[n] == other[n] else UNKNOWN for n in names}


def _join_arguments(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    if one is None or other is None or len(one) != len(other):
        return None
    return [_same(*pair, UNKNOWN) for pair in zip(one, other, strict=True)]


def _copied(value: object) -> object:
    if isinstance(value, list):
        return [dict(each) if isinstance(each, dict) else each for each in value]
    return copy(value)

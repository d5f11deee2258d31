"""What a shell knows while it evaluates a script, as one value: copied before a branch whose condition is not known,
and joined after it. What differs between the ways is not known from then on.

The files of the tree are not in it: a tree has a hundred thousand of them, so
:class:`~builder.debian.scripts.target_system.TargetSystem` keeps what a way changed, compares that and undoes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from copy import copy
from dataclasses import dataclass, field, fields
from typing import TypeVar

from builder.debian.scripts.language.syntax import Command
from builder.debian.scripts.machine_values import UNKNOWN

K = TypeVar("K")
T = TypeVar("T")


@dataclass
class Records:
    """What Debian's package system remembers from one script to the next.

    Attributes:
        answers: to debconf's questions, by name.
        templates: debconf's questions, by name.
        substitutions: texts for the variables of questions, by question and variable.
        flags: of questions, by question and flag.
        alternatives: what is offered, by name and path: the priority and the link.
    """

    answers: dict[str, str] = field(default_factory=dict)
    templates: dict[str, dict[str, str]] = field(default_factory=dict)
    substitutions: dict[tuple[str, str], str] = field(default_factory=dict)
    flags: dict[tuple[str, str], str] = field(default_factory=dict)
    alternatives: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def copy(self) -> Records:
        """The same, with containers of its own."""
        return Records(**{part.name: dict(getattr(self, part.name)) for part in fields(self)})

    def get_texts(self) -> dict[tuple[str, str], str]:
        """All that scripts set of debconf's questions: values, flags, and texts for their variables."""
        values = {(question, ""): answer for question, answer in self.answers.items()}
        variables = {(question, f"${name}"): text for (question, name), text in self.substitutions.items()}
        return {**values, **variables, **self.flags}

    def replace_by(self, other: Records) -> None:
        """Take over all that others know."""
        for part in fields(self):
            setattr(self, part.name, getattr(other, part.name))


@dataclass
class Shared:
    """What a process leaves to those after it, whatever becomes of its own state.

    Attributes:
        records: of the package system.
        asked: debconf's questions until the next ``db_go``.
        made: paths that the script itself wrote, which it sees whatever is hidden.
        unclear: ``("question", name)``, ``("alternative", name)`` and ``("path", path)`` that are not the same on all
            ways that lead here.
    """

    records: Records = field(default_factory=Records)
    asked: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    unclear: set[tuple[str, str]] = field(default_factory=set)

    def copy(self) -> Shared:
        """The same, with containers of its own."""
        return Shared(self.records.copy(), list(self.asked), set(self.made), set(self.unclear))


@dataclass
class State:
    """The state of a shell.

    Attributes:
        arguments: the positional parameters; ``None`` if even their number is not known.
        directory: the current one; :data:`UNKNOWN` if that is not known.
        exit_on_error, no_glob: ``set -e`` and ``set -f``; ``None`` if not known.
        umask: bits that files do not get when they are made; ``None`` if not known.
        owner: the numbers of the user and group who is at work; what they make is theirs.
        associative: arrays whose keys are texts.
        input: what a command reads from its standard input, or ``None``.
        descriptors: what is still to be read from those above 2.
        frames: of each function we are in, what its local variables were before.
        unclear: functions and aliases that are not the same on all ways that lead here.
    """

    variables: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Command] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    arguments: list[str] | None = field(default_factory=list)
    directory: str = "/"
    exit_on_error: bool | None = False
    no_glob: bool | None = False
    umask: int | None = 0o022
    owner: tuple[int, int] = (0, 0)
    associative: set[str] = field(default_factory=set)
    input: str | None = None
    descriptors: dict[int, str] = field(default_factory=dict)
    frames: list[dict[str, str | None]] = field(default_factory=list)
    unclear: set[str] = field(default_factory=set)
    shared: Shared = field(default_factory=Shared)

    def copy(self) -> State:
        """The same, with containers of its own."""
        state = copy(self)
        for part in fields(self):
            setattr(state, part.name, _copy(getattr(self, part.name)))
        return state

    def get_elements(self, name: str) -> list[tuple[str, str]]:
        """An array's keys and values, by number; a variable that is none is an array of one."""
        start = f"{name}["
        elements = [(key[len(start) : -1], value) for key, value in self.variables.items() if key.startswith(start)]
        if not elements and name in self.variables:
            return [("0", self.variables[name])]
        return elements if name in self.associative else sorted(elements, key=lambda item: int(item[0]))

    def unset(self, name: str) -> None:
        """Unset a variable, an array with all in it, or ``name[key]``."""
        for key in [key for key in self.variables if key == name or key.startswith(f"{name}[")]:
            del self.variables[key]

    def make_local(self, name: str, *, is_bash: bool) -> None:
        """Give a variable its value back when the function ends; until then dash lets it keep it, and bash does not."""
        if self.frames and name not in self.frames[-1]:
            self.frames[-1][name] = self.variables.get(name)
            self.frames[-1] |= {key: value for key, value in self.variables.items() if key.startswith(f"{name}[")}
            if is_bash:
                self.unset(name)

    def end_function(self) -> None:
        """Give local variables back the values that they had before."""
        frame = self.frames.pop()
        for name in frame:
            self.unset(name)
        self.restore(frame)

    def restore(self, values: Mapping[str, str | None]) -> None:
        """Set variables to what they were; ``None`` unsets one."""
        for name, value in values.items():
            if value is None:
                self.variables.pop(name, None)
            else:
                self.variables[name] = value


def join_states(states: Items[State]) -> State:
    """What is known after ways that end in these states. Files are as the last way left them."""
    first, *others = states
    both = first.copy()
    for other in others:
        both = _join(both, other)
    return both


def _join(one: State, other: State) -> State:
    unclear = one.unclear | other.unclear
    for ours, theirs in ((one.functions, other.functions), (one.aliases, other.aliases)):
        unclear |= {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    return State(
        variables=_join_texts(one.variables, other.variables),
        functions={**other.functions, **one.functions},
        aliases={**other.aliases, **one.aliases},
        arguments=_join_arguments(one.arguments, other.arguments),
        directory=_same(one.directory, other.directory, UNKNOWN),
        exit_on_error=_same(one.exit_on_error, other.exit_on_error, None),
        no_glob=_same(one.no_glob, other.no_glob, None),
        umask=_same(one.umask, other.umask, None),
        owner=one.owner,  # whose process it is, no branch can change
        associative=one.associative | other.associative,
        input=_same(one.input, other.input, UNKNOWN),
        descriptors=_join_texts(one.descriptors, other.descriptors),
        frames=[_join_frames(*pair) for pair in zip(one.frames, other.frames, strict=True)],
        unclear=unclear,
        shared=_join_shared(one.shared, other.shared),
    )


def _join_shared(one: Shared, other: Shared) -> Shared:
    ours, theirs = one.records, other.records
    questions = {*_differing(ours.templates, theirs.templates), *(set(one.asked) ^ set(other.asked))}
    offers = _differing(ours.alternatives, theirs.alternatives)
    return Shared(
        records=Records(
            answers=_join_texts(ours.answers, theirs.answers),
            templates={**theirs.templates, **ours.templates},
            substitutions=_join_texts(ours.substitutions, theirs.substitutions),
            flags=_join_texts(ours.flags, theirs.flags),
            alternatives={**theirs.alternatives, **ours.alternatives},
        ),
        asked=list(dict.fromkeys((*one.asked, *other.asked))),
        made=other.made,
        unclear=one.unclear
        | other.unclear
        | {("question", name) for name in questions}
        | {("alternative", name) for name, _ in offers},
    )


def _differing(one: Mapping[K, object], other: Mapping[K, object]) -> set[K]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _same(one: T, other: T, otherwise: T) -> T:
    return one if one == other else otherwise


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


def _copy(value: object) -> object:
    if isinstance(value, list):
        return [dict(item) if isinstance(item, dict) else item for item in value]
    return value.copy() if isinstance(value, Shared) else copy(value)

"""What a script does, as values: for the handlers that act on it, and for people."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EffectKind(enum.StrEnum):
    """The kinds of effects."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    MODE = "mode"
    OWNER = "owner"
    REMOVE = "remove"
    MOVE = "move"
    USER = "user"
    GROUP = "group"
    MEMBER = "member"
    ALTERNATIVE = "alternative"
    UNIT = "unit"
    OVERRIDE = "override"
    DIVERSION = "diversion"
    CAPABILITY = "capability"
    TRIGGER = "trigger"
    ANSWER = "answer"
    SHELL = "shell"
    CONFIGURATION = "configuration"
    BYTECODE = "bytecode"
    OWN_DATA = "own data"
    GENERATED = "generated"
    PROGRAM = "program"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Effect:
    """One thing that a script does.

    Attributes:
        name: what it is done to: a path, a user, a unit ...
        detail: the rest in words (``mode 0750``), or why it is dropped.
        data: what a handler needs, by kind: an alternative's ``(link, path, priority, (slave link, name, path) ...)``,
            a unit's ``("", "enable")``, an override's ``(user, group, mode)``, a diversion's ``(to, package)``,
            bytecode's modules, by path; a machine's own data: ``(command, paths, units)``; a program's
            ``(path, argument ...)``.
    """

    kind: EffectKind
    name: str
    detail: str = ""
    data: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{_VERBS[self.kind]} {self.name}" + (f" ({self.detail})" if self.detail else "")


_VERBS = {
    EffectKind.FILE: "writes",
    EffectKind.DIRECTORY: "makes the directory",
    EffectKind.LINK: "links",
    EffectKind.MODE: "sets the mode of",
    EffectKind.OWNER: "sets the owner of",
    EffectKind.REMOVE: "removes",
    EffectKind.MOVE: "moves",
    EffectKind.USER: "creates the user",
    EffectKind.GROUP: "creates the group",
    EffectKind.MEMBER: "adds to a group:",
    EffectKind.ALTERNATIVE: "offers the alternative",
    EffectKind.UNIT: "sets whether it starts at boot:",
    EffectKind.OVERRIDE: "overrides the owner and mode of",
    EffectKind.DIVERSION: "diverts",
    EffectKind.CAPABILITY: "gives capabilities to",
    EffectKind.TRIGGER: "activates the trigger",
    EffectKind.ANSWER: "remembers the answer to",
    EffectKind.SHELL: "adds the login shell",
    EffectKind.CONFIGURATION: "registers the configuration file",
    EffectKind.BYTECODE: "compiles Python modules of",
    EffectKind.OWN_DATA: "leaves to each machine:",
    EffectKind.GENERATED: "is answered by a handler:",
    EffectKind.PROGRAM: "runs, when all packages are in:",
    EffectKind.DROPPED: "is dropped:",
}


@dataclass(frozen=True)
class UnmodelledLines:
    """Lines of a script that build-os does not model: from ``first`` to ``last``, their text, and what is not known."""

    first: int
    last: int
    text: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What a script does.

    Attributes:
        effects: in order; they are made in the tree already.
        unmodelled: lines that build-os does not model; empty for a script that is understood.
    """

    package: str
    script: str
    effects: tuple[Effect, ...]
    unmodelled: tuple[UnmodelledLines, ...]

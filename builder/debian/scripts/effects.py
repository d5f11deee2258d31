"""What a script does, as values: for the handlers that act on it, and for people."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Does(enum.StrEnum):
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

    does: Does
    name: str
    detail: str = ""
    data: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{_VERBS[self.does]} {self.name}" + (f" ({self.detail})" if self.detail else "")


_VERBS = {
    Does.FILE: "writes",
    Does.DIRECTORY: "makes the directory",
    Does.LINK: "links",
    Does.MODE: "sets the mode of",
    Does.OWNER: "sets the owner of",
    Does.REMOVE: "removes",
    Does.MOVE: "moves",
    Does.USER: "creates the user",
    Does.GROUP: "creates the group",
    Does.MEMBER: "adds to a group:",
    Does.ALTERNATIVE: "offers the alternative",
    Does.UNIT: "sets whether it starts at boot:",
    Does.OVERRIDE: "overrides the owner and mode of",
    Does.DIVERSION: "diverts",
    Does.CAPABILITY: "gives capabilities to",
    Does.TRIGGER: "activates the trigger",
    Does.ANSWER: "remembers the answer to",
    Does.SHELL: "adds the login shell",
    Does.CONFIGURATION: "registers the configuration file",
    Does.BYTECODE: "compiles Python modules of",
    Does.OWN_DATA: "leaves to each machine:",
    Does.GENERATED: "is answered by a handler:",
    Does.PROGRAM: "runs, when all packages are in:",
    Does.DROPPED: "is dropped:",
}


@dataclass(frozen=True)
class Unaccounted:
    """Lines of a script that nobody speaks for: from ``first`` to ``last``, their text, and what is not known."""

    first: int
    last: int
    text: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What a script does.

    Attributes:
        effects: in order; they are made in the tree already.
        unaccounted: what nobody speaks for; empty for a script that is understood.
    """

    package: str
    script: str
    effects: tuple[Effect, ...]
    unaccounted: tuple[Unaccounted, ...]

"""A process of a script: its parameters, where it works, and what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from builder.debian.scripts.language.control_flow import Status, TooLong
from builder.debian.scripts.state import Records, State
from builder.debian.scripts.target_system import UNKNOWN, NotModelled, TargetSystem, join_path

MAX_VALUE = 1 << 20  # characters; a variable that is doubled in a loop would fill the memory


class Process:
    """A process.

    Attributes:
        system: what it works on.
        name: ``$0``.
        status: of the last command.
    """

    def __init__(self, system: TargetSystem, name: str, state: State) -> None:
        self.system = system
        self.name = name
        self.state = state
        self.status: Status = 0
        self._out: list[list[str]] = []

    @property
    def state(self) -> State:
        """What differs from one way to another; the system that it works on needs it, too."""
        return self.system.state

    @state.setter
    def state(self, state: State) -> None:
        self.system.state = state

    @property
    def records(self) -> Records:
        """What the package system remembers."""
        return self.state.shared.records

    def say(self, text: str) -> None:
        """Write to the standard output."""
        if self._out:
            self._out[-1].append(text)

    def get_value(self, name: str) -> str | None:
        """A parameter's value, or ``None`` if it is not set."""
        if name.isdigit():
            number = int(name)
            if number == 0:
                return self.name
            if self.state.arguments is None:
                return UNKNOWN
            return self.state.arguments[number - 1] if number <= len(self.state.arguments) else None
        match name:
            case "#":
                return UNKNOWN if self.state.arguments is None else str(len(self.state.arguments))
            case "?":
                return UNKNOWN if self.status is None else str(self.status)
            case "@" | "*":
                return " ".join(self.get_arguments()) if self.state.arguments != [] else None
            case "$" | "!":
                return UNKNOWN
            case "-":
                return ""
            case _:
                return self.state.variables.get(name, self.state.variables.get(f"{name}[0]"))

    def get_arguments(self) -> list[str]:
        """The positional parameters; one that is not known, if not even their number is."""
        return [UNKNOWN] if self.state.arguments is None else self.state.arguments

    def assign(self, name: str, value: str) -> None:
        """Set a variable."""
        if len(value) > MAX_VALUE:
            raise TooLong
        self.state.variables[name] = value

    def get_elements(self, name: str) -> list[tuple[str, str]]:
        """An array's keys and values."""
        return self.state.get_elements(name)

    def resolve_path(self, argument: str) -> str:
        """An argument as an absolute path."""
        if UNKNOWN in argument:
            raise NotModelled("a path that is not known")
        if self.state.directory == UNKNOWN and not argument.startswith("/"):
            raise NotModelled("in which directory this happens depends on what only a running machine knows")
        return join_path(self.state.directory, argument)

    @contextmanager
    def capture_output(self) -> Iterator[list[str]]:
        """What is written inside, as a list of texts."""
        out: list[str] = []
        self._out.append(out)
        try:
            yield out
        finally:
            self._out.pop()

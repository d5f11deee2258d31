"""Errors as the person whose build just broke needs them: what, where, and what to try.

Only :mod:`builder.cli` exits. Every other module raises one of these; anything else that reaches the
command line is a bug and prints a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class BuildError(Exception):
    """A failure that is not a bug in build-os.

    Attributes:
        what: one sentence in the user's words.
        details: further lines (a program's last output, the candidates considered ...).
        hint: what to try, or ``None``.
        exit_code: the process's exit status for this kind of failure (see ``docs/exit-codes.md``).
    """

    exit_code = 1

    def __init__(self, what: str, *, details: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.details = tuple(details)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what, *(f"  {line}" for line in self.details)]
        if self.hint:
            lines.append(f"  = {self.hint}")
        return "\n".join(lines)


class InputError(BuildError):
    """What the user gave cannot be built: a definition, a lock, a first-boot config, a command line.

    Attributes:
        names: of a definition, that are wrong: name -> what is wrong with it.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        details: Sequence[str] = (),
        hint: str | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what, details=details, hint=hint)
        self.names = dict(names or {})


class CapabilityError(BuildError):
    """This machine lacks something: a tool, user namespaces, disk space, a usable mirror setting."""

    exit_code = 3


class ToolError(BuildError):
    """A program in the tools tree failed."""

    exit_code = 4


class VmError(BuildError):
    """A virtual machine did not do what was asked of it."""

    exit_code = 5


class SourceError(BuildError):
    """Something could not be downloaded, or is not what its hash or signature promised."""

    exit_code = 6


class DifferenceError(BuildError):
    """Two builds of the same inputs are not the same."""

    exit_code = 7

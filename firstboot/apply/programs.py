"""The guest's door to other programs: argument lists only, a fixed environment, output kept for the error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from firstboot.config.lazy import import_lazily
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path, Problem

if TYPE_CHECKING:
    import subprocess
else:
    subprocess = import_lazily("subprocess")

_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT_SECONDS = 120  # a program that hangs must not hang the boot
_SECRET_OPTIONS = {"--password"}


class ProgramError(Exception):
    """A program is missing, failed or took too long. ``details`` are its last lines of output."""

    def __init__(self, what: str, details: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.details = tuple(details)

    def __str__(self) -> str:
        return "\n".join([str(self.args[0]), *(f"  {line}" for line in self.details)])


def redact_command(argv: Sequence[str]) -> str:
    """A command as it may be logged: without password hashes."""
    words = list(argv)
    for index, word in enumerate(words[:-1]):
        if word in _SECRET_OPTIONS:
            words[index + 1] = "(not shown)"
    return " ".join(words)


def explain_missing(program: str, at: Path, hint: str | None = None) -> Problem:
    """What is said before anything is done, where a program is missing."""
    return Problem(at, f"needs the program {program}, which is not in the image", hint)


class Programs(NamedTuple):
    """Starts programs by name.

    A name ``useradd`` is looked up as ``$FIRSTBOOT_USERADD``, then on ``PATH``, then where administrators'
    programs are: tests and conformance runners put their own in place.
    """

    def find(self, name: str) -> str | None:
        """The path of a program, or ``None``."""
        chosen = os.environ.get(f"FIRSTBOOT_{name.upper().replace('-', '_')}")
        if chosen:
            return chosen if os.access(chosen, os.X_OK) else None
        for directory in f"{os.environ.get('PATH', '')}:{_SEARCH}".split(":"):
            path = f"{directory}/{name}"
            if directory and os.access(path, os.X_OK):
                return path
        return None

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> str:
        """Run a program to its end and return its standard output.

        Raises:
            ProgramError
        """
        status, output = self.run_for_status(argv, stdin)
        if status != 0:
            lines = [line for line in output.splitlines() if line.strip()][-10:]
            raise ProgramError(f"{argv[0]} failed with status {status}: {redact_command(argv)}", lines)
        return output

    def run_for_status(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, str]:
        """Run a program and return its exit status and its output, standard error included.

        Raises:
            ProgramError: it is missing or took longer than :data:`TIMEOUT_SECONDS`.
        """
        path = self.find(argv[0])
        if path is None:
            raise ProgramError(f"the program {argv[0]} is not in the image")
        # mdadm makes its own links: in the initrd udev has no rules for it.
        environment = {"PATH": _SEARCH, "LANG": "C.UTF-8", "SYSTEMD_OFFLINE": "1", "MDADM_NO_UDEV": "1"}
        if not os.access("/tmp", os.W_OK):  # the initrd's root is the image's, where nobody has mounted one
            environment["TMPDIR"] = "/run"
        try:
            done = subprocess.run(
                [path, *argv[1:]],
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{argv[0]} took longer than {TIMEOUT_SECONDS} s: {redact_command(argv)}") from None
        except OSError as error:
            raise ProgramError(f"{argv[0]} cannot be started: {error.strerror}") from None
        return done.returncode, done.stdout.decode("utf-8", "replace")

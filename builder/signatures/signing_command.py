"""Private keys that are kept elsewhere, in a token, an HSM, a service: a program of the user's signs with them."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from builder.core.errors import InputError

SECONDS = 300.0  # somebody may have to touch a token
MAX_SIGNATURE = 16 << 10


@dataclass(frozen=True)
class SigningCommand:
    """A command line: its words, in which ``{file}`` and other names in braces are filled in.

    It writes the signature of the file, as it is, to standard output.
    """

    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """As a shell would have it, which :func:`parse_signing_command` reads."""
        return shlex.join(self.words)

    def sign(self, payload: bytes, purpose: str, values: Mapping[str, str]) -> bytes:
        """A signature of some bytes, as the program gives it.

        Args:
            purpose: what is signed, for people.
            values: name in braces -> what is put there; ``{file}`` has the bytes.

        Raises:
            InputError: the program is not there, fails, or takes too long.
        """
        with tempfile.NamedTemporaryFile(prefix="build-os-sign-") as file:
            file.write(payload)
            file.flush()
            names = {"{file}": file.name, **values}
            argv = [_fill_in(word, names) for word in self.words]
            try:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=SECONDS, check=False
                )
            except OSError as error:
                raise InputError(f"cannot start the signing command {argv[0]}: {error.strerror}") from error
            except subprocess.TimeoutExpired:
                raise InputError(f"the signing command took longer than {SECONDS:.0f} s") from None
        if done.returncode != 0 or not 0 < len(done.stdout) <= MAX_SIGNATURE:
            raise InputError(
                f"the signing command has signed nothing for {purpose}",
                details=[shlex.join(argv), f"status {done.returncode}, {len(done.stdout)} bytes"],
            )
        return done.stdout


def parse_signing_command(text: str) -> SigningCommand:
    """The words of a command line; no shell looks at it.

    Raises:
        InputError: it cannot be split, or names no file to sign.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"the signing command cannot be split into words: {error}") from error
    if not any("{file}" in word for word in words):
        raise InputError("the signing command does not say {file}, which is what it is to sign")
    return SigningCommand(words)


def _fill_in(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word

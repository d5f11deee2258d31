"""Keys that are kept elsewhere, in a token, an HSM, a service: a program of the publisher's signs with them."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.exceptions import Error as SecuresystemsError
from securesystemslib.signer import Key, Signature, Signer, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from builder.core.errors import InputError

SECONDS = 300.0  # somebody may have to touch a token
MAX_SIGNATURE = 16 << 10
_MAX_KEY = 64 << 10


@dataclass(frozen=True)
class SigningCommand:
    """A command line: its words, in which ``{file}``, ``{role}``, ``{key}`` and ``{scheme}`` are filled in.

    It writes the signature of the file, as it is, to standard output: of Ed25519 64 bytes, of ECDSA in DER, of RSA by
    PSS with SHA-256.
    """

    words: tuple[str, ...]

    def sign(self, payload: bytes, role: str, key: Key) -> bytes:
        """The signature of a role's metadata.

        Raises:
            InputError: the program is not there, fails, or takes too long.
        """
        with tempfile.NamedTemporaryFile(prefix="build-os-sign-") as file:
            file.write(payload)
            file.flush()
            values = {"{file}": file.name, "{role}": role, "{key}": key.keyid, "{scheme}": key.scheme}
            argv = [_fill_in(word, values) for word in self.words]
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
                f"the signing command has signed nothing for {role}",
                details=[shlex.join(argv), f"status {done.returncode}, {len(done.stdout)} bytes"],
            )
        return done.stdout


class CommandSigner(Signer):
    """Signs by a command, for a role, with the key that the root names."""

    def __init__(self, command: SigningCommand, role: str, key: Key) -> None:
        self._command = command
        self._role = role
        self._key = key

    @property
    def public_key(self) -> Key:
        """What the root says of the key."""
        return self._key

    @classmethod
    def from_priv_key_uri(cls, *_: object, **__: object) -> Signer:
        """Nothing is named by a URI here."""
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        """Have it signed.

        Raises:
            InputError: it was not, or not with this key.
        """
        signature = Signature(self._key.keyid, self._command.sign(payload, self._role, self._key).hex())
        try:
            self._key.verify_signature(signature, payload)
        except SecuresystemsError as error:
            raise InputError(
                f"what the signing command wrote is no signature of the key that signs {self._role}",
                details=[f"the root accepts the key {self._key.keyid}, {self._key.scheme}"],
            ) from error
        return signature


def add_signature(metadata: Metadata[Any], signer: Signer) -> None:
    """Sign metadata, beside the signatures that are there.

    Raises:
        InputError: see :meth:`CommandSigner.sign`.
    """
    try:
        metadata.sign(signer, append=True)
    except UnsignedMetadataError as error:
        # python-tuf puts what went wrong into one of its own.
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


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


def read_public_key(path: Path) -> Key:
    """A public key in PEM.

    Raises:
        InputError: it cannot be read, or is of another kind.
    """
    try:
        with path.open("rb") as file:
            return SSlibKey.from_crypto(load_pem_public_key(file.read(_MAX_KEY)))
    except OSError as error:
        raise InputError(f"cannot read the public key {path}: {error.strerror}") from error
    except (ValueError, SecuresystemsError) as error:
        raise InputError(
            f"{path} is no public key that verifies updates", hint="those are Ed25519, RSA or ECDSA with P-256, in PEM"
        ) from error


def _fill_in(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word

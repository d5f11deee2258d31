"""Keys of TUF's roles that are kept elsewhere, by :mod:`builder.signatures.signing_command`.

A signature of Ed25519 has 64 bytes, one of ECDSA is in DER, one of RSA is by PSS with SHA-256.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.exceptions import Error as SecuresystemsError
from securesystemslib.signer import Key, Signature, Signer, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from builder.core.errors import InputError
from builder.signatures.signing_command import SigningCommand

_MAX_KEY = 64 << 10


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
        values = {"{role}": self._role, "{key}": self._key.keyid, "{scheme}": self._key.scheme}
        signature = Signature(self._key.keyid, self._command.sign(payload, self._role, values).hex())
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

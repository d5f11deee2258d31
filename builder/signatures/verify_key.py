"""What every kind of key can do, and what is said of one that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class SignatureRefused(Exception):
    """A signature is none of this key over these bytes; the message says what was found instead."""


class VerifyKey(Protocol):
    """What can tell whether a signature was made with the key's private half."""

    @property
    def fingerprint(self) -> str:
        """Which key it is, as those who use keys of its kind name one."""

    @property
    def kind(self) -> str:
        """What such keys are called: ``minisign key``, ``OpenPGP certificate``, ``ECDSA key``."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What is usually appended to a file's name to make that of its signature, the likeliest first."""

    def verify(self, message: bytes | Path, signature: bytes) -> None:
        """Do nothing if the signature is this key's over the message.

        Args:
            message: the bytes, or the file that has them.
            signature: as it stands in a file of its own.

        Raises:
            SignatureRefused: it is not.
            OSError: the file cannot be read.
        """


class KeyFileError(Exception):
    """A file is no public key that can be used; the message completes "the key FILE ..."."""

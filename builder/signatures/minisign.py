"""minisign: Ed25519 over a file's BLAKE2b-512, or over the file itself in signatures of old versions.

Source: https://jedisct1.github.io/minisign/, "Signature format" and "Public key format".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from builder.signatures.verify_key import KeyFileError, SignatureRefused

COMMENT = b"untrusted comment:"
TRUSTED = b"trusted comment: "
PLAIN, HASHED = b"Ed", b"ED"
KEY_SIZE, SIGNATURE_SIZE = 42, 74  # algorithm 2, number of the key 8, then the key 32 or the signature 64


@dataclass(frozen=True)
class MinisignKey:
    """A public key of minisign's: its number and Ed25519's 32 bytes."""

    number: bytes
    key: bytes

    @property
    def fingerprint(self) -> str:
        """The key's number as minisign prints it: 16 hexadecimal digits."""
        return self.number[::-1].hex().upper()

    @property
    def kind(self) -> str:
        """What such keys are called."""
        return "minisign key"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What ``minisign -S`` appends."""
        return (".minisig",)

    def verify(self, message: bytes | Path, signature: bytes) -> None:
        """See :class:`builder.signatures.verify_key.VerifyKey`. The trusted comment must be signed as well."""
        algorithm, number, own, comment, outer = _parse_signature(signature)
        if number != self.number:
            raise SignatureRefused(f"it is signed by the minisign key {number[::-1].hex().upper()}")
        key = Ed25519PublicKey.from_public_bytes(self.key)
        try:
            key.verify(own, _hash(message) if algorithm == HASHED else _read(message))
            key.verify(outer, own + comment)
        except InvalidSignature as error:
            raise SignatureRefused(f"the signature is not by the minisign key {self.fingerprint}") from error


def is_minisign_key(data: bytes) -> bool:
    """Whether this looks like a file that ``minisign -G`` wrote, or the one line of base64 that people hand on."""
    first, _, rest = data.partition(b"\n")
    line = rest.strip() if first.startswith(COMMENT) else first.strip()
    return first.startswith(COMMENT) or (len(line) == 56 and line.startswith(b"RW"))


def parse_minisign_key(data: bytes) -> MinisignKey:
    """A public key: two lines, or the second alone.

    Raises:
        KeyFileError: it is damaged.
    """
    lines = [line.strip() for line in data.splitlines() if line.strip() and not line.startswith(COMMENT)]
    try:
        raw = base64.b64decode(lines[0], validate=True) if len(lines) == 1 else b""
    except binascii.Error:
        raw = b""
    if len(raw) != KEY_SIZE or raw[:2] != PLAIN:
        raise KeyFileError("looks like minisign's and is damaged: its second line must be 42 bytes in base64")
    return MinisignKey(raw[2:10], raw[10:])


def _parse_signature(data: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Algorithm, the key's number, the file's signature, the trusted comment, the signature of both."""
    lines = data.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    try:
        head, own, comment, outer = lines
        raw, last = base64.b64decode(own, validate=True), base64.b64decode(outer, validate=True)
    except (ValueError, binascii.Error):
        head, comment, raw, last = b"", b"", b"", b""
    if (
        not head.startswith(COMMENT)
        or not comment.startswith(TRUSTED)
        or len(raw) != SIGNATURE_SIZE
        or raw[:2] not in (PLAIN, HASHED)
        or len(last) != 64
    ):
        raise SignatureRefused("it is no signature of minisign's (four lines, as in FILE.minisig)")
    return raw[:2], raw[2:10], raw[10:], comment.removeprefix(TRUSTED), last


def _hash(message: bytes | Path) -> bytes:
    digest = hashlib.blake2b()
    if isinstance(message, bytes):
        digest.update(message)
        return digest.digest()
    with message.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.digest()


def _read(message: bytes | Path) -> bytes:
    return message.read_bytes() if isinstance(message, Path) else message

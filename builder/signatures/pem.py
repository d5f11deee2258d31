"""Public keys in PEM and bare signatures, as ``cosign sign-blob`` and ``openssl dgst -sign`` make them.

ECDSA and RSA (PKCS #1 v1.5) over SHA-256, or Ed25519 over the bytes themselves. A signature file holds the signature
itself or its base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from builder.signatures.verify_key import KeyFileError, SignatureRefused

MIN_RSA = 2048  # bits: NIST SP 800-131A
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True)
class PemKey:
    """A public key as SubjectPublicKeyInfo."""

    key: PublicKey

    @property
    def fingerprint(self) -> str:
        """``SHA256:HEX`` of the key in DER."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"SHA256:{hashlib.sha256(der).hexdigest()}"

    @property
    def kind(self) -> str:
        """By the algorithm."""
        if isinstance(self.key, ec.EllipticCurvePublicKey):
            return "ECDSA key"
        return "RSA key" if isinstance(self.key, rsa.RSAPublicKey) else "Ed25519 key"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What cosign's users write."""
        return (".sig",)

    def verify(self, message: bytes | Path, signature: bytes) -> None:
        """See :class:`builder.signatures.verify_key.VerifyKey`."""
        for candidate in _candidates(signature):
            try:
                self._verify(message, candidate)
            except InvalidSignature:
                continue
            return
        raise SignatureRefused(f"the signature is not by the {self.kind} {self.fingerprint} over these bytes")

    def _verify(self, message: bytes | Path, signature: bytes) -> None:
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            self.key.verify(signature, message.read_bytes() if isinstance(message, Path) else message)
            return
        digest = _hash(message)
        if isinstance(self.key, rsa.RSAPublicKey):
            self.key.verify(signature, digest, padding.PKCS1v15(), Prehashed(SHA256()))
        else:
            self.key.verify(signature, digest, ec.ECDSA(Prehashed(SHA256())))


def parse_pem_key(data: bytes) -> PemKey:
    """A public key in PEM.

    Raises:
        KeyFileError: it is damaged, or of a kind that signs nothing here.
    """
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"is no public key that can be read: {str(error).splitlines()[0][:120]}") from error
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA:
        raise KeyFileError(f"is an RSA key of {key.key_size} bits; {MIN_RSA} are the least that can be trusted")
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, CURVES):
        raise KeyFileError(f"is on the curve {key.curve.name}; P-256, P-384 and P-521 are known")
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise KeyFileError("is a key that makes no signatures known here; ECDSA, RSA and Ed25519 do")
    return PemKey(key)


@dataclass(frozen=True)
class SigningKey:
    """A private key."""

    key: PrivateKey = field(repr=False)

    @property
    def public(self) -> PemKey:
        """What verifies."""
        return PemKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """The signature that :class:`PemKey` verifies: bare, not base64."""
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(message, ec.ECDSA(SHA256()))
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), SHA256())
        return self.key.sign(message)


def parse_private_key(data: bytes, password: bytes | None = None) -> SigningKey:
    """A private key in PEM.

    Args:
        password: of an encrypted one; one that is not encrypted needs none.

    Raises:
        KeyFileError: it is none, of a kind that signs nothing here, or of another password.
    """
    try:
        key = load_pem_private_key(data, password if b"ENCRYPTED" in data else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"is no private key that can be read: {str(error).splitlines()[0][:120]}") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES):
        return SigningKey(key)
    if isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        return SigningKey(key)
    raise KeyFileError("is of a kind that signs nothing here; ECDSA, RSA and Ed25519 do")


def make_ed25519_pair() -> tuple[bytes, bytes]:
    """A new private key in PEM (PKCS #8), and its public half."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _hash(message: bytes | Path) -> bytes:
    if isinstance(message, bytes):
        return hashlib.sha256(message).digest()
    with message.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _candidates(signature: bytes) -> list[bytes]:
    """What the bytes of a signature file may mean."""
    try:
        return [base64.b64decode(b"".join(signature.split()), validate=True), signature]
    except binascii.Error:
        return [signature]

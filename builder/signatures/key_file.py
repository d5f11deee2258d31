"""A file with a public key, of whichever kind it is.

Which kind is told by the file itself: ``-----BEGIN PUBLIC KEY-----`` (RFC 7468, what ``cosign generate-key-pair`` and
openssl write), minisign's two lines, or an OpenPGP certificate (RFC 9580), armored or not. A private key is refused:
it has no business beside a definition.
"""

from __future__ import annotations

from pathlib import Path

from builder.core.files import read_bounded
from builder.signatures.verify_key import KeyFileError, VerifyKey

MAX_KEY = 1 << 20  # bytes of a key file; a certificate with many signatures has some 100 KB


def read_verify_key(path: Path) -> VerifyKey:
    """The key of a file.

    Raises:
        KeyFileError: it cannot be read, or is no public key of a known kind.
    """
    try:
        data = read_bounded(path, MAX_KEY)
    except OSError as error:
        raise KeyFileError(f"cannot be read: {error.strerror}") from error
    return parse_verify_key(data)


def parse_verify_key(data: bytes) -> VerifyKey:
    """The key in these bytes.

    Raises:
        KeyFileError: they are no public key of a known kind.
    """
    # Here: a definition without signatures needs neither library.
    from builder.signatures.minisign import is_minisign_key, parse_minisign_key  # noqa: PLC0415
    from builder.signatures.openpgp import parse_openpgp_key  # noqa: PLC0415
    from builder.signatures.pem import parse_pem_key  # noqa: PLC0415

    text = data.lstrip()
    if b"PRIVATE KEY" in text or text.startswith(b"untrusted comment: minisign encrypted secret key"):
        raise KeyFileError("is a private key; name the public one, and keep this where only you can read it")
    if text.startswith(b"-----BEGIN PUBLIC KEY-----"):
        return parse_pem_key(text)
    if text.startswith(b"-----BEGIN CERTIFICATE-----"):
        raise KeyFileError("is a certificate; 'openssl x509 -pubkey -noout' writes the public key that is in it")
    if is_minisign_key(text):
        return parse_minisign_key(text)
    if text.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----") or (data[:1] and data[0] & 0x80):
        return parse_openpgp_key(data)
    raise KeyFileError("is no public key: not PEM (BEGIN PUBLIC KEY), not minisign's, not an OpenPGP certificate")

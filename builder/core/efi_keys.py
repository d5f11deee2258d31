"""Keys of UEFI Secure Boot as firmware keeps them (UEFI 2.10, chapter 32): lists of certificates, in variables."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from builder.core.errors import InputError
from update.efi import APPEND_WRITE, KEY_ATTRIBUTES, SECURITY_DATABASE, SHA256, X509, find_element

_GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")  # EFI_GLOBAL_VARIABLE
_PKCS7 = uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")  # EFI_CERT_TYPE_PKCS7_GUID
# Who may replace the keys, who may change what is trusted, whose programs are started. The first ends setup mode, so
# it is enrolled last.
KEY_VARIABLES: Mapping[str, uuid.UUID] = {"db": SECURITY_DATABASE, "KEK": _GLOBAL, "PK": _GLOBAL}
REVOKED = "dbx"  # what firmware does not start, whoever signed it

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.S)
_SEQUENCE = 0x30
MAX_CERTIFICATE = 1 << 20


def read_certificate(path: Path) -> bytes:
    """The first certificate of a file in PEM or DER, as DER.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CERTIFICATE)
    except OSError as error:
        raise InputError(f"cannot read the certificate {path}: {error.strerror}") from error
    if block := _PEM.search(data):
        try:
            data = base64.b64decode(b"".join(block[1].split()), validate=True)
        except binascii.Error:
            data = b""
    if not _is_one_sequence(data):
        raise InputError(f"{path} is no certificate in PEM or DER", hint="'build-os key DIR' makes a pair")
    return data


def make_fingerprint(certificate: bytes) -> str:
    """What people call a certificate (DER) by: its SHA-256."""
    return hashlib.sha256(certificate).hexdigest()


def make_signature_list(certificate: bytes) -> bytes:
    """``EFI_SIGNATURE_LIST`` with one certificate. The owner is a name without a meaning; ours follows from it."""
    owner = uuid.UUID(bytes=hashlib.sha256(certificate).digest()[:16])
    entry = owner.bytes_le + certificate
    return X509.bytes_le + struct.pack("<III", 28 + len(entry), 0, len(entry)) + entry


def make_hash_list(digests: Iterable[bytes]) -> bytes:
    """``EFI_SIGNATURE_LIST`` of programs, by the SHA-256 that :func:`builder.core.pe.hash_program` computes."""
    entries = b"".join(bytes(16) + digest for digest in digests)
    return SHA256.bytes_le + struct.pack("<III", 28 + len(entries), 0, 16 + 32) + entries


def make_signed_update(
    name: str, content: bytes, epoch: int, sign: Callable[[bytes], bytes], *, append: bool = False
) -> bytes:
    """What firmware takes as a new value of a variable (``EFI_VARIABLE_AUTHENTICATION_2``): a ``.auth`` file.

    Args:
        name: of :data:`KEY_VARIABLES`, or :data:`REVOKED`.
        append: it is put beside what the variable has. Who writes it says so, too.
        epoch: seconds since 1970; firmware takes no update that is older than the last one.
        sign: makes the ``SignedData`` (PKCS #7, DER) of what it is given, detached and without attributes. The
            specification wants it bare.
    """
    year, month, day, hour, minute, second, *_ = time.gmtime(epoch)
    stamp = struct.pack("<HBBBBBxIhBx", year, month, day, hour, minute, second, 0, 0, 0)
    vendor = SECURITY_DATABASE if name == REVOKED else KEY_VARIABLES[name]
    attributes = KEY_ATTRIBUTES | (APPEND_WRITE if append else 0)
    what = name.encode("utf-16-le") + vendor.bytes_le + struct.pack("<I", attributes) + stamp + content
    signature = sign(what)
    revision, kind = 0x0200, 0x0EF1  # WIN_CERT_TYPE_EFI_GUID
    head = struct.pack("<IHH", 24 + len(signature), revision, kind) + _PKCS7.bytes_le
    return stamp + head + signature + content


def _is_one_sequence(data: bytes) -> bool:
    try:
        start, size = find_element(data, 0)
    except IndexError:
        return False
    return data[0] == _SEQUENCE and start + size == len(data)

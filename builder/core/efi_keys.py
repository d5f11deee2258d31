"""Keys of UEFI Secure Boot as firmware keeps them (UEFI 2.10, chapter 32): lists of certificates, in variables."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from builder.core.errors import InputError

_GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")  # EFI_GLOBAL_VARIABLE
_SECURITY_DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")  # EFI_IMAGE_SECURITY_DATABASE_GUID
_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")  # EFI_CERT_X509_GUID
_PKCS7 = uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")  # EFI_CERT_TYPE_PKCS7_GUID
# Who may replace the keys, who may change what is trusted, whose programs are started. The first ends setup mode, so
# it is enrolled last.
KEY_VARIABLES: Mapping[str, uuid.UUID] = {"db": _SECURITY_DATABASE, "KEK": _GLOBAL, "PK": _GLOBAL}
# EFI_VARIABLE_NON_VOLATILE, _BOOTSERVICE_ACCESS, _RUNTIME_ACCESS, _TIME_BASED_AUTHENTICATED_WRITE_ACCESS
KEY_ATTRIBUTES = 0x27

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
    return _X509.bytes_le + struct.pack("<III", 28 + len(entry), 0, len(entry)) + entry


def make_signed_update(name: str, content: bytes, epoch: int, sign: Callable[[bytes], bytes]) -> bytes:
    """What firmware takes as a new value of a variable (``EFI_VARIABLE_AUTHENTICATION_2``): a ``.auth`` file.

    Args:
        name: of :data:`KEY_VARIABLES`.
        epoch: seconds since 1970; firmware takes no update that is older than the last one.
        sign: makes a detached PKCS #7 signature without attributes, in DER, of what it is given.
    """
    year, month, day, hour, minute, second, *_ = time.gmtime(epoch)
    stamp = struct.pack("<HBBBBBxIhBx", year, month, day, hour, minute, second, 0, 0, 0)
    vendor = KEY_VARIABLES[name]
    what = name.encode("utf-16-le") + vendor.bytes_le + struct.pack("<I", KEY_ATTRIBUTES) + stamp + content
    signature = _signed_data(sign(what))
    revision, kind = 0x0200, 0x0EF1  # WIN_CERT_TYPE_EFI_GUID
    head = struct.pack("<IHH", 24 + len(signature), revision, kind) + _PKCS7.bytes_le
    return stamp + head + signature + content


def _signed_data(content_info: bytes) -> bytes:
    """The ``SignedData`` inside of a ``ContentInfo`` (RFC 2315, 7): the specification wants it bare."""
    start, _ = _element(content_info, 0)
    kind_start, kind_size = _element(content_info, start)
    inner, size = _element(content_info, kind_start + kind_size)
    return content_info[inner : inner + size]


def _element(data: bytes, at: int) -> tuple[int, int]:
    """(where its content begins, how long that is) of the DER element at an offset (X.690, 8.1).

    Raises:
        IndexError: it is cut short.
    """
    first = data[at + 1]
    if first < 0x80:
        return at + 2, first
    count = first & 0x7F
    end = at + 2 + count
    if end > len(data):
        raise IndexError(at)
    return end, int.from_bytes(data[at + 2 : end], "big")


def _is_one_sequence(data: bytes) -> bool:
    try:
        start, size = _element(data, 0)
    except IndexError:
        return False
    return data[0] == _SEQUENCE and start + size == len(data)

"""What firmware knows programs by, and what it is told of them (UEFI 2.10, chapter 32), read and computed."""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterable, Iterator
from mmap import mmap

from firstboot.config.named_tuple import NamedTuple

X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")  # EFI_CERT_X509_GUID
SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328")  # EFI_CERT_SHA256_GUID
SECURITY_DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")  # EFI_IMAGE_SECURITY_DATABASE_GUID
# EFI_VARIABLE_NON_VOLATILE, _BOOTSERVICE_ACCESS, _RUNTIME_ACCESS, _TIME_BASED_AUTHENTICATED_WRITE_ACCESS
KEY_ATTRIBUTES = 0x27
APPEND_WRITE = 0x40  # EFI_VARIABLE_APPEND_WRITE: beside what is there
_TIME, _HEAD = 16, 28
_VERSION = 0xA0  # [0], of a certificate


class Entry(NamedTuple):
    """One entry of a list: a certificate in DER, or the hash of a program.

    Attributes:
        kind: :data:`X509` or :data:`SHA256`, or another that firmware may know.
    """

    kind: uuid.UUID
    data: bytes


Program = bytes | mmap


def hash_program(program: Program) -> bytes:
    """What firmware measures of a program, and what is signed of it: all but its checksum and its signature.

    Source: "Windows Authenticode Portable Executable Signature Format", for SHA-256.

    Raises:
        ValueError: it is no program.
    """
    try:
        checksum, entry = find_signature_fields(program)
        start, size = struct.unpack_from("<II", program, entry)
    except struct.error:
        raise ValueError("it is no EFI program") from None
    end = start if size else len(program)
    digest = hashlib.sha256()
    with memoryview(program) as view:
        for first, last in ((0, checksum), (checksum + 4, entry), (entry + 8, end)):
            with view[first:last] as part:
                digest.update(part)
    return digest.digest()


def find_signature_fields(program: Program) -> tuple[int, int]:
    """Where a program says its checksum, and where its signature is: the fifth data directory of a PE32+.

    Raises:
        struct.error: it is cut short.
    """
    optional = struct.unpack_from("<I", program, 0x3C)[0] + 24
    return optional + 64, optional + 112 + 4 * 8


def is_revoked(program: Program, digest: bytes, revoked: Iterable[Entry]) -> bool:
    """Whether firmware would not start a program: by its hash, or by the certificate of who signed it.

    Args:
        digest: of the program, :func:`hash_program`.
    """
    return any(
        entry.data == digest if entry.kind == SHA256 else entry.kind == X509 and program.find(entry.data) >= 0
        for entry in revoked
    )


def is_vouched_for(program: Program, digest: bytes, trusted: Iterable[Entry]) -> bool:
    """Whether firmware finds what it trusts in a program: its hash, a certificate, or the name of the issuer of one.

    It verifies the signature itself. This tells a program that it cannot accept, whatever else it says.

    Args:
        digest: of the program, :func:`hash_program`.

    Raises:
        ValueError: a certificate is damaged.
    """
    return any(
        entry.data == digest if entry.kind == SHA256 else program.find(read_subject(entry.data)) >= 0
        for entry in trusted
        if entry.kind in (SHA256, X509)
    )


def read_subject(certificate: bytes) -> bytes:
    """Whom a certificate (RFC 5280, 4.1) is for, as DER: a certificate that it signed names the same as its issuer.

    Raises:
        ValueError: it is damaged.
    """
    try:
        start, _ = find_element(certificate, 0)
        at, _ = find_element(certificate, start)
        if certificate[at] == _VERSION:
            at = _skip(certificate, at)
        for _field in ("serialNumber", "signature", "issuer", "validity"):
            at = _skip(certificate, at)
        subject = certificate[at : _skip(certificate, at)]
    except IndexError:
        subject = b""
    if not subject:
        raise ValueError("a certificate is damaged")
    return subject


def find_element(data: bytes, at: int) -> tuple[int, int]:
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


def _skip(data: bytes, at: int) -> int:
    start, size = find_element(data, at)
    return start + size


def read_signed_update(data: bytes) -> bytes:
    """The new value that a ``.auth`` file has (``EFI_VARIABLE_AUTHENTICATION_2``).

    Raises:
        ValueError: it is none.
    """
    if len(data) < _TIME + 8:
        raise ValueError("it is cut short")
    length, revision, kind = struct.unpack_from("<IHH", data, _TIME)
    if (revision, kind) != (0x0200, 0x0EF1) or _TIME + length > len(data):
        raise ValueError("it is no signed change of a variable")
    return data[_TIME + length :]


def read_signature_lists(data: bytes) -> Iterator[Entry]:
    """The entries of what a variable of keys has (``EFI_SIGNATURE_LIST``).

    Raises:
        ValueError: a list is damaged.
    """
    while data:
        if len(data) < _HEAD:
            raise ValueError("a list of signatures is cut short")
        size, header, each = struct.unpack_from("<III", data, 16)
        if size > len(data) or each <= 16 or header > size - _HEAD or (size - _HEAD - header) % each:
            raise ValueError("a list of signatures is damaged")
        kind = uuid.UUID(bytes_le=data[:16])
        for start in range(_HEAD + header, size, each):
            yield Entry(kind, data[start + 16 : start + each])
        data = data[size:]

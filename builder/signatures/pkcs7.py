"""Signatures in the form of PKCS #7 (RFC 2315), by RSA with SHA-256, as firmware and the kernel read them.

Put together here, and not by a library, because the key may be where only a program of the user's reaches it, and
because Authenticode signs a content that no library knows. All of it is DER (X.690).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography import x509

_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _NULL, _OBJECT = 0x30, 0x31, 0x02, 0x03, 0x04, 0x05, 0x06
_FIRST, _THIRD = 0xA0, 0xA2  # [0] and [2], constructed

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")  # RFC 2315, section 14
_DATA = bytes.fromhex("2a864886f70d010701")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")  # PKCS #9 (RFC 2985), section 5.3
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_SHA256 = bytes.fromhex("608648016503040201")
_RSA = bytes.fromhex("2a864886f70d010101")
# "Windows Authenticode Portable Executable Signature Format": SPC_INDIRECT_DATA, SPC_PE_IMAGE_DATA
_INDIRECT_DATA = bytes.fromhex("2b060104018237020104")
_PE_IMAGE_DATA = bytes.fromhex("2b06010401823702010f")
_OBSOLETE = "<<<Obsolete>>>".encode("utf-16-be")


def sign_detached(data: bytes, certificate: bytes, sign: Callable[[bytes], bytes], *, bring: bool = True) -> bytes:
    """The ``SignedData`` of some bytes that are elsewhere, without attributes, so without a time.

    Args:
        certificate: of the key, in DER.
        sign: RSASSA-PKCS1-v1_5 with SHA-256.
        bring: whether the certificate is in it.
    """
    signer = _make_signer_info(certificate, b"", sign(data))
    brought = _element(_FIRST, certificate) if bring else b""
    return _make_signed_data(_element(_SEQUENCE, _object(_DATA)), brought, signer)


def sign_authenticode(program_digest: bytes, certificate: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """What is at the end of a signed PE file: a ``ContentInfo`` whose content is the hash of the program.

    Args:
        program_digest: :func:`update.efi.hash_program`.
        certificate: of the key, in DER.
        sign: RSASSA-PKCS1-v1_5 with SHA-256.
    """
    link = _element(_FIRST, _element(_THIRD, _element(0x80, _OBSOLETE)))
    image = _element(_SEQUENCE, _object(_PE_IMAGE_DATA), _element(_SEQUENCE, _element(_BITS, b"\0"), link))
    digest = _element(_SEQUENCE, _name_algorithm(_SHA256), _element(_OCTETS, program_digest))
    signed = image + digest  # without the head of its sequence, says the specification
    attributes = _make_attribute(_CONTENT_TYPE, _object(_INDIRECT_DATA)) + _make_attribute(
        _MESSAGE_DIGEST, _element(_OCTETS, hashlib.sha256(signed).digest())
    )
    # What is signed is their SET OF, where the signature has them as [0] (RFC 2315, section 9.3).
    signer = _make_signer_info(certificate, _element(_FIRST, attributes), sign(_element(_SET, attributes)))
    content = _element(_SEQUENCE, _object(_INDIRECT_DATA), _element(_FIRST, _element(_SEQUENCE, signed)))
    return wrap_signed_data(_make_signed_data(content, _element(_FIRST, certificate), signer))


def wrap_signed_data(signed_data: bytes) -> bytes:
    """The ``ContentInfo`` around a ``SignedData``, which most that read PKCS #7 want."""
    return _element(_SEQUENCE, _object(_SIGNED_DATA), _element(_FIRST, signed_data))


def _make_signed_data(content: bytes, certificates: bytes, signer: bytes) -> bytes:
    algorithms = _element(_SET, _name_algorithm(_SHA256))
    return _element(_SEQUENCE, _element(_INTEGER, b"\x01"), algorithms, content, certificates, _element(_SET, signer))


def _make_signer_info(certificate: bytes, attributes: bytes, signature: bytes) -> bytes:
    """Who signed, by the issuer and number of the certificate."""
    read = x509.load_der_x509_certificate(certificate)
    number = read.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    issuer = _element(_SEQUENCE, read.issuer.public_bytes(), _element(_INTEGER, serial))
    return _element(
        _SEQUENCE,
        _element(_INTEGER, b"\x01"),
        issuer,
        _name_algorithm(_SHA256),
        attributes,
        _name_algorithm(_RSA),
        _element(_OCTETS, signature),
    )


def _make_attribute(kind: bytes, value: bytes) -> bytes:
    return _element(_SEQUENCE, _object(kind), _element(_SET, value))


def _name_algorithm(identifier: bytes) -> bytes:
    return _element(_SEQUENCE, _object(identifier), _element(_NULL))


def _object(identifier: bytes) -> bytes:
    return _element(_OBJECT, identifier)


def _element(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content

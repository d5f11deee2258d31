"""A verifier of a machine's quote: is it fresh, is it by this key, and does it say what the build said it would.

Sources: TPM 2.0 Library, part 2 (TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC); TCG PC Client Platform Firmware
Profile, 10.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

_GENERATED, _QUOTE = 0xFF544347, 0x8018  # TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE
_NO_ACTION = 3  # EV_NO_ACTION
_SHA256 = 0x0B
_POINT = 20  # where, in a TPMT_PUBLIC of ECDSA without a policy, the point begins
_SIZES = {0x04: 20, _SHA256: 32, 0x0C: 48, 0x0D: 64}


class Quote(NamedTuple):
    """What a TPM has signed, in the TPM's own encoding."""

    public: bytes
    quoted: bytes
    signature: bytes


class Refused(Exception):
    """The quote does not show what it is to show."""


def verify_quote(quote: Quote, nonce: bytes, registers: Mapping[int, bytes]) -> None:
    """Check a quote.

    Raises:
        Refused: it is another's, old, or of a machine in another state.
    """
    numbers = _read_key(quote.public)
    r, rest = _take(quote.signature[4:])
    s, _ = _take(rest)
    try:
        numbers.public_key().verify(
            encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big")), quote.quoted, ec.ECDSA(SHA256())
        )
    except Exception as error:
        raise Refused("the signature is not by this key") from error
    magic, kind = struct.unpack_from(">IH", quote.quoted)
    if (magic, kind) != (_GENERATED, _QUOTE):
        raise Refused("it is no quote")
    _, rest = _take(quote.quoted[6:])
    said, rest = _take(rest)
    if said != nonce:
        raise Refused("it is an old one")
    rest = rest[17 + 8 :]  # TPMS_CLOCK_INFO, firmwareVersion
    count, algorithm, size = struct.unpack_from(">IHB", rest)
    bits = int.from_bytes(rest[7 : 7 + size], "little")
    if (count, algorithm, bits) != (1, _SHA256, sum(1 << number for number in registers)):
        raise Refused("it is of other registers")
    digest, _ = _take(rest[7 + size :])
    if digest != hashlib.sha256(b"".join(registers[number] for number in sorted(registers))).digest():
        raise Refused("the machine is in another state")


def replay_log(log: bytes) -> dict[int, bytes]:
    """The registers that firmware's own log leads to, in the SHA-256 bank."""
    _, kind, _, size = struct.unpack_from("<II20sI", log)
    assert kind == _NO_ACTION, "it begins with what it is"
    at = 32 + size
    registers: dict[int, bytes] = {}
    while at < len(log):
        number, kind, count = struct.unpack_from("<III", log, at)
        at += 12
        digests = {}
        for _ in range(count):
            algorithm = struct.unpack_from("<H", log, at)[0]
            digests[algorithm] = log[at + 2 : at + 2 + _SIZES[algorithm]]
            at += 2 + _SIZES[algorithm]
        at += 4 + struct.unpack_from("<I", log, at)[0]
        if kind != _NO_ACTION:
            before = registers.get(number, bytes(32))
            registers[number] = hashlib.sha256(before + digests[_SHA256]).digest()
    return registers


def _read_key(public: bytes) -> ec.EllipticCurvePublicNumbers:
    x, rest = _take(public[_POINT:])
    y, _ = _take(rest)
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())


def _take(data: bytes) -> tuple[bytes, bytes]:
    size = struct.unpack_from(">H", data)[0]
    return data[2 : 2 + size], data[2 + size :]

"""Signatures of EFI programs, read as Microsoft's "Windows Authenticode Portable Executable Signature Format" says."""

from __future__ import annotations

import hashlib
import struct


def make_program(content: bytes = b"code") -> bytes:
    """The least that is a program for 64-bit firmware: headers, no sections."""
    optional = struct.pack("<H", 0x20B).ljust(112 + 16 * 8, b"\0")
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 64) + b"PE\0\0"
    return head + struct.pack("<HHIIIHH", 0x8664, 0, 0, 0, 0, len(optional), 0) + optional + content


def digest(program: bytes) -> bytes:
    """The SHA-256 over all of a PE file but its checksum, where its signature is, and the signature."""
    optional = struct.unpack_from("<I", program, 0x3C)[0] + 24
    checksum, entry = optional + 64, optional + 112 + 4 * 8  # PE32+; the fifth data directory
    start, size = struct.unpack_from("<II", program, entry)
    end = start if size else len(program)
    parts = (program[:checksum], program[checksum + 4 : entry], program[entry + 8 : end])
    return hashlib.sha256(b"".join(parts)).digest()


def signature(program: bytes) -> bytes:
    """The PKCS #7 of a PE file that is signed once."""
    entry = struct.unpack_from("<I", program, 0x3C)[0] + 24 + 112 + 4 * 8
    start, size = struct.unpack_from("<II", program, entry)
    assert start + size == len(program), "the signature is at the end"
    length, revision, kind = struct.unpack_from("<IHH", program, start)
    assert (revision, kind) == (0x0200, 0x0002), "WIN_CERT_TYPE_PKCS_SIGNED_DATA"
    return program[start + 8 : start + length]


def indirect_data(pkcs7: bytes) -> bytes:
    """What is signed: the content of ``SpcIndirectDataContent``, whose last bytes are the digest of the program."""
    at = pkcs7.index(bytes.fromhex("060a2b060104018237020104")) + 12  # SPC_INDIRECT_DATA_OBJID, then [0], then it
    assert pkcs7[at] == 0xA0
    sequence = at + 2
    assert pkcs7[sequence] == 0x30
    return pkcs7[sequence + 2 : sequence + 2 + pkcs7[sequence + 1]]


def remove_signature(program: bytes) -> bytes:
    """The PE file as it was before it was signed."""
    entry = struct.unpack_from("<I", program, 0x3C)[0] + 24 + 112 + 4 * 8
    start, _ = struct.unpack_from("<II", program, entry)
    return program[:entry] + bytes(8) + program[entry + 8 : start]

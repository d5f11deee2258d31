"""The key store that Java reads its certificate authorities from, read back field by field."""

from __future__ import annotations

import hashlib
import struct
from base64 import encodebytes
from collections.abc import Callable

import pytest

from builder.debian.scripts.subjects.desktop.java import PROGRAM, STORE, install_key_store
from builder.debian.scripts.work import Work

pytestmark = pytest.mark.unit


def pem(data: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{encodebytes(data).decode()}-----END CERTIFICATE-----\n"


def entries(data: bytes) -> dict[str, bytes]:
    """Certificates by alias of a JKS file; its magic number, version and checksum are verified."""
    magic, version, count = struct.unpack_from(">III", data)
    assert (magic, version) == (0xFEEDFEED, 2)
    found, at = {}, 12

    def text() -> str:
        nonlocal at
        size = struct.unpack_from(">H", data, at)[0]
        at += 2 + size
        return data[at - size : at].decode()

    for _ in range(count):
        assert struct.unpack_from(">I", data, at)[0] == 2
        at += 4
        alias = text()
        at += 8  # when it was added
        assert text() == "X.509"
        size = struct.unpack_from(">I", data, at)[0]
        found[alias] = data[at + 4 : at + 4 + size]
        at += 4 + size
    assert hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + data[:at]).digest() == data[at:]
    return found


def test_java_finds_the_authorities_that_everybody_else_finds(work_on: Callable[..., Work]) -> None:
    source = "/usr/share/ca-certificates/mozilla"
    work = work_on({PROGRAM: "", f"{source}/Good_CA.crt": pem(b"one"), f"{source}/A B,Cő.crt": pem(b"two" * 40)})
    install_key_store(work)
    assert entries(work.tree.read(STORE)) == {"debian:good_ca.pem": b"one", "debian:a_b_cő.pem": b"two" * 40}


def test_an_image_without_java_has_no_key_store(work_on: Callable[..., Work]) -> None:
    work = work_on({"/usr/share/ca-certificates/mozilla/x.crt": pem(b"one")})
    install_key_store(work)
    assert STORE not in work.tree

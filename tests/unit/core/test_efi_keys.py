"""Keys as firmware keeps them, read back as the UEFI specification writes them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given

from builder.core.efi_keys import make_signature_list, make_signed_update, read_certificate
from builder.core.errors import InputError
from tests.support.fuzz import examples, mutated

pytestmark = pytest.mark.unit

# A DER sequence; what is in a certificate is for firmware to read.
CERTIFICATE = bytes.fromhex("3082012c") + bytes(range(250)) + bytes(50)
PEM = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(CERTIFICATE) + b"-----END CERTIFICATE-----\n"
# 2026-11-25 12:34:56
EPOCH = 1795610096


@pytest.mark.parametrize("data", [CERTIFICATE, PEM, b"subject=CN=me\r\n" + PEM + PEM])
def test_a_certificate_is_the_same_in_pem_and_der(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert read_certificate(tmp_path / "file") == CERTIFICATE


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x82\x01", CERTIFICATE[:-1], PEM.replace(b"MII", b"M!I"), b"hi"])
def test_what_is_no_certificate_is_refused_with_what_makes_one(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(InputError, match=r"file is no certificate in PEM or DER[^$]*build-os key DIR"):
        read_certificate(tmp_path / "file")


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the certificate .*gone\.crt: No such file"):
        read_certificate(tmp_path / "gone.crt")


@examples(200)
@given(data=mutated(PEM))
def test_whatever_a_file_holds_is_a_certificate_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with contextlib.suppress(InputError):
        assert read_certificate(tmp_path / "file")[0] == 0x30


def test_a_list_has_one_certificate_with_its_sizes() -> None:
    data = make_signature_list(CERTIFICATE)
    kind, size, header, each = struct.unpack_from("<16sIII", data)
    assert uuid.UUID(bytes_le=kind) == uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
    assert (size, header, each) == (len(data), 0, len(data) - 28)
    assert data[28 + 16 :] == CERTIFICATE


def test_an_update_says_when_and_is_signed_over_all_that_firmware_looks_at() -> None:
    signed = []
    inner = b"\x30\x81\x80" + bytes(128)

    def sign(what: bytes) -> bytes:
        signed.append(what)
        return inner

    update = make_signed_update("PK", b"the list", EPOCH, sign)
    stamp = struct.pack("<HBBBBBBIhBB", 2026, 11, 25, 12, 34, 56, 0, 0, 0, 0, 0)
    vendor = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
    assert signed == ["PK".encode("utf-16-le") + vendor.bytes_le + struct.pack("<I", 0x27) + stamp + b"the list"]
    assert update[:16] == stamp
    length, revision, kind = struct.unpack_from("<IHH", update, 16)
    assert (revision, kind) == (0x0200, 0x0EF1)
    assert update[24:40] == uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7").bytes_le
    # The bare SignedData, as edk2 and other firmware take it.
    assert update[40 : 16 + length] == inner
    assert update[16 + length :] == b"the list"


def test_the_owner_follows_from_the_certificate() -> None:
    assert (
        make_signature_list(CERTIFICATE)[28:44] == uuid.UUID(bytes=hashlib.sha256(CERTIFICATE).digest()[:16]).bytes_le
    )

"""Firmware variables with keys of one's own, walked through as edk2 does."""

from __future__ import annotations

import contextlib
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from builder.core.errors import CapabilityError, InputError
from builder.core.tools import Tools
from tests.support.fuzz import examples, mutated
from vm.disks.firmware_variables import NotFirmwareVariables, add_own_keys
from vm.disks.prepare import copy_variables
from vm.spec import Uefi

pytestmark = pytest.mark.unit

CERTIFICATE = b"\x30\x82\x03\x00" + bytes(768)
STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le
HEAD = 72


def fresh(*, room: int = 0x8000, before: bytes = b"") -> bytes:
    """A firmware volume with an empty store, or one that has something already."""
    volume = bytes(40) + b"_FVH" + bytes(4) + struct.pack("<H", HEAD) + bytes(22)
    store = STORE + struct.pack("<IBBHI", 28 + room, 0x5A, 0xFE, 0, 0)
    return volume + store + before.ljust(room, b"\xff") + b"spare blocks"


def variables(data: bytes) -> Iterator[tuple[str, str, int, bytes]]:
    """Name, vendor, attributes and content, until free space begins."""
    at = HEAD + 28
    while data[at : at + 2] == b"\xaa\x55":
        assert data[at + 2] == 0x3F, "added, and not deleted"
        (attributes,) = struct.unpack_from("<I", data, at + 4)
        names, size = struct.unpack_from("<II", data, at + 36)
        vendor = str(uuid.UUID(bytes_le=data[at + 44 : at + 60]))
        name = data[at + 60 : at + 60 + names].decode("utf-16-le").rstrip("\0")
        yield name, vendor, attributes, data[at + 60 + names : at + 60 + names + size]
        at += -(-(60 + names + size) // 4) * 4
    assert data[at : at + 60] == b"\xff" * 60


def test_all_keys_are_the_certificate_and_it_is_verified() -> None:
    data = add_own_keys(fresh(), CERTIFICATE)
    assert len(data) == len(fresh())
    assert data.endswith(b"spare blocks")
    found = {name: (vendor, attributes, content) for name, vendor, attributes, content in variables(data)}
    assert found.keys() == {"PK", "KEK", "db", "SecureBootEnable", "CustomMode"}
    assert found["SecureBootEnable"] == ("f0a30bc7-af08-4556-99c4-001009c93a44", 3, b"\1")
    assert found["CustomMode"][2] == b"\0"
    for name in ("PK", "KEK", "db"):
        vendor, attributes, content = found[name]
        assert vendor.startswith("d719b2cb" if name == "db" else "8be4df61")
        assert attributes == 0x27
        assert content.endswith(CERTIFICATE)
        assert len(content) == 28 + 16 + len(CERTIFICATE)


def test_what_was_there_stays() -> None:
    head = struct.pack("<HBxIQ16sIII16s", 0x55AA, 0x3F, 7, 0, bytes(16), 0, 6, 3, uuid.uuid4().bytes_le)
    before = (head + "it".encode("utf-16-le") + b"\0\0" + b"abc").ljust(72, b"\xff")
    names = [name for name, *_ in variables(add_own_keys(fresh(before=before), CERTIFICATE))]
    assert (names[0], len(names)) == ("it", 6)


def test_a_store_that_is_too_small_is_refused() -> None:
    with pytest.raises(NotFirmwareVariables, match="no room"):
        add_own_keys(fresh(room=2000), CERTIFICATE)


@pytest.mark.parametrize("data", [b"", b"x" * 20, b"x" * 4096, fresh()[:200], fresh().replace(b"_FVH", b"_XXX")])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(NotFirmwareVariables):
        add_own_keys(data, CERTIFICATE)


@pytest.fixture
def uefi(fake_tools: Tools, tmp_path: Path) -> Uefi:
    """Firmware of a tools tree, for a machine that trusts one certificate."""
    directory = fake_tools.root / "firmware"
    directory.mkdir(parents=True)
    (directory / "code.fd").touch()
    (directory / "variables.fd").write_bytes(fresh())
    certificate = tmp_path / "my.cer"
    certificate.write_bytes(CERTIFICATE)
    names = (Path("/firmware/code.fd"), Path("/firmware/variables.fd"))
    return Uefi(tmp_path / "own.fd", *names, certificate=certificate)


def test_a_machine_begins_with_the_certificate_and_keeps_what_it_changes(uefi: Uefi, fake_tools: Tools) -> None:
    copy_variables(uefi, fake_tools)
    assert uefi.variables.read_bytes() == add_own_keys(fresh(), CERTIFICATE)
    uefi.variables.write_bytes(b"changed by the guest")
    copy_variables(uefi, fake_tools)
    assert uefi.variables.read_bytes() == b"changed by the guest"


def test_what_is_wrong_with_certificate_or_firmware_is_said(uefi: Uefi, fake_tools: Tools) -> None:
    assert uefi.certificate is not None
    uefi.certificate.write_bytes(b"not one")
    with pytest.raises(InputError, match=r"my\.cer is no certificate"):
        copy_variables(uefi, fake_tools)
    uefi.certificate.write_bytes(CERTIFICATE)
    (fake_tools.root / "firmware/variables.fd").write_bytes(b"of another kind")
    with pytest.raises(CapabilityError, match=r"cannot put keys into /firmware/variables\.fd"):
        copy_variables(uefi, fake_tools)
    assert not uefi.variables.exists()


@examples(200)
@given(data=mutated(fresh(room=4000)))
def test_whatever_it_is_given_it_keeps_its_size_or_is_refused(data: bytes) -> None:
    with contextlib.suppress(NotFirmwareVariables):
        assert len(add_own_keys(data, CERTIFICATE)) == len(data)

"""Firmware is told of other keys and of images that it starts no more, and a machine never locks itself out."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from hypothesis import given

from builder.core.efi_keys import make_hash_list, make_signature_list
from builder.outputs.signing import KeyPair, Signer, make_key_pair, read_key_pair
from tests.support.authenticode import make_program
from tests.support.fuzz import examples, mutated
from tests.unit.update.agent.conftest import FakeMachine
from update.agent.command import main
from update.agent.firmware_keys import require_trusted
from update.efi import hash_program, read_signature_lists, read_subject
from update.errors import UpdateError

pytestmark = pytest.mark.unit

VARIABLE = "sys/firmware/efi/efivars/{}-d719b2cb-3d3a-4596-a3bc-dad00e67656f"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key_pair(tmp_path_factory.mktemp("keys"), "me")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key_pair(tmp_path_factory.mktemp("keys"), "another")


@pytest.fixture
def signed(machine: FakeMachine, pair: KeyPair, other: KeyPair) -> FakeMachine:
    """A machine that runs version 2, has version 1 of another key beside it, and a loader of the first key."""
    first, second = Signer(other, 0), Signer(pair, 0)
    (machine.esp / "EFI/Linux/demo_1.efi").write_bytes(first.sign_program(make_program(b"kernel 1")))
    (machine.esp / "EFI/Linux/demo_2.efi").write_bytes(second.sign_program(make_program(b"kernel 2")))
    (machine.esp / "EFI/BOOT").mkdir()
    (machine.esp / "EFI/BOOT/BOOTX64.EFI").write_bytes(second.sign_program(make_program(b"loader")))
    machine.boot("2", "b" * 32)
    (machine.root / "sys/firmware/efi/efivars/SecureBoot-x").touch()
    return machine


def run(machine: FakeMachine, path: Path, data: bytes, *options: str) -> int:
    path.write_bytes(data)
    return main(["firmware-keys", str(path), *options], machine.host)


def test_another_key_is_trusted_beside_the_first(
    signed: FakeMachine, pair: KeyPair, other: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = Signer(pair, 0).sign_trust([other.der])
    assert run(signed, tmp_path / "db.auth", change) == 0
    # Attributes with "append", then what firmware verifies, in one piece.
    assert (signed.root / VARIABLE.format("db")).read_bytes() == b"\x67\0\0\0" + change
    assert capsys.readouterr().out == "firmware trusts 1 more entry, from the next boot on\n"


@pytest.mark.parametrize("by", ["hash", "certificate"])
def test_what_the_machine_does_not_need_is_revoked(
    signed: FakeMachine, pair: KeyPair, other: KeyPair, tmp_path: Path, by: str
) -> None:
    old = (signed.esp / "EFI/Linux/demo_1.efi").read_bytes()
    signer = Signer(pair, 0)
    change = signer.sign_revocation([old]) if by == "hash" else signer.sign_revocation([], [other.der])
    assert run(signed, tmp_path / "dbx.auth", change) == 0
    assert (signed.root / VARIABLE.format("dbx")).read_bytes() == b"\x67\0\0\0" + change


@pytest.mark.parametrize("what", ["EFI/Linux/demo_2.efi", "EFI/BOOT/BOOTX64.EFI"])
def test_what_the_machine_starts_from_is_not_revoked(
    signed: FakeMachine, pair: KeyPair, other: KeyPair, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = (signed.esp / what).read_bytes()
    # Among others, by hash or by certificate, whoever signed the change.
    for change in (
        Signer(pair, 0).sign_revocation([make_program(b"x"), needed]),
        Signer(other, 0).sign_revocation([], [pair.der]),
    ):
        assert run(signed, tmp_path / "dbx.auth", change) == 1
        assert "which this machine starts from: nothing is changed" in capsys.readouterr().err
    assert not (signed.root / VARIABLE.format("dbx")).exists()


def test_nothing_is_revoked_before_the_version_has_proven_itself(
    signed: FakeMachine, pair: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = Signer(pair, 0).sign_revocation([(signed.esp / "EFI/Linux/demo_1.efi").read_bytes()])
    signed.rename("demo_2.efi", "demo_2+2-1.efi")
    assert run(signed, tmp_path / "dbx.auth", change) == 1
    assert "version 2 has not proven itself yet" in capsys.readouterr().err


def test_an_encrypted_state_is_thought_of(
    signed: FakeMachine, pair: KeyPair, other: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (signed.root / "run/build-os").mkdir()
    (signed.root / "run/build-os/state-partition").touch()
    change = Signer(pair, 0).sign_trust([other.der])
    assert run(signed, tmp_path / "db.auth", change) == 1
    assert "the next boot asks for the recovery key" in capsys.readouterr().err
    assert run(signed, tmp_path / "db.auth", change, "--recovery-key") == 0


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("keys.auth", b"", "is neither db.auth nor dbx.auth"),
        ("db.bin", b"", "is neither db.auth nor dbx.auth"),
        ("db.auth", b"", "is no change of what firmware trusts: it is cut short"),
        ("db.auth", bytes(100), "it is no signed change of a variable"),
    ],
)
def test_what_is_no_change_never_reaches_the_firmware(
    signed: FakeMachine, tmp_path: Path, name: str, data: bytes, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(signed, tmp_path / name, data) == 1
    assert what in capsys.readouterr().err
    assert not (signed.root / VARIABLE.format("db")).exists()


def test_damaged_lists_and_firmware_that_is_none_are_said(
    signed: FakeMachine, pair: KeyPair, other: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = Signer(pair, 0).sign_trust([other.der])
    assert run(signed, tmp_path / "db.auth", change[:-1]) == 1
    assert "a list of signatures is damaged" in capsys.readouterr().err
    for path in (signed.root / "sys/firmware/efi/efivars").iterdir():
        path.unlink()
    assert run(signed, tmp_path / "db.auth", change) == 1
    assert "was not started by UEFI firmware" in capsys.readouterr().err


# --- what firmware would not start is not written ---------------------------------------------------------


@pytest.fixture
def secured(signed: FakeMachine, pair: KeyPair) -> FakeMachine:
    """Secure Boot is on, and firmware trusts the first key."""
    variables = signed.root / "sys/firmware/efi/efivars"
    (variables / "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c").write_bytes(b"\6\0\0\0\1")
    (signed.root / VARIABLE.format("db")).write_bytes(b"\x27\0\0\0" + make_signature_list(pair.der))
    return signed


def test_an_image_of_a_trusted_key_is_taken_and_a_stranger_s_is_not(
    secured: FakeMachine, pair: KeyPair, other: KeyPair, tmp_path: Path
) -> None:
    image = tmp_path / "uki.efi"
    image.write_bytes(Signer(pair, 0).sign_program(make_program(b"kernel 3")))
    require_trusted(secured.host, image, "3")
    for stranger in (Signer(other, 0).sign_program(make_program(b"kernel 3")), make_program(b"unsigned")):
        image.write_bytes(stranger)
        with pytest.raises(UpdateError, match="firmware trusts nobody who has signed version 3"):
            require_trusted(secured.host, image, "3")
    with (secured.root / VARIABLE.format("db")).open("ab") as file:
        file.write(make_signature_list(other.der))
        file.write(make_hash_list([hash_program(image.read_bytes())]))
    require_trusted(secured.host, image, "3")
    image.write_bytes(Signer(other, 0).sign_program(make_program(b"kernel 3")))
    require_trusted(secured.host, image, "3")


def test_a_revoked_image_is_not_taken(secured: FakeMachine, pair: KeyPair, tmp_path: Path) -> None:
    image = tmp_path / "uki.efi"
    image.write_bytes(Signer(pair, 0).sign_program(make_program(b"kernel 3")))
    revoked = make_hash_list([hash_program(make_program(b"kernel 2")), hash_program(image.read_bytes())])
    (secured.root / VARIABLE.format("dbx")).write_bytes(b"\x27\0\0\0" + revoked)
    with pytest.raises(UpdateError, match="version 3 on its list of what it does not start"):
        require_trusted(secured.host, image, "3")


def test_a_certificate_of_a_trusted_issuer_is_enough(secured: FakeMachine, pair: KeyPair, tmp_path: Path) -> None:
    """Firmware may trust the issuer alone, whose certificate is not in the image."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    me, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "leaf")]), datetime.datetime.now(datetime.UTC)
    issuer = pair.read_certificate().subject
    builder = x509.CertificateBuilder(issuer, me, key.public_key(), 7, now, now + datetime.timedelta(days=9))
    assert isinstance(pair.key, Path)
    authority = load_pem_private_key(pair.key.read_bytes(), None)
    assert isinstance(authority, rsa.RSAPrivateKey)
    leaf = builder.sign(authority, SHA256())
    for name, data in (
        ("leaf.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        ("leaf.crt", leaf.public_bytes(Encoding.PEM)),
    ):
        (tmp_path / name).write_bytes(data)
    image = tmp_path / "uki.efi"
    signer = Signer(read_key_pair(tmp_path / "leaf.key", tmp_path / "leaf.crt"), 0)
    image.write_bytes(signer.sign_program(make_program(b"kernel 3")))
    require_trusted(secured.host, image, "3")


def test_without_secure_boot_firmware_is_not_asked(signed: FakeMachine, tmp_path: Path) -> None:
    (tmp_path / "uki.efi").write_bytes(make_program(b"unsigned"))
    require_trusted(signed.host, tmp_path / "uki.efi", "3")


@examples(200)
@given(data=mutated(make_signature_list(b"\x30\x03\x02\x01\x01")))
def test_whatever_firmware_has_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        for entry in read_signature_lists(data):
            read_subject(entry.data)

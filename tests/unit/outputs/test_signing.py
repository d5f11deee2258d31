"""Who signs, what is refused before anything is built, and that nothing of a private key gets about."""

from __future__ import annotations

import argparse
import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from builder.cli.common import add_signing, choose_key_pair
from builder.core.efi_keys import make_signature_list
from builder.core.errors import InputError
from builder.outputs.signing import KeyPair, Signer, make_key_pair, parse_key_pair, read_key_pair
from builder.signatures.signing_command import SigningCommand
from tests.support import authenticode
from tests.support.authenticode import make_program
from tests.support.power import SyncedDisk

pytestmark = pytest.mark.unit

CERTIFICATE = b"\x30\x03\x02\x01\x01"
SECRET = "c2VjcmV0c2VjcmV0"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    key, certificate = tmp_path / "my.key", tmp_path / "my.crt"
    key.write_text(f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n")
    certificate.write_bytes(CERTIFICATE)
    return key, certificate


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key_pair(tmp_path_factory.mktemp("keys"), "me")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key_pair(tmp_path_factory.mktemp("keys"), "another")


def chosen(arguments: list[str], **environment: str) -> KeyPair | None:
    parser = argparse.ArgumentParser()
    add_signing(parser)
    return choose_key_pair(parser.parse_args(arguments), environment)


# --- what is given ---------------------------------------------------------------------------------


def test_nobody_signs_unless_asked_to() -> None:
    assert chosen([]) is None
    assert chosen([], BUILD_OS_SIGN_KEY="", BUILD_OS_SIGN_CERTIFICATE="") is None


def test_the_command_line_goes_before_the_environment(files: tuple[Path, Path]) -> None:
    key, certificate = map(str, files)
    from_environment = chosen([], BUILD_OS_SIGN_KEY=key, BUILD_OS_SIGN_CERTIFICATE=certificate)
    assert from_environment == read_key_pair(*files)
    arguments = ["--sign-key", key, "--sign-certificate", certificate]
    assert chosen(arguments, BUILD_OS_SIGN_KEY="/gone", BUILD_OS_SIGN_CERTIFICATE="/gone") == from_environment


@pytest.mark.parametrize(
    ("given", "what", "hint"),
    [
        ("--sign-key", "a private key signs together with its certificate", "--sign-certificate FILE"),
        ("--sign-command", "a private key signs together with its certificate", "--sign-certificate FILE"),
        ("--sign-certificate", "a certificate alone signs nothing", "--sign-key FILE"),
    ],
)
def test_half_a_pair_is_refused(given: str, what: str, hint: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        chosen([given, "file"])
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is no private key in PEM"),
        ("-----BEGIN CERTIFICATE-----", "is no private key in PEM"),
        ("-----BEGIN PUBLIC KEY-----", "is no private key in PEM"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "is encrypted, and a build asks nobody for a passphrase"),
        ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "is encrypted"),
    ],
)
def test_a_file_that_cannot_sign_is_refused(files: tuple[Path, Path], text: str, what: str) -> None:
    files[0].write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        read_key_pair(*files)
    assert "my.key" in str(caught.value)
    assert caught.value.hint


def test_a_key_that_cannot_be_read_is_named(files: tuple[Path, Path]) -> None:
    files[0].unlink()
    with pytest.raises(InputError, match=r"cannot read the private key .*my\.key: No such file"):
        read_key_pair(*files)


# --- a key that is kept elsewhere ------------------------------------------------------------------


def test_a_command_is_taken_from_the_command_line_or_the_environment(pair: KeyPair) -> None:
    command, certificate = "sign --key 'a b' {file}", str(pair.certificate)
    elsewhere = chosen(["--sign-command", command, "--sign-certificate", certificate])
    assert elsewhere == chosen([], BUILD_OS_SIGN_COMMAND=command, BUILD_OS_SIGN_CERTIFICATE=certificate)
    assert elsewhere is not None
    assert elsewhere.key == SigningCommand(("sign", "--key", "a b", "{file}"))
    assert elsewhere.fingerprint == pair.fingerprint
    assert parse_key_pair(elsewhere.describe()) == elsewhere
    assert parse_key_pair(pair.describe()) == pair


def test_a_command_of_the_command_line_goes_before_a_key_of_the_environment(pair: KeyPair) -> None:
    arguments = ["--sign-command", "sign {file}", "--sign-certificate", str(pair.certificate)]
    elsewhere = chosen(arguments, BUILD_OS_SIGN_KEY="/gone")
    assert elsewhere is not None
    assert elsewhere.key == SigningCommand(("sign", "{file}"))


def test_a_key_and_a_command_are_one_too_many(pair: KeyPair) -> None:
    with pytest.raises(InputError, match="a key and a command are both to sign"):
        chosen(["--sign-key", str(pair.key), "--sign-command", "sign {file}", "--sign-certificate", "x"])


# --- whether they belong together ------------------------------------------------------------------


def test_a_pair_is_taken(pair: KeyPair) -> None:
    Signer(pair, 0).require_pair()


def test_files_of_two_pairs_are_refused(pair: KeyPair, other: KeyPair) -> None:
    with pytest.raises(InputError, match=r"secure-boot\.key is not the key of the certificate .*secure-boot\.crt"):
        Signer(replace(pair, certificate=other.certificate, der=other.der), 0).require_pair()


def test_a_key_of_another_kind_is_refused(pair: KeyPair, tmp_path: Path) -> None:
    elliptic = tmp_path / "my.key"
    key = ec.generate_private_key(ec.SECP256R1())
    elliptic.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(InputError, match="no RSA key, and firmware verifies no other"):
        Signer(replace(pair, key=elliptic), 0).require_pair()


def test_a_damaged_key_and_a_damaged_certificate_are_named(pair: KeyPair, files: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"my\.key cannot be used"):
        Signer(replace(pair, key=files[0]), 0).require_pair()
    with pytest.raises(InputError, match=r"my\.crt is no certificate"):
        Signer(read_key_pair(*files), 0).require_pair()


# --- what is signed --------------------------------------------------------------------------------


def verify(pkcs7: bytes, content: bytes, pair: KeyPair) -> None:
    """The signature is at the end of what both forms have, and over what the reader gives."""
    pair.read_public_key().verify(pkcs7[-256:], content, padding.PKCS1v15(), SHA256())


def test_a_program_is_signed_where_firmware_looks_for_it(pair: KeyPair) -> None:
    program = make_program()
    signed = Signer(pair, 0).sign_program(program)
    pkcs7 = authenticode.signature(signed)
    assert authenticode.indirect_data(pkcs7).endswith(authenticode.digest(signed))
    assert pair.der in pkcs7
    assert signed[len(program) - 4 : len(program)] == b"code"
    assert len(signed) % 8 == 0
    assert signed == Signer(pair, 1).sign_program(program)
    assert Signer(pair, 0).sign_program(make_program(b"else")) != signed


@pytest.mark.parametrize("program", [b"", b"MZ", b"MZ" + bytes(200), make_program().replace(b"PE\0\0", b"NE\0\0")])
def test_what_is_no_program_is_not_signed(pair: KeyPair, program: bytes) -> None:
    with pytest.raises(ValueError, match="it is no EFI program"):
        Signer(pair, 0).sign_program(program)


def test_a_signed_program_is_not_signed_again(pair: KeyPair) -> None:
    signer = Signer(pair, 0)
    with pytest.raises(ValueError, match="is signed already"):
        signer.sign_program(signer.sign_program(make_program()))


def test_a_root_hash_is_signed_as_partitions_have_it(pair: KeyPair) -> None:
    text = json.loads(Signer(pair, 0).sign_root_hash("ab" * 32))
    assert text["rootHash"] == "ab" * 32
    assert text["certificateFingerprint"] == pair.fingerprint
    verify(base64.b64decode(text["signature"]), b"ab" * 32, pair)
    assert pair.der not in base64.b64decode(text["signature"])
    assert text.keys() == {"rootHash", "certificateFingerprint", "signature"}


def test_three_variables_are_enrolled_and_the_one_that_ends_setup_mode_is_the_last(pair: KeyPair) -> None:
    updates = Signer(pair, 1_000_000_000).make_enrolment()
    assert list(updates) == ["db", "KEK", "PK"]
    assert all(update.endswith(make_signature_list(pair.der)) for update in updates.values())
    assert all(update[:8] == bytes.fromhex("d107 09 09 01 2e 28 00") for update in updates.values())


# --- a new pair ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["secure-boot.key", "secure-boot.crt"])
def test_a_pair_that_is_there_is_never_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match=f"{name} is there already"):
        make_key_pair(tmp_path, "me")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_a_pair_survives_a_power_cut_and_its_key_is_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SyncedDisk(monkeypatch)
    pair = make_key_pair(tmp_path / "keys", "me")
    assert isinstance(pair.key, Path)
    for path in (pair.key, pair.certificate):
        assert disk.after_a_power_cut(path) == path.read_bytes()
    assert pair.key.stat().st_mode & 0o777 == 0o600


def test_a_certificate_says_who_signs_and_for_ten_years(pair: KeyPair) -> None:
    certificate = pair.read_certificate()
    assert certificate.subject.rfc4514_string() == "CN=me"
    assert 3640 < (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days < 3660
    assert not pair.is_development


def test_a_name_that_no_certificate_can_have_is_in_nobodys_way(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a certificate cannot be for"):
        make_key_pair(tmp_path, "n" * 65)
    assert list(tmp_path.iterdir()) == []
    assert make_key_pair(tmp_path, "n" * 64).certificate.exists()


def test_keys_to_try_things_out_say_so(tmp_path: Path) -> None:
    assert make_key_pair(tmp_path, "me", development=True).is_development

"""Who signs, what is refused before anything is built, and that nothing of a private key gets about."""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from builder.cli.common import add_signing, choose_key_pair
from builder.core.errors import CapabilityError, InputError, ToolError
from builder.outputs.signing import KeyPair, Signer, make_key_pair, read_key_pair
from tests.support.power import SyncedDisk

pytestmark = pytest.mark.unit

CERTIFICATE = b"\x30\x03\x02\x01\x01"
SECRET = "c2VjcmV0c2VjcmV0"
RSA = bytes.fromhex("06092a864886f70d010101")


def public_key(content: bytes) -> str:
    """As openssl prints it."""
    text = base64.b64encode(content).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    key, certificate = tmp_path / "my.key", tmp_path / "my.crt"
    key.write_text(f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n")
    certificate.write_bytes(CERTIFICATE)
    return key, certificate


@pytest.fixture
def pair(files: tuple[Path, Path]) -> KeyPair:
    return read_key_pair(*files)


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


# --- whether they belong together ------------------------------------------------------------------


def answers(fake_tools: Any, of_key: str | Exception, of_certificate: str | Exception) -> None:
    def openssl(command: str, *_: str) -> str:
        answer = of_key if command == "pkey" else of_certificate
        if isinstance(answer, Exception):
            raise answer
        return answer

    fake_tools.programs["openssl"] = openssl


def test_a_pair_is_taken(pair: KeyPair, fake_tools: Any) -> None:
    answers(fake_tools, public_key(RSA + b"1"), public_key(RSA + b"1"))
    Signer(pair, fake_tools, 0).require_pair()


def test_files_of_two_pairs_are_refused(pair: KeyPair, fake_tools: Any) -> None:
    answers(fake_tools, public_key(RSA + b"1"), public_key(RSA + b"2"))
    with pytest.raises(InputError, match=r"my\.crt is not the certificate of .*my\.key"):
        Signer(pair, fake_tools, 0).require_pair()


def test_a_key_of_another_kind_is_refused(pair: KeyPair, fake_tools: Any) -> None:
    answers(fake_tools, public_key(b"elliptic"), public_key(b"elliptic"))
    with pytest.raises(InputError, match="no RSA key, and firmware verifies no other"):
        Signer(pair, fake_tools, 0).require_pair()


def test_what_openssl_says_is_passed_on_and_its_command_is_not(pair: KeyPair, fake_tools: Any) -> None:
    failed = ToolError("openssl failed with status 1", details=("+ openssl pkey", "Could not find private key"))
    answers(fake_tools, failed, public_key(RSA))
    with pytest.raises(InputError, match=r"my\.key cannot be used") as caught:
        Signer(pair, fake_tools, 0).require_pair()
    assert caught.value.details == ("Could not find private key",)


# --- what is signed --------------------------------------------------------------------------------


@pytest.fixture
def signer(pair: KeyPair, fake_tools: Any) -> Signer:
    library = fake_tools.root / "usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
    library.parent.mkdir(parents=True)
    library.touch()

    def sbsign(*arguments: str) -> str:
        options = dict(word.split("=", 1) for word in arguments[1:-1])
        Path(options["--output"]).write_bytes(Path(arguments[-1]).read_bytes() + b" signed")
        return ""

    def openssl(*arguments: str) -> str:
        source, target = (Path(arguments[arguments.index(name) + 1]) for name in ("-in", "-out"))
        signed = source.read_bytes()[:100].ljust(100)
        target.write_bytes(bytes.fromhex("307306092a864886f70d010702a066") + b"\x30\x64" + signed)
        return ""

    fake_tools.programs.update({"systemd-sbsign": sbsign, "openssl": openssl})
    return Signer(pair, fake_tools, 1_000_000_000)


def test_programs_never_see_where_the_key_is_nor_what_is_in_it(signer: Signer, fake_tools: Any) -> None:
    assert signer.sign_program(b"MZ") == b"MZ signed"
    signer.sign_root_hash("ab" * 32)
    signer.make_enrolment()
    words = [word for call in fake_tools.calls for word in call]
    assert len(fake_tools.calls) == 5
    assert not [word for word in words if "my.key" in word or SECRET in word]
    assert sum(word.removeprefix("--private-key=").startswith("/proc/self/fd/") for word in words) == 5


def test_nothing_that_is_signed_is_left_beside_the_result(
    signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "tmp"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    signer.sign_program(b"MZ")
    signer.make_enrolment()
    assert list(room.iterdir()) == []


def test_a_root_hash_is_signed_as_partitions_have_it(signer: Signer) -> None:
    text = json.loads(signer.sign_root_hash("ab" * 32))
    assert text["rootHash"] == "ab" * 32
    assert text["certificateFingerprint"] == signer.pair.fingerprint
    assert b"ab" * 32 in base64.b64decode(text["signature"])
    assert text.keys() == {"rootHash", "certificateFingerprint", "signature"}


def test_three_variables_are_enrolled_and_the_one_that_ends_setup_mode_is_the_last(signer: Signer) -> None:
    updates = signer.make_enrolment()
    assert list(updates) == ["db", "KEK", "PK"]
    assert all(update.endswith(CERTIFICATE) for update in updates.values())
    assert all(update[:8] == bytes.fromhex("d107 09 09 01 2e 28 00") for update in updates.values())


def test_tools_from_before_signing_say_what_to_do(pair: KeyPair, fake_tools: Any) -> None:
    with pytest.raises(CapabilityError, match=r"no libfaketime[^$]*lock --update"):
        Signer(pair, fake_tools, 0).sign_program(b"MZ")


# --- a new pair ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["secure-boot.key", "secure-boot.crt"])
def test_a_pair_that_is_there_is_never_written_over(tmp_path: Path, fake_tools: Any, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match=f"{name} is there already"):
        make_key_pair(fake_tools, tmp_path, "me")
    assert (tmp_path / name).read_text() == "precious"
    assert fake_tools.calls == []


def keys_by_openssl(*words: str) -> str:
    """What ``openssl req`` writes, as far as we look at it."""
    for option, text in (("-keyout", f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n"), ("-out", "")):
        target = Path(words[words.index(option) + 1])
        target.write_bytes(text.encode() or CERTIFICATE)
    return ""


def test_a_pair_survives_a_power_cut_and_its_key_is_for_its_owner_alone(
    tmp_path: Path, fake_tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tools.programs["openssl"] = keys_by_openssl
    disk = SyncedDisk(monkeypatch)
    pair = make_key_pair(fake_tools, tmp_path / "keys", "me")
    for path in (pair.key, pair.certificate):
        assert disk.after_a_power_cut(path) == path.read_bytes()
    assert pair.key.stat().st_mode & 0o777 == 0o600


def test_a_pair_that_could_not_be_made_is_in_nobodys_way(tmp_path: Path, fake_tools: Any) -> None:
    def failing(*_: str) -> str:
        raise ToolError("openssl failed with status 1")

    fake_tools.programs["openssl"] = failing
    with pytest.raises(ToolError):
        make_key_pair(fake_tools, tmp_path, "me")
    fake_tools.programs["openssl"] = keys_by_openssl
    assert make_key_pair(fake_tools, tmp_path, "me").der == CERTIFICATE

"""Signatures by keys of three kinds: what the programs of the field made is accepted, anything else is not."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import pysequoia
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from builder.signatures.key_file import parse_verify_key, read_verify_key
from builder.signatures.pem import parse_private_key
from builder.signatures.verify_key import KeyFileError, SignatureRefused

pytestmark = pytest.mark.unit

MESSAGE = b"hello artifacts\n"
# Made by minisign 0.12: 'minisign -G -W', then 'minisign -S', and 'minisign -S -l' of the old kind.
MINISIGN_KEY = b"""\
untrusted comment: minisign public key 7777C8B76CEC42DA
RWTaQuxst8h3d7E0SvhMsgfc8AjulaBFtjc7E0WjzS7YurYWGFzAb13G
"""
MINISIGN = b"""\
untrusted comment: signature from minisign secret key
RUTaQuxst8h3d/DIyG8Osb1c+zHdoA6/k9LFwb+t12mUWGwMog8faalIoaD0wbsYPUPZFXfce15YlfWfIOHXVxBPv7YB3MU14Qo=
trusted comment: a trusted comment
M41x1J0fFqbwyyZyEUw6hl+GBkG1rWglVGgyzHZAnWG7qLlgapGI1m+3yVCZRRrHs9Z9NBjIHZYyzEmWp245BA==
"""
MINISIGN_OLD = b"""\
untrusted comment: signature from minisign secret key
RWTaQuxst8h3d9YmHhHs0sSI5nBGYUmtYYtG2VjuHv9Wh+wwfn9Fp+S+Pfg+uoVb1QIKmwPqWm0+Y/J36S4QJYDH9T/bb0PiNgk=
trusted comment: old
zbnMSFcAPkz3bMGf2BXH9WAXOUA0z56scIowQGixfobqPoOBWJLD0W9ssXG81yazo/hP/hGTPK61K8nDiFBBDg==
"""
# Made by cosign 2.5.0: 'cosign generate-key-pair', 'cosign sign-blob --key cosign.key --tlog-upload=false'.
COSIGN_KEY = b"""\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVh1Um5DW8VNys+JQCk5mDAinretn
U9xV58EEQoVxHBSnb3of9UE5MBH2pi1DsDniLyLNGRJfqnLfx4TtfNIJdg==
-----END PUBLIC KEY-----
"""
COSIGN = b"MEYCIQCBX0pJRMmuOM3EW8jAnIetWziwiTWC5OX8+4oXKvGOZgIhALOQ/QPaVJFy8/KWVb7N9ks/PPy8eSd+avcZR3N0NEEG"
PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("key", "signature"),
    [
        (MINISIGN_KEY, MINISIGN),
        (MINISIGN_KEY, MINISIGN_OLD),
        (COSIGN_KEY, COSIGN),
        (COSIGN_KEY, base64.b64decode(COSIGN)),
    ],
    ids=["minisign", "minisign -l", "cosign sign-blob", "the same without base64"],
)
def test_what_the_programs_sign_is_accepted_and_nothing_else(key: bytes, signature: bytes, tmp_path: Path) -> None:
    verify_key = parse_verify_key(key)
    verify_key.verify(MESSAGE, signature)
    (tmp_path / "file").write_bytes(MESSAGE)
    verify_key.verify(tmp_path / "file", signature)
    with pytest.raises(SignatureRefused):
        verify_key.verify(MESSAGE + b"x", signature)
    with pytest.raises(SignatureRefused):
        verify_key.verify(MESSAGE, b"")


def test_the_comment_of_a_minisign_signature_is_signed_as_well() -> None:
    with pytest.raises(SignatureRefused):
        parse_verify_key(MINISIGN_KEY).verify(MESSAGE, MINISIGN.replace(b"a trusted", b"a changed"))


def test_a_signature_by_another_minisign_key_is_named() -> None:
    raw = bytearray(base64.b64decode(MINISIGN_KEY.split(b"\n")[1]))
    raw[2] ^= 1
    other = parse_verify_key(base64.b64encode(raw))
    with pytest.raises(SignatureRefused, match="by the minisign key 7777C8B76CEC42DA"):
        other.verify(MESSAGE, MINISIGN)
    assert parse_verify_key(MINISIGN_KEY).fingerprint == "7777C8B76CEC42DA"


def test_keys_of_every_algorithm_sign_and_verify() -> None:
    keys: list[ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey] = [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ]
    for key, other in zip(keys, [*keys[1:], keys[0]], strict=True):
        public = parse_verify_key(key.public_key().public_bytes(*PUBLIC))
        signature = parse_private_key(key.private_bytes(*PEM)).sign(MESSAGE)
        public.verify(MESSAGE, signature)
        assert parse_private_key(key.private_bytes(*PEM), b"a password that it does not need").public == public
        public.verify(MESSAGE, base64.encodebytes(signature))
        with pytest.raises(SignatureRefused, match=r"SHA256:[0-9a-f]{64}"):
            parse_verify_key(other.public_key().public_bytes(*PUBLIC)).verify(MESSAGE, signature)


def test_openpgp_signatures_are_by_the_certificate_that_was_named(tmp_path: Path) -> None:
    mine, other = (pysequoia.Tsk.generate(user_id=f"{name} <{name}@example.org>") for name in ("mine", "other"))
    mode = pysequoia.SignatureMode.DETACHED
    armored = pysequoia.sign(mine.signer(), bytes=MESSAGE, mode=mode)
    binary = pysequoia.sign(mine.signer(), bytes=MESSAGE, mode=mode, armor=False)
    key = parse_verify_key(bytes(mine.extract_certificate()))
    (tmp_path / "file").write_bytes(MESSAGE)
    for signature in (armored, binary):
        key.verify(MESSAGE, signature)
        key.verify(tmp_path / "file", signature)
        with pytest.raises(SignatureRefused, match=r"it names [0-9A-F]{16}"):
            key.verify(MESSAGE + b"x", signature)
        with pytest.raises(SignatureRefused, match="not by the OpenPGP certificate"):
            parse_verify_key(bytes(other.extract_certificate())).verify(MESSAGE, signature)
    with pytest.raises(SignatureRefused, match="no detached"):
        key.verify(MESSAGE, b"nonsense")
    assert key.kind == "OpenPGP certificate"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no public key"),
        (b"hello", "no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read|can be read"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "private key"),
        (b"-----BEGIN CERTIFICATE-----\n", "certificate"),
        (b"untrusted comment: x\nRWQ=\n", "42 bytes"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n", "OpenPGP"),
        (b"\xff\xfe\x00", "OpenPGP"),
        (rsa.generate_private_key(65537, 1024).public_key().public_bytes(*PUBLIC), "1024 bits"),
        (ec.generate_private_key(ec.SECP256K1()).public_key().public_bytes(*PUBLIC), "secp256k1"),
        (dsa.generate_private_key(2048).public_key().public_bytes(*PUBLIC), "no signatures known"),
    ],
)
def test_what_is_no_key_says_why(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(KeyFileError, match=why):
        read_verify_key(tmp_path / "key")


def test_a_key_file_that_is_not_there_or_endless_is_none(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        read_verify_key(tmp_path / "key")
    with pytest.raises(KeyFileError, match="more than 1024 KiB"):
        read_verify_key(Path("/dev/zero"))


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"untrusted comment: x\n", b"RW", b"-----BEGIN PUBLIC KEY-----\n"])
)
def test_any_bytes_are_a_key_or_refused(data: bytes, head: bytes) -> None:
    with contextlib.suppress(KeyFileError):
        parse_verify_key(head + data)


@given(
    st.binary(max_size=300),
    st.sampled_from([MINISIGN_KEY, COSIGN_KEY]),
    st.sampled_from([b"", MINISIGN[:60], COSIGN[:20]]),
)
def test_any_bytes_are_refused_as_a_signature(data: bytes, key: bytes, head: bytes) -> None:
    with pytest.raises(SignatureRefused):
        parse_verify_key(key).verify(MESSAGE, head + data)

"""Signatures for Secure Boot with keys of one's own: of EFI programs, of the root hash, of firmware's variables.

A private key is read where it is asked to sign, or it is where only a command of the user's reaches it: it is in no
command line, no log, and nothing of it is kept. All that is signed is the same for the same key: RSA with PKCS #1 v1.5
has no random part.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from builder.core.efi_keys import (
    KEY_VARIABLES,
    REVOKED,
    make_fingerprint,
    make_hash_list,
    make_signature_list,
    make_signed_update,
    read_certificate,
)
from builder.core.errors import InputError
from builder.core.files import open_replacement
from builder.core.pe import append_signature, fill_program
from builder.signatures.pkcs7 import sign_authenticode, sign_detached, wrap_signed_data
from builder.signatures.signing_command import SigningCommand, parse_signing_command
from update.efi import hash_program

_MAKE_A_PAIR = "'build-os key DIR' makes a pair"
_PRIVATE = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----(\s+Proc-Type: 4,ENCRYPTED)?")
_MAX_KEY = 1 << 20
_RSA_BITS = 2048  # what every firmware knows, and shim's and Microsoft's own keys have
_YEARS = 10
# Of a certificate whose key was made to try things out.
_DEVELOPMENT = "development keys of build-os"


@dataclass(frozen=True)
class KeyPair:
    """A private key, and its certificate.

    Attributes:
        key: a file (PEM), or what signs with a key that is kept elsewhere.
        certificate: a file, PEM or DER.
        der: the certificate itself.
    """

    key: Path | SigningCommand
    certificate: Path
    der: bytes

    @property
    def fingerprint(self) -> str:
        """Of the certificate: SHA-256."""
        return make_fingerprint(self.der)

    @property
    def is_development(self) -> bool:
        """Whether the certificate says that the key was made to try things out."""
        return is_of_development(self.der)

    def read_certificate(self) -> x509.Certificate:
        """The certificate as a value.

        Raises:
            InputError: it is damaged.
        """
        try:
            return x509.load_der_x509_certificate(self.der)
        except ValueError as error:
            raise InputError(
                f"{self.certificate} is no certificate", details=[str(error)], hint=_MAKE_A_PAIR
            ) from error

    def read_public_key(self) -> rsa.RSAPublicKey:
        """The certificate's key.

        Raises:
            InputError: it is of a kind that firmware does not verify.
        """
        try:
            key = self.read_certificate().public_key()
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, rsa.RSAPublicKey):
            raise InputError(
                f"{self.certificate} is of no RSA key, and firmware verifies no other signatures", hint=_MAKE_A_PAIR
            )
        return key

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).

        Raises:
            InputError: the key cannot be used, is another one than the certificate's, or the command signs nothing.
        """
        public = self.read_public_key()
        if isinstance(self.key, SigningCommand):
            signature = self.key.sign(data, "Secure Boot", {})
            who = "what the signing command wrote is no signature of"
            hint = "it signs with RSA, PKCS #1 v1.5 and SHA-256"
        else:
            signature = _load_private_key(self.key).sign(data, padding.PKCS1v15(), SHA256())
            who, hint = f"{self.key} is not the key of", "give the two files that were made together"
        try:
            public.verify(signature, data, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise InputError(f"{who} the certificate {self.certificate}", hint=hint) from None
        return signature

    def describe(self) -> Mapping[str, str]:
        """What :func:`parse_key_pair` makes the same pair of, from wherever one looks."""
        certificate = str(self.certificate.absolute())
        if isinstance(self.key, SigningCommand):
            return {"command": self.key.text, "certificate": certificate}
        return {"key": str(self.key.absolute()), "certificate": certificate}


def is_of_development(certificate: bytes) -> bool:
    """Whether a certificate (DER) says that its key was made to try things out."""
    try:
        subject = x509.load_der_x509_certificate(certificate).subject
    except ValueError:
        return False
    units = subject.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
    return any(unit.value == _DEVELOPMENT for unit in units)


def read_key_pair(key: Path, certificate: Path) -> KeyPair:
    """Two files that may be a pair; :meth:`Signer.require_pair` tells.

    Raises:
        InputError: one cannot be read, or is something else; the key asks for a passphrase.
    """
    _read_private_key(key)
    return KeyPair(key, certificate, read_certificate(certificate))


def read_command_pair(command: str, certificate: Path) -> KeyPair:
    """A command line that signs with a key that is kept elsewhere, and the certificate of that.

    Raises:
        InputError: the line makes no sense, or the file cannot be read or is no certificate.
    """
    return KeyPair(parse_signing_command(command), certificate, read_certificate(certificate))


def parse_key_pair(text: Mapping[str, str]) -> KeyPair:
    """What :meth:`KeyPair.describe` says.

    Raises:
        InputError: see :func:`read_key_pair`.
    """
    certificate = Path(text["certificate"])
    if "command" in text:
        return read_command_pair(text["command"], certificate)
    return read_key_pair(Path(text["key"]), certificate)


@dataclass(frozen=True)
class Signer:
    """Signs with a pair.

    Attributes:
        epoch: seconds since 1970: from when on firmware takes no older change of what it trusts.
    """

    pair: KeyPair
    epoch: int

    def require_pair(self) -> None:
        """Refuse what would only be noticed when firmware does not start it.

        Raises:
            InputError: the files do not belong together, or are for another kind of signature.
        """
        self.pair.sign(b"")

    def sign_program(self, program: bytes) -> bytes:
        """An EFI program with an Authenticode signature.

        Raises:
            ValueError: it is no EFI program, or is signed.
        """
        padded = fill_program(program)
        return append_signature(padded, sign_authenticode(hash_program(padded), self.pair.der, self.pair.sign))

    def read_public_key(self) -> bytes:
        """The pair's public key in PEM, which is a kernel image's ``.pcrpkey``."""
        return self.pair.read_public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign_policy(self, policy: bytes) -> str:
        """What lets a TPM open what is sealed for this key: JSON, as in a kernel image's ``.pcrsig``.

        The same as systemd-measure(1) prints.

        Args:
            policy: of PCR 11 in the SHA-256 bank, :func:`builder.outputs.registers.compute_policy`.
        """
        public = self.pair.read_public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        signed = {
            "pcrs": [11],
            "pkfp": hashlib.sha256(public).hexdigest(),
            "pol": policy.hex(),
            "sig": base64.b64encode(self.pair.sign(policy)).decode(),
        }
        return json.dumps({"sha256": [signed]}, separators=(",", ":"))

    def sign_root_hash(self, roothash: str) -> bytes:
        """What is in a signature partition (UAPI.2, "Verity signature partitions")."""
        signature = sign_detached(roothash.encode(), self.pair.der, self.pair.sign, bring=False)
        parts = {
            "rootHash": roothash,
            "certificateFingerprint": self.pair.fingerprint,
            "signature": base64.b64encode(wrap_signed_data(signature)).decode(),
        }
        return json.dumps(parts).encode()

    def make_enrolment(self) -> Mapping[str, bytes]:
        """``.auth`` files that make firmware in setup mode trust the certificate, by variable: PK, KEK, db."""
        content = make_signature_list(self.pair.der)
        return {name: make_signed_update(name, content, self.epoch, self._sign_detached) for name in KEY_VARIABLES}

    def sign_trust(self, certificates: Iterable[bytes]) -> bytes:
        """A ``.auth`` file by which firmware that trusts this pair trusts other certificates (DER), too: for ``db``."""
        content = b"".join(map(make_signature_list, certificates))
        return make_signed_update("db", content, self.epoch, self._sign_detached, append=True)

    def sign_revocation(self, programs: Iterable[bytes], certificates: Iterable[bytes] = ()) -> bytes:
        """A ``.auth`` file by which firmware that trusts this pair starts some programs no more: for ``dbx``.

        Args:
            programs: EFI programs, signed or not.
            certificates: in DER; nothing that they signed is started either.
        """
        digests = [hash_program(fill_program(program)) for program in programs]
        content = (make_hash_list(digests) if digests else b"") + b"".join(map(make_signature_list, certificates))
        return make_signed_update(REVOKED, content, self.epoch, self._sign_detached, append=True)

    def _sign_detached(self, data: bytes) -> bytes:
        return sign_detached(data, self.pair.der, self.pair.sign)


def make_key_pair(directory: Path, name: str, *, development: bool = False) -> KeyPair:
    """A new pair in a directory: ``secure-boot.key``, which only its owner can read, and ``secure-boot.crt``.

    Args:
        name: who signs, for people who look at the certificate.
        development: the certificate says that it is for trying things out.

    Raises:
        InputError: one of them is there already.
    """
    key, certificate = directory / "secure-boot.key", directory / "secure-boot.crt"
    for path in (key, certificate):
        if path.exists():
            raise InputError(
                f"{path} is there already, and images may be signed with it", hint="name another directory"
            )
    private = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    with (
        open_replacement(key, mode=0o600, durable=True) as secret,
        open_replacement(certificate, durable=True) as public,
    ):
        secret.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write(_make_certificate(private, name, development=development).public_bytes(Encoding.PEM))
    return read_key_pair(key, certificate)


def _make_certificate(private: rsa.RSAPrivateKey, name: str, *, development: bool) -> x509.Certificate:
    """It signs itself, as ``openssl req -x509`` makes one."""
    unit = [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, _DEVELOPMENT)] if development else []
    try:
        who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name), *unit])
    except ValueError as error:
        raise InputError(f"a certificate cannot be for '{name}': {error}", hint="--name names somebody else") from error
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, SHA256())
    )


def _read_private_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY)
    except OSError as error:
        raise InputError(f"cannot read the private key {path}: {error.strerror}") from error
    block = _PRIVATE.search(data.decode("ascii", "replace"))
    if block is None:
        raise InputError(f"{path} is no private key in PEM", hint=_MAKE_A_PAIR)
    if block[1] == "ENCRYPTED " or block[2]:
        raise InputError(
            f"the private key {path} is encrypted, and a build asks nobody for a passphrase",
            hint=f"decrypt it for the build, into memory: openssl pkey -in {path} -out /dev/shm/FILE",
        )
    return data


def _load_private_key(path: Path) -> rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(_read_private_key(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} cannot be used", details=[str(error)], hint=_MAKE_A_PAIR) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InputError(f"{path} is no RSA key, and firmware verifies no other signatures", hint=_MAKE_A_PAIR)
    return key

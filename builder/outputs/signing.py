"""Signatures for Secure Boot with keys of one's own: of EFI programs, of the root hash, of firmware's variables.

The private key is read by the programs that sign, through a file descriptor: it is in no command line, no log, and
nothing of it is kept. All that is signed is the same for the same key: RSA with PKCS #1 v1.5 has no random part.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from builder.core.clock import stop_clock
from builder.core.efi_keys import (
    KEY_VARIABLES,
    make_fingerprint,
    make_signature_list,
    make_signed_update,
    read_certificate,
)
from builder.core.errors import InputError, ToolError
from builder.core.files import open_replacement
from builder.core.tools import Tools

_MAKE_A_PAIR = "'build-os key DIR' makes a pair"
_PRIVATE = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----(\s+Proc-Type: 4,ENCRYPTED)?")
_MAX_KEY = 1 << 20
_RSA = bytes.fromhex("06092a864886f70d010101")  # rsaEncryption (RFC 8017, appendix A.1), as DER has it
_RSA_BITS = 2048  # what every firmware knows, and shim's and Microsoft's own keys have
_YEARS = 10


@dataclass(frozen=True)
class KeyPair:
    """A private key (PEM) and its certificate, as files; ``der`` is the certificate itself."""

    key: Path
    certificate: Path
    der: bytes

    @property
    def fingerprint(self) -> str:
        """Of the certificate: SHA-256."""
        return make_fingerprint(self.der)

    @property
    def paths(self) -> tuple[str, str]:
        """Key and certificate, from wherever one looks."""
        return str(self.key.absolute()), str(self.certificate.absolute())


def read_key_pair(key: Path, certificate: Path) -> KeyPair:
    """Two files that may be a pair; :meth:`Signer.require_pair` tells.

    Raises:
        InputError: one cannot be read, or is something else; the key asks for a passphrase.
    """
    try:
        with key.open("rb") as file:
            text = file.read(_MAX_KEY).decode("ascii", "replace")
    except OSError as error:
        raise InputError(f"cannot read the private key {key}: {error.strerror}") from error
    block = _PRIVATE.search(text)
    if block is None:
        raise InputError(f"{key} is no private key in PEM", hint=_MAKE_A_PAIR)
    if block[1] == "ENCRYPTED " or block[2]:
        raise InputError(
            f"the private key {key} is encrypted, and a build asks nobody for a passphrase",
            hint=f"decrypt it for the build, into memory: openssl pkey -in {key} -out /dev/shm/FILE",
        )
    return KeyPair(key, certificate, read_certificate(certificate))


class Opened(NamedTuple):
    """A pair as programs of the tools tree see it, whose /etc and /usr are not the host's.

    Attributes:
        key: a path that leads to the key while ``fds`` are handed on.
        scratch: a directory for what is signed.
    """

    key: str
    certificate: Path
    scratch: Path
    fds: tuple[int, ...]


@dataclass(frozen=True)
class Signer:
    """Signs with a pair.

    Attributes:
        epoch: seconds since 1970: when it says that it signed.
    """

    pair: KeyPair
    tools: Tools
    epoch: int

    def require_pair(self) -> None:
        """Refuse what would only be noticed when firmware does not start it.

        Raises:
            InputError: the files do not belong together, or are for another kind of signature.
        """
        with self._open() as (key, certificate, _, fds):
            of_key = self._public(self.pair.key, "pkey", "-in", key, "-pubout", fds=fds)
            of_certificate = self._public(
                self.pair.certificate, "x509", "-in", str(certificate), "-noout", "-pubkey", fds=fds
            )
        if of_key != of_certificate:
            raise InputError(
                f"{self.pair.certificate} is not the certificate of {self.pair.key}",
                hint="give the two files that were made together",
            )
        if _RSA not in base64.b64decode("".join(of_key.splitlines()[1:-1])):
            raise InputError(
                f"{self.pair.key} is no RSA key, and firmware verifies no other signatures", hint=_MAKE_A_PAIR
            )

    def sign_program(self, program: bytes) -> bytes:
        """An EFI program with an Authenticode signature.

        systemd-sbsign 257 writes down when it signs, and asks only the clock.

        Raises:
            ToolError: it is no EFI program.
        """
        with self._open() as (key, certificate, scratch, fds):
            source, target = scratch / "program.efi", scratch / "signed.efi"
            source.write_bytes(program)
            self.tools.run(
                "systemd-sbsign",
                "sign",
                f"--private-key={key}",
                f"--certificate={certificate}",
                f"--output={target}",
                source,
                env=stop_clock(self.tools, self.epoch),
                pass_fds=fds,
            )
            return target.read_bytes()

    def read_public_key(self) -> bytes:
        """The pair's public key in PEM, which is a kernel image's ``.pcrpkey``."""
        with self._open() as (_, certificate, _, fds):
            return self._public(
                self.pair.certificate, "x509", "-in", str(certificate), "-noout", "-pubkey", fds=fds
            ).encode()

    def sign_policy(self, sections: Mapping[str, Path]) -> str:
        """What lets a TPM open what is sealed for this key, in a kernel image's initrd: JSON, as in its ``.pcrsig``.

        The policy is PCR 11 as systemd-stub(7) and systemd-pcrphase(8) leave it while the initrd runs, and no later.

        Args:
            sections: of the kernel image, as :func:`builder.outputs.uki.read_measured_sections` has them.

        Raises:
            ToolError: systemd-measure(1) cannot load the TPM's libraries, or use the key.
        """
        with self._open() as (key, _, scratch, fds):
            public = scratch / "public.pem"
            public.write_bytes(self.read_public_key())
            return self.tools.run(
                "systemd-measure",
                "sign",
                *(f"--{name}={path}" for name, path in sections.items()),
                "--bank=sha256",
                "--phase=enter-initrd",
                f"--private-key={key}",
                f"--public-key={public}",
                pass_fds=fds,
            )

    def sign_root_hash(self, roothash: str) -> bytes:
        """What is in a signature partition (UAPI.2, "Verity signature partitions")."""
        signature = self._detached(roothash.encode(), "-nocerts")
        parts = {
            "rootHash": roothash,
            "certificateFingerprint": self.pair.fingerprint,
            "signature": base64.b64encode(signature).decode(),
        }
        return json.dumps(parts).encode()

    def make_enrolment(self) -> Mapping[str, bytes]:
        """``.auth`` files that make firmware in setup mode trust the certificate, by variable: PK, KEK, db."""
        content = make_signature_list(self.pair.der)
        return {name: make_signed_update(name, content, self.epoch, self._detached) for name in KEY_VARIABLES}

    def _detached(self, data: bytes, *options: str) -> bytes:
        """PKCS #7 in DER, of what is elsewhere; without attributes, so without a time."""
        with self._open() as (key, certificate, scratch, fds):
            source, target = scratch / "data", scratch / "signature"
            source.write_bytes(data)
            self.tools.run(
                "openssl",
                *("smime", "-sign", "-binary", "-noattr", "-md", "sha256", "-outform", "DER", *options),
                *("-inkey", key, "-signer", certificate, "-in", source, "-out", target),
                pass_fds=fds,
            )
            return target.read_bytes()

    @contextmanager
    def _open(self) -> Iterator[Opened]:
        with tempfile.TemporaryDirectory() as directory, self.pair.key.open("rb") as key:
            certificate = Path(directory, "certificate.pem")
            certificate.write_text(ssl.DER_cert_to_PEM_cert(self.pair.der), encoding="ascii")
            yield Opened(f"/proc/self/fd/{key.fileno()}", certificate, Path(directory), (key.fileno(),))

    def _public(self, path: Path, *command: str, fds: tuple[int, ...]) -> str:
        try:
            return self.tools.run("openssl", *command, pass_fds=fds)
        except ToolError as error:
            raise InputError(f"{path} cannot be used", details=error.details[1:], hint=_MAKE_A_PAIR) from error


def make_key_pair(tools: Tools, directory: Path, name: str) -> KeyPair:
    """A new pair in a directory: ``secure-boot.key``, which only its owner can read, and ``secure-boot.crt``.

    Args:
        name: who signs, for people who look at the certificate.

    Raises:
        InputError: one of them is there already.
    """
    key, certificate = directory / "secure-boot.key", directory / "secure-boot.crt"
    for path in (key, certificate):
        if path.exists():
            raise InputError(
                f"{path} is there already, and images may be signed with it", hint="name another directory"
            )
    with (
        open_replacement(key, mode=0o600, durable=True) as secret,
        open_replacement(certificate, durable=True) as public,
    ):
        tools.run(
            "openssl",
            *("req", "-x509", "-batch", "-noenc", "-newkey", f"rsa:{_RSA_BITS}", "-sha256"),
            *("-days", str(365 * _YEARS), "-subj", f"/CN={name}"),
            *("-keyout", f"/proc/self/fd/{secret.fileno()}", "-out", f"/proc/self/fd/{public.fileno()}"),
            pass_fds=(secret.fileno(), public.fileno()),
        )
    return read_key_pair(key, certificate)

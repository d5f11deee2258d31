"""OpenPGP: detached signatures by a certificate that the user names (RFC 9580), as ``gpg --detach-sign`` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pysequoia

from builder.signatures.verify_key import KeyFileError, SignatureRefused


@dataclass(frozen=True)
class OpenpgpKey:
    """The certificates of one file; each of them may sign."""

    certificates: tuple[pysequoia.Cert, ...] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Of the primary keys, with ``, `` between several."""
        return ", ".join(certificate.fingerprint.upper() for certificate in self.certificates)

    @property
    def kind(self) -> str:
        """What such keys are called."""
        return "OpenPGP certificate"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What gpg appends, with and without ``--armor``."""
        return (".asc", ".sig", ".gpg")

    def verify(self, message: bytes | Path, signature: bytes) -> None:
        """See :class:`builder.signatures.verify_key.VerifyKey`."""
        asked: list[str] = []

        def find_certificates(ids: list[str]) -> list[pysequoia.Cert]:
            asked.extend(ids)
            return list(self.certificates)

        try:
            parsed = pysequoia.Sig.from_bytes(signature)
        except Exception as error:  # the library raises nothing narrower
            raise SignatureRefused("it is no detached OpenPGP signature") from error
        try:
            if isinstance(message, Path):
                result = pysequoia.verify(file=str(message), store=find_certificates, signature=parsed)
            else:
                result = pysequoia.verify(bytes=message, store=find_certificates, signature=parsed)
        except Exception as error:
            if isinstance(message, Path) and not message.is_file():
                raise OSError(f"{message} cannot be read") from error
            named = ", ".join(name.upper() for name in asked) or "no key"
            raise SignatureRefused(
                f"the signature is not by the OpenPGP certificate {self.fingerprint}; it names {named}"
            ) from error
        ours = {certificate.fingerprint.lower() for certificate in self.certificates}
        if not any(signature.certificate.lower() in ours for signature in result.valid_sigs):
            raise SignatureRefused(f"the signature is not by the OpenPGP certificate {self.fingerprint}")


def parse_openpgp_key(data: bytes) -> OpenpgpKey:
    """The certificates in these bytes.

    Raises:
        KeyFileError: there are none.
    """
    try:
        certificates = pysequoia.Cert.split_bytes(data)
    except Exception as error:  # the library raises nothing narrower
        raise KeyFileError("is no OpenPGP certificate that can be read") from error
    if not certificates:
        raise KeyFileError("has no OpenPGP certificate in it")
    return OpenpgpKey(tuple(certificates))

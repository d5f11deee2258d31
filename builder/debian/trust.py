"""Who may sign an archive: pinned fingerprints, and where the keys themselves are found.

The pins are the anchor. A key's bytes may come from anywhere (the host's keyring, the mirror itself),
because a certificate counts only if its fingerprint, which is a hash of the key, is pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pysequoia

from builder.core.releases import BOOKWORM, TRIXIE


class Signs(NamedTuple):
    """What a key may sign: suites of these releases, in the security archive or in the main one."""

    releases: tuple[str, ...]
    security: bool = False


# The keys that sign Debian 12 and 13; source: the package debian-archive-keyring 2025.1. Of each release, the
# first signs the archive, the second its security updates, the third is the release team's own. The archive's software
# signs all suites with all keys that are in use; that is for old machines, and no reason to believe an old key.
DEBIAN_FINGERPRINTS: Mapping[str, Signs | None] = {
    "b8b80b5b623eab6ad8775c45b7c5d7d6350947f8": Signs(BOOKWORM),  # automatic
    "05ab90340c0c5e797f44a8c8254cf3b5aec0a8f0": Signs(BOOKWORM, security=True),
    "4d64fec119c2029067d6e791f8d2585b8783d481": Signs(BOOKWORM),  # stable
    "04b54c3cdca79751b16bc6b5225629df75b188bd": Signs(TRIXIE),  # automatic
    "5e04a1e3223a19a20706e20f9904613d4cce68c6": Signs(TRIXIE, security=True),
    "41587f7db8c774bccf131416762f67a0b2c39de4": Signs(TRIXIE),  # stable
}
KEYRINGS = Path("/usr/share/keyrings")


@dataclass(frozen=True)
class Trust:
    """Who is believed, and of what.

    Attributes:
        fingerprints: pinned (lower-case hex, of primary keys), with what each may sign; ``None`` is anything.
        keyrings: files or directories that may hold the keys.
    """

    fingerprints: Mapping[str, Signs | None] = field(default_factory=lambda: DEBIAN_FINGERPRINTS)
    keyrings: tuple[Path, ...] = (KEYRINGS,)

    def list_signers(self, codename: str) -> frozenset[str]:
        """The pinned keys that count for a suite, by the codename in its Release file (``trixie-security``)."""
        release, _, rest = codename.partition("-")
        return frozenset(
            fingerprint
            for fingerprint, signs in self.fingerprints.items()
            if signs is None or (release in signs.releases and signs.security == (rest == "security"))
        )

    def read_certificates(self) -> list[pysequoia.Cert]:
        """The pinned keys among those in the keyrings; empty if there are none."""
        certificates: dict[str, pysequoia.Cert] = {}
        for keyring in self.keyrings:
            paths = sorted(keyring.glob("debian-archive-*.[gp][gp][gp]")) if keyring.is_dir() else [keyring]
            for path in paths:
                try:
                    data = path.read_bytes()
                except OSError:
                    continue
                for cert in self.parse_pinned_keys(data):
                    certificates.setdefault(cert.fingerprint, cert)
        return list(certificates.values())

    def parse_pinned_keys(self, data: bytes) -> list[pysequoia.Cert]:
        """The pinned keys in a keyring's bytes; what cannot be read as keys has none."""
        try:
            certificates = pysequoia.Cert.split_bytes(data)
        except Exception:
            return []
        return [cert for cert in certificates if cert.fingerprint in self.fingerprints]


class SignatureProblem(Exception):
    """A text is not signed by a pinned key; the message says why."""


def read_verified(
    data: bytes, certificates: Sequence[pysequoia.Cert], pins: Iterable[str]
) -> tuple[bytes, tuple[str, ...]]:
    """The signed content of a clear-signed text, and the pinned fingerprints that signed it.

    Only what the signature covers is returned; text before or after it is not.

    Raises:
        SignatureProblem: no pinned key signed it.
    """
    asked: list[str] = []

    def certificates_for(ids: list[str]) -> list[pysequoia.Cert]:
        asked.extend(ids)
        return list(certificates)

    try:
        result = pysequoia.verify(data, store=certificates_for)
    except Exception as error:
        if not asked:
            raise SignatureProblem("it is not signed") from error
        names = ", ".join(name.upper() for name in asked)
        raise SignatureProblem(f"none of its signatures is good and by a trusted key (it names {names})") from error
    signers = {signature.certificate.lower() for signature in result.valid_sigs} & set(pins)
    if not signers or result.bytes is None:
        raise SignatureProblem("it is not signed by a trusted key")
    return result.bytes, tuple(sorted(signers))

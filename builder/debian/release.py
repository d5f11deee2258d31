"""An archive's Release file: what a suite consists of, signed and dated.

Source: the Debian wiki's RepositoryFormat page ("Release" files), apt-secure(8).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pysequoia

from builder.core.errors import SourceError
from builder.debian.control import ControlError, parse_stanza
from builder.debian.lock import DATE_FORMAT
from builder.debian.trust import SignatureProblem, Trust, read_verified

MAX_BYTES = 16 << 20
# Clocks differ; more than this is a wrong clock or a forged date.
FUTURE_SLACK = timedelta(days=1)
_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = b"\n-----BEGIN PGP SIGNATURE-----"
_SIGNED = re.compile(rb"%b\r?\n(?:[^\r\n]+\r?\n)*\r?\n" % re.escape(_BEGIN))
_ENTRY = re.compile(r"([0-9a-f]{64})[ \t]+(\d{1,15})[ \t]+(\S+)")


class ReleaseError(SourceError):
    """An InRelease file that is not authentic, not current, or not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file that a Release file vouches for; size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Release:
    """One suite at one time.

    Attributes:
        suite: the name that was asked for.
        sha256: hash of the whole InRelease file.
        files: by path below ``dists/SUITE``.
        signers: the pinned fingerprints that signed it.
    """

    suite: str
    codename: str
    date: datetime
    valid_until: datetime | None
    components: tuple[str, ...]
    architectures: tuple[str, ...]
    by_hash: bool
    files: Mapping[str, IndexFile]
    sha256: str
    signers: tuple[str, ...]

    @property
    def date_text(self) -> str:
        """The date as a lock has it: ``2026-11-21T09:15:44Z``."""
        return self.date.strftime(DATE_FORMAT)


@dataclass(frozen=True)
class Freshness:
    """How current a Release file must be.

    Attributes:
        now: the present.
        check_valid_until: refuse one that has expired, or that is dated in the future.
        not_before: refuse one that is older than this (what a lock has seen already).
    """

    now: datetime
    check_valid_until: bool = True
    not_before: datetime | None = None


def read_release(
    data: bytes, suite: str, trust: Trust, certificates: Sequence[pysequoia.Cert], freshness: Freshness
) -> Release:
    """Verify an InRelease file and read it.

    Raises:
        ReleaseError: wrongly signed, expired, older than what was seen before, another suite's, or malformed.
    """
    try:
        content, signers = read_verified(data, certificates, trust.fingerprints)
    except SignatureProblem as problem:
        raise ReleaseError(
            f"the index of {suite} is not authentic: {problem}",
            hint="do not use this mirror; a proxy that rewrites what it passes on does this as well",
        ) from problem
    release = parse_release(content, suite, hashlib.sha256(data).hexdigest(), signers)
    if not trust.list_signers(release.codename).intersection(signers):
        raise ReleaseError(
            f"the index of {suite} is not authentic: no key that may sign {release.codename} signed it",
            details=[f"it is signed by {signer.upper()}" for signer in signers],
            hint="the key of another release signed it; do not use this mirror",
        )
    _check_dates(release, freshness)
    return release


def parse_release(content: bytes, suite: str, sha256: str = "", signers: tuple[str, ...] = ()) -> Release:
    """Read the content of a Release file, and see that it is the suite that was asked for.

    Raises:
        ReleaseError: it is not, or is malformed.
    """
    try:
        fields = parse_stanza(content.decode("utf-8"))
        codename = fields["Codename"]
        names = {codename, fields.get("Suite", codename)}
        date = _date(fields["Date"])
        valid_until = _date(fields["Valid-Until"]) if "Valid-Until" in fields else None
        files = dict(map(_entry, fields["SHA256"].split("\n")[1:]))
    except (ControlError, UnicodeDecodeError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ReleaseError(f"the index of {suite} cannot be read: {reason[:200]}") from error
    # The security archive calls itself trixie-security; before bookworm it was CODENAME/updates.
    if suite not in names:
        raise ReleaseError(
            f"asked for {suite}, the mirror sent {' or '.join(sorted(names))[:100]}",
            hint="the mirror is broken, or somebody is replacing one release by another",
        )
    return Release(
        suite=suite,
        codename=codename,
        date=date,
        valid_until=valid_until,
        components=tuple(fields.get("Components", "").split()),
        architectures=tuple(fields.get("Architectures", "").split()),
        by_hash=fields.get("Acquire-By-Hash", "no") == "yes",
        files=files,
        sha256=sha256,
        signers=signers,
    )


def read_unverified_content(data: bytes) -> bytes:
    """The text inside a clear-signed file, not verified. Only to find the keys with which to verify it.

    Raises:
        ReleaseError: not such a file. Source: RFC 9580, section 7.
    """
    # The first of each mark and no search for pairs: with 16 MB of marks, that would not come to an end.
    head = _SIGNED.match(data, max(data.find(_BEGIN), 0))
    end = data.find(_SIGNATURE, head.end() - 1) if head is not None else -1
    if head is None or end < 0:
        raise ReleaseError("the mirror's index is not signed")
    return re.sub(rb"^- ", b"", data[head.end() : end].removesuffix(b"\r"), flags=re.MULTILINE)


def _entry(line: str) -> tuple[str, IndexFile]:
    match = _ENTRY.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"not an entry of a list of hashes: {line[:100]!r}")
    return match[3], IndexFile(match[1], int(match[2]))


def _date(text: str) -> datetime:
    date = parsedate_to_datetime(text)
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)


def _check_dates(release: Release, freshness: Freshness) -> None:
    if freshness.not_before is not None and release.date < freshness.not_before:
        raise ReleaseError(
            f"the mirror's {release.suite} is of {release.date_text}, older than the one locked before"
            f" ({freshness.not_before.strftime(DATE_FORMAT)})",
            hint="the mirror lags behind, or somebody withholds updates; try later or another mirror",
        )
    if not freshness.check_valid_until:
        return
    if release.valid_until is not None and release.valid_until < freshness.now:
        raise ReleaseError(
            f"the mirror's {release.suite} expired on {release.valid_until:%Y-%m-%d %H:%M} UTC",
            hint="the mirror is stale, or this machine's clock is wrong; for an archive kept on purpose"
            " (a snapshot) set 'check_valid_until: false'",
        )
    if release.date > freshness.now + FUTURE_SLACK:
        raise ReleaseError(
            f"the mirror's {release.suite} is dated {release.date:%Y-%m-%d %H:%M} UTC, in the future",
            hint=f"is this machine's clock right? It says {freshness.now:%Y-%m-%d %H:%M} UTC",
        )

"""Locked artifacts and where they go: what a stage depends on, by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.debian.lock import Lock
from builder.definition.artifacts import ResolvedArtifact


@dataclass(frozen=True)
class ArchiveSelection:
    """What of an archive is wanted: without so many leading directories, and of that what one of the globs matches."""

    strip: int = 0
    select: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlacedArtifact:
    """An artifact by hash, and where it goes.

    Attributes:
        sha256: empty where there is no lock yet, so that a plan can be made.
        owner: ``USER`` or ``USER:GROUP``, by name or number.
        archive: what is placed of an archive; ``None`` for one file.
        key: the public key that must have signed it, if one must.
        signature: the hash of the signature, which is in the store as well.
    """

    name: str
    sha256: str
    path: str
    mode: int
    owner: str
    archive: ArchiveSelection | None = None
    key: Path | None = None
    signature: str = ""

    @property
    def origin(self) -> str:
        """What the nodes of it say."""
        return f"artifact:{self.name}"


def list_placed(artifacts: Sequence[ResolvedArtifact], lock: Lock, group: str) -> tuple[PlacedArtifact, ...]:
    """The artifacts of one of the lock's groups, as the lock has them."""
    rows = {row.artifact: row for row in lock.artifacts if row.group == group}
    return tuple(
        PlacedArtifact(
            artifact.name,
            rows[artifact.name].sha256 if artifact.name in rows else "",
            artifact.path,
            artifact.mode,
            artifact.owner,
            None if artifact.unpack is None else ArchiveSelection(artifact.unpack.strip, artifact.unpack.select),
            None if artifact.signature is None else artifact.signature.key,
            rows[artifact.name].signature if artifact.name in rows else "",
        )
        for artifact in artifacts
    )

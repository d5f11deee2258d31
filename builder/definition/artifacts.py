"""Artifacts of a definition or a feature with the files that they name found: what a lock and a build consume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.architecture import Arch
from builder.definition.artifact import ArchiveContents, Artifact, ArtifactSignature, choose_mode
from builder.definition.findings import Findings, shorten_path
from firstboot.config.located import Located, Problem


@dataclass(frozen=True)
class ResolvedSignature:
    """Who must have signed an artifact.

    Attributes:
        key: the file with the public key, absolute.
        url, file: where the signature is; of neither, beside the artifact's own URL.
    """

    key: Path
    url: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class ResolvedArtifact:
    """An artifact that an image of this architecture gets.

    Attributes:
        origin: the file that names it, absolute.
        source: where it is, as written: a URL, or a path relative to ``origin``.
        file: where it lies, absolute; ``None`` if ``url`` says where.
        sha256: what the definition says, if it does.
        owner: ``USER`` or ``USER:GROUP``.
        unpack: of an archive, what is placed; ``None`` for one file.
    """

    origin: Path
    name: str
    version: str | None
    source: str
    url: str | None
    file: Path | None
    sha256: str | None
    path: str
    mode: int
    owner: str
    unpack: ArchiveContents | None
    signature: ResolvedSignature | None


def find_artifacts(
    artifacts: Sequence[Artifact], located: Located, origin: Path, arch: Arch, findings: Findings
) -> tuple[ResolvedArtifact, ...]:
    """Those for this architecture, with the files that they name; what is missing is noted as a problem."""
    placed = []
    for index, artifact in enumerate(artifacts):
        here = ("artifacts", index)
        file = _require_file(artifact.file, (*here, "file"), located, origin, findings)
        signature = None
        if artifact.signature is not None:
            signature = _find_signature(artifact.signature, (*here, "signature"), located, origin, findings)
        if artifact.arch in (None, arch):
            placed.append(
                ResolvedArtifact(
                    origin=origin,
                    name=artifact.name,
                    version=artifact.version,
                    source=artifact.url or artifact.file or "",
                    url=artifact.url,
                    file=file,
                    sha256=artifact.sha256,
                    path=artifact.path,
                    mode=choose_mode(artifact.path, artifact.mode),
                    owner=artifact.owner,
                    unpack=artifact.unpack,
                    signature=signature,
                )
            )
    return tuple(placed)


def merge_artifacts(layers: Iterable[Sequence[ResolvedArtifact]]) -> tuple[ResolvedArtifact, ...]:
    """The artifacts of all layers; of one name the later counts, in its own place."""
    merged: dict[str, ResolvedArtifact] = {}
    for layer in layers:
        for artifact in layer:
            merged.pop(artifact.name, None)
            merged[artifact.name] = artifact
    return tuple(merged.values())


def _find_signature(
    signature: ArtifactSignature, here: tuple[str | int, ...], located: Located, origin: Path, findings: Findings
) -> ResolvedSignature | None:
    key = require_key(signature.key, (*here, "key"), located, origin, findings)
    file = _require_file(signature.file, (*here, "file"), located, origin, findings)
    return None if key is None else ResolvedSignature(key, signature.url, file)


def require_key(
    name: str, here: tuple[str | int, ...], located: Located, origin: Path, findings: Findings
) -> Path | None:
    """The file of a public key that can be used; what is wrong with it is noted as a problem."""
    from builder.signatures.key_file import read_verify_key  # noqa: PLC0415 - most definitions name no key
    from builder.signatures.verify_key import KeyFileError  # noqa: PLC0415

    path = _require_file(name, here, located, origin, findings)
    if path is None:
        return None
    try:
        read_verify_key(path)
    except KeyFileError as error:
        findings.add(located, [Problem(here, f"the key {shorten_path(path)} {error}")])
        return None
    return path


def _require_file(
    name: str | None, here: tuple[str | int, ...], located: Located, origin: Path, findings: Findings
) -> Path | None:
    if name is None:
        return None
    path = origin.parent / name
    if path.is_file():
        return path
    what = "is a directory" if path.is_dir() else "does not exist"
    findings.add(located, [Problem(here, f"{shorten_path(path)} {what}")])
    return None

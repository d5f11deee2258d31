"""What the lock says of artifacts, and how their bytes get into the store: once, by hash, with their signatures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.bundle import Carried
from builder.core.console import Console
from builder.core.errors import InputError, SourceError
from builder.core.files import hash_file
from builder.core.store import Store
from builder.debian.lock import Lock, LockedArtifact
from builder.definition.artifact import REGISTRY
from builder.definition.artifacts import ResolvedArtifact
from builder.definition.resolved import Resolved, ResolvedContainer
from builder.definition.where import describe_at_entry
from builder.signatures.key_file import read_verify_key
from builder.signatures.verify_key import KeyFileError, SignatureRefused, VerifyKey

if TYPE_CHECKING:
    from builder.debian.transfer import Client

MAX_SIGNATURE = 1 << 20  # bytes; a signature has some hundred
GONE_HINT = "is it still there? 'build-os store import' brings it from a machine that has it"


@dataclass(frozen=True)
class Grouped:
    """An artifact, the lock's group that it belongs to (``image``, or ``container:NAME``), and the architecture."""

    group: str
    artifact: ResolvedArtifact
    arch: str


def list_artifacts(resolved: Resolved | ResolvedContainer) -> list[Grouped]:
    """All artifacts of a definition and of the containers that are built with it."""
    artifacts = [Grouped("image", artifact, resolved.arch) for artifact in resolved.artifacts]
    for container in resolved.containers if isinstance(resolved, Resolved) else ():
        if isinstance(container.image, ResolvedContainer):
            group = container.image.package_set.name
            artifacts += [Grouped(group, artifact, resolved.arch) for artifact in container.image.artifacts]
    return list(dict.fromkeys(artifacts))


def find_stale(lock: Lock, resolved: Resolved | ResolvedContainer) -> list[str]:
    """What the definition says of artifacts that the lock does not, each a line. Nothing is fetched."""
    rows = {(row.group, row.artifact): row for row in lock.artifacts}
    lines = []
    for grouped in list_artifacts(resolved):
        row = rows.pop((grouped.group, grouped.artifact.name), None)
        reason = "is new" if row is None else _compare(grouped.artifact, row)
        if reason:
            lines.append(f"{grouped.artifact.name}: {reason}")
    return [*lines, *(f"{name}: is gone" for _, name in rows)]


def describe_artifacts(old: Lock, new: Lock) -> list[str]:
    """The artifacts that are not the same in two locks, each a line."""
    before, after = ({(row.group, row.artifact): row for row in lock.artifacts} for lock in (old, new))
    lines = []
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        hashes = [row.sha256[:12] if row else none for row, none in ((one, "not there"), (other, "gone"))]
        where = "" if key[0] == "image" else f" ({key[0]})"
        if hashes[0] != hashes[1]:
            lines.append(f"artifact {key[1]}: {hashes[0]} -> {hashes[1]}{where}")
        elif one != other:
            lines.append(f"artifact {key[1]}: the same bytes, from elsewhere or signed otherwise{where}")
    return lines


def lock_artifacts(
    resolved: Resolved | ResolvedContainer,
    store: Store,
    console: Console,
    old: Lock | None = None,
    update: Sequence[str] | None = (),
    *,
    offline: bool = False,
) -> tuple[LockedArtifact, ...]:
    """The rows of all artifacts; what is new is fetched, and its signature checked.

    Args:
        update: the names of those whose tags in registries are resolved anew; ``None``: all.

    Raises:
        SourceError: one cannot be had, has another hash, or is not signed by the key that it must be signed by.
        InputError: a file is not there, or fetching is needed and off.
    """
    known = {(row.group, row.artifact): row for row in (old.artifacts if old is not None else ())}
    rows = []
    for grouped in list_artifacts(resolved):
        row = known.get((grouped.group, grouped.artifact.name))
        moves = (grouped.artifact.url or "").startswith(REGISTRY) and (
            update is None or grouped.artifact.name in update
        )
        if row is None or _compare(grouped.artifact, row) or moves:
            row = _lock(grouped, store, console, offline=offline)
        rows.append(row)
    return tuple(rows)


def fetch_artifacts(
    resolved: Resolved | ResolvedContainer, lock: Lock, store: Store, console: Console, *, offline: bool = False
) -> None:
    """Make sure that all artifacts of a lock and their signatures are in the store.

    Raises:
        SourceError: one cannot be had, or is missing while ``offline``.
        InputError: a file of the definition is not the one that was locked.
    """
    rows = {(row.group, row.artifact): row for row in lock.artifacts}
    for grouped in list_artifacts(resolved):
        row = rows.get((grouped.group, grouped.artifact.name))
        if row is None:
            continue
        if not store.has_blob(row.sha256, row.size):
            _get(grouped, (row.sha256, row.size), store, console, offline=offline)
        if row.signature and not store.has_blob(row.signature):
            data = _get_signature(grouped.artifact, _read_key(grouped.artifact), offline=offline)
            if hashlib.sha256(data).hexdigest() != row.signature:
                raise _complain(grouped.artifact, "signature", "the signature is another one than when it was locked")
            store.add_bytes(data)


def list_carried(lock: Lock, store: Store) -> list[Carried]:
    """The files of a lock's artifacts and their signatures, to be carried to another store."""
    files = [Carried(row.sha256, row.size, f"artifact {row.artifact}") for row in lock.artifacts]
    for row in lock.artifacts:
        if row.signature:
            size = store.locate_blob(row.signature).stat().st_size
            files.append(Carried(row.signature, size, f"signature of {row.artifact}"))
    return files


def _compare(artifact: ResolvedArtifact, row: LockedArtifact) -> str:
    """Why a row is not this artifact's; empty if it is."""
    if artifact.source != row.origin:
        return f"is from {artifact.source}, locked from {row.origin}"
    if artifact.sha256 is not None and artifact.sha256 != row.sha256:
        return f"has sha256 {artifact.sha256}, locked {row.sha256}"
    if artifact.file is not None and (sha256 := hash_file(artifact.file)) != row.sha256:
        return f"{artifact.source} has sha256 {sha256}, locked {row.sha256}"
    key = "" if artifact.signature is None else hash_file(artifact.signature.key)
    return "" if key == row.key else "another key must have signed it"


def _lock(grouped: Grouped, store: Store, console: Console, *, offline: bool) -> LockedArtifact:
    artifact = grouped.artifact
    sha256 = _get(grouped, None, store, console, offline=offline)
    blob = store.locate_blob(sha256)
    row = LockedArtifact(grouped.group, artifact.name, artifact.source, sha256, blob.stat().st_size)
    if artifact.signature is None:
        return row
    key = _read_key(artifact)
    signature = _get_signature(artifact, key, offline=offline)
    try:
        key.verify(blob, signature)
    except SignatureRefused as error:
        raise _complain(artifact, "signature", f"the artifact is not signed by {_name(artifact)}: {error}") from error
    console.note(f"artifact {artifact.name}: signed by the {key.kind} {key.fingerprint}")
    return LockedArtifact(
        row.group,
        row.artifact,
        row.origin,
        row.sha256,
        row.size,
        signature=store.add_bytes(signature),
        key=hash_file(artifact.signature.key),
    )


def _get(grouped: Grouped, locked: tuple[str, int] | None, store: Store, console: Console, *, offline: bool) -> str:
    """Bring the bytes into the store; returns their hash.

    Args:
        locked: hash and size by the lock, if it has them.
    """
    artifact = grouped.artifact
    sha256 = locked[0] if locked is not None else artifact.sha256
    if artifact.file is not None:
        return _copy(artifact, sha256, store)
    if sha256 is not None and store.has_blob(sha256):
        return sha256
    if offline:
        raise _complain(
            artifact, "url", "this is not in the store, and downloading is off", hint="run once without --offline"
        )
    from builder.debian.fetch import Download, fetch  # noqa: PLC0415 - what downloads is imported by who has to

    assert artifact.url is not None, "it is no file"
    if artifact.url.startswith(REGISTRY):
        return _get_from_registry(grouped, artifact.url, locked, store, console)
    assert sha256 is not None, "a URL without a hash is refused by the check of the definition"
    try:
        with console.open_step(f"fetch {artifact.name}"):
            fetch([Download(sha256, None, f"artifact {artifact.name}", (artifact.url,), GONE_HINT)], store, console)
    except SourceError as error:
        raise _complain(artifact, "url", error.what, *error.details, hint=error.hint) from error
    return sha256


def _get_from_registry(
    grouped: Grouped, url: str, locked: tuple[str, int] | None, store: Store, console: Console
) -> str:
    from builder.artifacts.registry import fetch_layer  # noqa: PLC0415 - as above

    try:
        with console.open_step(f"fetch {grouped.artifact.name}"):
            sha256 = fetch_layer(url, grouped.arch, locked, store, console)
    except (InputError, SourceError) as error:
        raise _complain(grouped.artifact, "url", error.what, *error.details, hint=error.hint) from error
    if grouped.artifact.sha256 not in (None, sha256):
        raise _complain(grouped.artifact, "sha256", f"{url} has sha256 {sha256}")
    return sha256


def _copy(artifact: ResolvedArtifact, sha256: str | None, store: Store) -> str:
    assert artifact.file is not None, "it is a file"
    actual = hash_file(artifact.file)
    if sha256 is not None and actual != sha256:
        raise _complain(artifact, "sha256" if artifact.sha256 else "file", f"{artifact.source} has sha256 {actual}")
    if not store.has_blob(actual):
        with artifact.file.open("rb") as source, store.add_blob(actual, artifact.source) as out:
            while piece := source.read(1 << 20):
                out.write(piece)
    return actual


def _get_signature(artifact: ResolvedArtifact, key: VerifyKey, *, offline: bool) -> bytes:
    wanted = artifact.signature
    assert wanted is not None, "asked for those that are signed"
    if wanted.file is not None:
        if wanted.file.stat().st_size > MAX_SIGNATURE:
            raise _complain(artifact, "signature", f"{wanted.file.name} is larger than any signature")
        return wanted.file.read_bytes()
    urls = [wanted.url] if wanted.url is not None else [f"{artifact.url}{suffix}" for suffix in key.suffixes]
    if offline:
        raise _complain(artifact, "signature", "the signature is not in the store, and downloading is off")
    from builder.debian.transfer import Client  # noqa: PLC0415 - as above

    return _read_first(Client(), urls, artifact)


def _read_first(client: Client, urls: Sequence[str], artifact: ResolvedArtifact) -> bytes:
    """The first of several files that is there."""
    failures: list[str] = []
    for url in urls:
        try:
            return client.read([url], f"the signature of {artifact.name}", maximum=MAX_SIGNATURE, hint=GONE_HINT)
        except SourceError as error:
            failures += error.details
    raise _complain(artifact, "signature", "there is no signature of the artifact", *failures, hint="say signature.url")


def _read_key(artifact: ResolvedArtifact) -> VerifyKey:
    assert artifact.signature is not None, "asked for those that are signed"
    try:
        return read_verify_key(artifact.signature.key)
    except KeyFileError as error:
        raise _complain(artifact, "signature", f"the key {_name(artifact)} {error}") from error


def _name(artifact: ResolvedArtifact) -> str:
    path = artifact.signature.key if artifact.signature is not None else Path()
    return str(path.relative_to(artifact.origin.parent)) if path.is_relative_to(artifact.origin.parent) else path.name


def _complain(
    artifact: ResolvedArtifact, key: str, message: str, *details: str, hint: str | None = None
) -> SourceError:
    text = describe_at_entry(artifact.origin, ("artifacts",), artifact.name, key, message, hint)
    return SourceError(text, details=details)

"""A repository of versions is brought to a registry: what it is there, :mod:`update.registry` says.

``timestamp.json`` comes last, as on the disk: until then machines are led to nothing that is new, and what is cut off
is gone on with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Timestamp

from builder.core.console import Console, format_size
from builder.core.errors import InputError, SourceError
from builder.core.files import CHUNK, hash_file
from builder.core.locks import hold_lock
from builder.oci.image import MANIFEST, make_canonical_json, make_digest
from builder.oci.registry.client import MissingImageError
from builder.oci.registry.listing import list_tags
from builder.oci.registry.manifest import Manifest, describe_blob, make_manifest
from builder.oci.registry.push import DeletionRefusedError, Publisher
from builder.oci.registry.reference import Reference, parse_reference
from builder.publishing.keys import BAD_METADATA
from builder.publishing.repository import LOCK, NUMBERED, TIMESTAMP_FILE, open_repository
from firstboot.config.oci.manifests import EMPTY, MAX_MANIFEST, TITLE, BadManifest, Descriptor
from update.registry import ARTIFACT, FILE_TYPE, METADATA, METADATA_TYPE, TARGETS, make_title

NOTHING = b"{}"  # the configuration of an artifact that has none (image-spec, manifest.md)
NO_CONFIG = Descriptor(EMPTY, make_digest(NOTHING), len(NOTHING))
PLACE = re.compile(r"(?:docker|oci|oci\+http)://")


@dataclass
class Pushed:
    """What was sent, and what was there: numbers of files and manifests, and bytes."""

    sent: int = 0
    size: int = 0
    there: int = 0


@dataclass(frozen=True)
class _File:
    """A file of the repository, as it is called in it and by its hash."""

    title: str
    path: Path
    blob: Descriptor


def parse_repository_place(text: str) -> Reference:
    """``oci://HOST/NAME``, or ``docker://HOST/NAME``, or without either.

    Raises:
        InputError: it is no repository.
    """
    reference = parse_reference(PLACE.sub("", text, count=1), whole_repository=True)
    if reference.tag is not None or reference.digest is not None:
        raise InputError(f"{text!r} is an image, and versions are published to a repository", hint=reference.name)
    return reference


def send_repository(directory: Path, publisher: Publisher, console: Console, *, prune: bool = False) -> Pushed:
    """Bring what a directory has to a repository of a registry.

    Args:
        prune: take away what nothing leads to any more, where the registry allows that.

    Raises:
        InputError: the registry has something newer, or another repository of versions.
        SourceError: the directory is damaged; the registry does not answer, or does not take it.
    """
    pushed = Pushed()
    with hold_lock(directory / LOCK, console, "publishing from this repository"):
        repository = open_repository(directory, None)
        metadata = directory / METADATA
        roots = [path for path in metadata.iterdir() if (match := NUMBERED.fullmatch(path.name)) and match[2] == "root"]
        _check_there(publisher, directory, repository.timestamp.signed.version, min(roots, key=_read_number))
        targets = [
            _File(
                f"{TARGETS}/{file.relative_to(directory / TARGETS)}",
                file,
                Descriptor(FILE_TYPE, f"sha256:{target.hashes['sha256']}", target.length),
            )
            for path, target in sorted(repository.files.items())
            for file in [repository.locate(path)]
        ]
        latest = f"{repository.targets.signed.version}.targets.json"
        with console.open_step(f"push to {publisher.name}"):
            _upload(publisher, NO_CONFIG, NOTHING, Pushed())
            for root in sorted(roots, key=_read_number):
                _push_metadata(publisher, root, (), pushed)
            _push_metadata(publisher, metadata / latest, targets, pushed)
            _push_metadata(publisher, metadata / f"{repository.snapshot.signed.version}.snapshot.json", (), pushed)
            _push_metadata(publisher, metadata / TIMESTAMP_FILE, (), pushed)
        if prune:
            _prune(publisher, metadata, console)
    return pushed


def _read_number(path: Path) -> int:
    return int(path.name.partition(".")[0])


def _check_there(publisher: Publisher, directory: Path, version: int, first: Path) -> None:
    """The registry must have nothing, or this repository as it is or was."""
    place = publisher.name
    there = _find_metadata(publisher, TIMESTAMP_FILE)
    if there is None:
        return
    root = _find_metadata(publisher, first.name)
    if root is not None and root != first.read_bytes():
        raise InputError(f"{place} has another repository of versions than {directory}", hint="push to another name")
    try:
        known = Metadata[Timestamp].from_bytes(there).signed.version
    except BAD_METADATA as error:
        raise SourceError(f"{place}:{TIMESTAMP_FILE} is damaged: {error}", hint="delete that tag") from error
    if known > version:
        raise InputError(
            f"{place} has version {known} of {TIMESTAMP_FILE}, and {directory} has {version}",
            hint="somebody else has published there: publish from their copy of the directory",
        )


def _find_metadata(publisher: Publisher, name: str) -> bytes | None:
    """A file of metadata that the registry has."""
    try:
        manifest = publisher.client.read_manifest(name)
        blobs = [blob for blob in manifest.list_blobs() if blob.annotations.get(TITLE) == make_title(name)]
    except MissingImageError:
        return None
    except BadManifest as error:
        raise SourceError(f"{publisher.name}:{name}: the manifest {error}") from None
    if not blobs:
        raise InputError(f"{publisher.name}:{name} is no repository of versions", hint="push to another name")
    return publisher.client.read_blob(blobs[0])


def _push_metadata(publisher: Publisher, path: Path, others: Sequence[_File], pushed: Pushed) -> None:
    """A file of metadata with what belongs to it; its tag comes when all of it is there."""
    own = Descriptor(METADATA_TYPE, f"sha256:{hash_file(path)}", path.stat().st_size)
    files = [_File(make_title(path.name), path, own), *others]
    manifest = _make_manifest(files, publisher.name)
    there = publisher.client.find_descriptor(path.name)
    if there is not None and there.digest == manifest.digest:
        pushed.there += 1
        return
    for file in files:
        _upload(publisher, file.blob, file.path, pushed)
    publisher.put_manifest(manifest, path.name)
    pushed.sent += 1


def _make_manifest(files: Sequence[_File], name: str) -> Manifest:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": describe_blob(NO_CONFIG),
        "layers": [{**describe_blob(file.blob), "annotations": {TITLE: file.title}} for file in files],
    }
    data = make_canonical_json(document)
    if len(data) > MAX_MANIFEST:
        raise InputError(
            f"{len(files)} files are more than a manifest of {name} can list",
            hint="'build-os publish DIR --prune N' removes old versions",
        )
    return make_manifest(data)


def _upload(publisher: Publisher, blob: Descriptor, source: Path | bytes, pushed: Pushed) -> None:
    if publisher.has_blob(blob):
        pushed.there += 1
        return
    publisher.upload_blob(blob, partial(_read, source))
    pushed.sent += 1
    pushed.size += blob.size


def _read(source: Path | bytes, start: int) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source[start:]
        return
    with source.open("rb") as file:
        file.seek(start)
        while data := file.read(CHUNK):
            yield data


def _prune(publisher: Publisher, metadata: Path, console: Console) -> None:
    """Take away tags whose files are gone; what only they led to is the registry's to collect."""
    gone = [
        tag
        for tag in list_tags(publisher.client)
        if (match := NUMBERED.fullmatch(tag)) and match[2] != "root" and not (metadata / tag).exists()
    ]
    try:
        for tag in gone:
            publisher.delete_tag(tag)
    except DeletionRefusedError as error:
        console.warn(f"what was pruned stays in the registry: {error}")


def describe_push(pushed: Pushed, name: str) -> str:
    """A line for people."""
    return f"{name}: {pushed.sent} sent ({format_size(pushed.size)}), {pushed.there} were there"

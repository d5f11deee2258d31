"""Manifests and indexes as registries send them (OCI image-spec 1.1, Docker's schema 2): which part is meant?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.oci.reference import DIGEST

_compiled = cache(re.compile)

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
INDEXES = (INDEX, DOCKER_INDEX)
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
TITLE = "org.opencontainers.image.title"  # what oras and others call a file in an artifact
REF_NAME = "org.opencontainers.image.ref.name"

MAX_MANIFEST = 4 << 20  # what a registry has to accept at most
MAX_ENTRIES = 10_000
_MEDIA_TYPE = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"


class BadManifest(ValueError):
    """A document that is not what a manifest is; the message completes "the manifest ..."."""


class Platform(NamedTuple):
    """What an image runs on, by Go's names."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


class Descriptor(NamedTuple):
    """A reference to content (descriptor.md), checked in form.

    Attributes:
        size: in bytes.
        artifact_type: what a manifest is about, in an index or a list of referrers.
    """

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = {}
    artifact_type: str = ""

    @property
    def hex(self) -> str:
        """The digest without its algorithm."""
        return self.digest.partition(":")[2]


def parse_document(data: bytes) -> dict[str, Any]:
    """A manifest or an index: a JSON object.

    Raises:
        BadManifest
    """
    try:
        document = json.loads(data, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise BadManifest(f"is no JSON that everybody reads alike ({_show(str(error))})") from None
    if not isinstance(document, dict):
        raise BadManifest("is no JSON object")
    return document


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result


def find_media_type(document: Mapping[str, Any], announced: str = "") -> str:
    """What a document is. It says so itself, or the server's header does, or its fields do; they must not disagree.

    Raises:
        BadManifest: it is of no known type, or of two at once (CVE-2021-41190).
    """
    own = document.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise BadManifest("has a mediaType that is no text")
    announced = announced.partition(";")[0].strip().lower()
    if document.get("schemaVersion") == 1 or announced in SCHEMA_1 or own in SCHEMA_1:
        raise BadManifest("is of Docker's schema 1, which has no digests of what is in the layers; push the image anew")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise BadManifest("is a manifest and an index at once")
    shape = INDEXES if "manifests" in document else MANIFESTS
    known = {*INDEXES, *MANIFESTS}
    if own is not None and announced in known and own != announced:
        raise BadManifest(f"says that it is {_show(own)}, the registry that it is {announced}")
    chosen = own or (announced if announced in known else shape[0])
    if chosen not in known:
        raise BadManifest(f"is of the type {_show(chosen)}, which is none of an image")
    if chosen not in shape:
        raise BadManifest(f"is called {_show(chosen)}, but has the fields of {shape[0]}")
    if document.get("schemaVersion", 2) != 2:
        raise BadManifest("has another schemaVersion than 2")
    return str(chosen)


def parse_descriptor(value: object, where: str) -> Descriptor:
    """One descriptor.

    Raises:
        BadManifest: it is none.
    """
    if not isinstance(value, dict):
        raise BadManifest(f"has no descriptor as {where}")
    digest, size, media_type = value.get("digest"), value.get("size"), value.get("mediaType")
    if not isinstance(digest, str) or not _compiled(DIGEST).fullmatch(digest):
        raise BadManifest(f"has a {where} whose digest is none that is supported")
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise BadManifest(f"has a {where} whose size is no number of bytes")
    if not isinstance(media_type, str) or not _compiled(_MEDIA_TYPE).fullmatch(media_type):
        raise BadManifest(f"has a {where} whose mediaType is none")
    artifact_type = value.get("artifactType")
    return Descriptor(
        media_type,
        digest,
        size,
        _platform(value.get("platform")),
        _annotations(value.get("annotations")),
        artifact_type if isinstance(artifact_type, str) else "",
    )


def list_descriptors(document: Mapping[str, Any], key: str) -> list[Descriptor]:
    """The descriptors of ``layers`` or ``manifests``.

    Raises:
        BadManifest: one of them is none, or there are too many.
    """
    entries = document.get(key)
    if not isinstance(entries, list):
        raise BadManifest(f"has no list {key}")
    if len(entries) > MAX_ENTRIES:
        raise BadManifest(f"has {len(entries)} {key}, more than {MAX_ENTRIES}")
    return [parse_descriptor(entry, f"{key}[{number}]") for number, entry in enumerate(entries)]


def _show(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:100])


def _platform(value: object) -> Platform | None:
    if not isinstance(value, dict):
        return None
    parts = [value.get(key, "") for key in ("os", "architecture", "variant")]
    return Platform(*parts) if all(isinstance(part, str) for part in parts) else None


def _annotations(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


# The variant that is meant where none is said (containerd, platforms/database.go).
_USUAL_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


def find_for_platform(descriptors: Iterable[Descriptor], wanted: Platform) -> Descriptor | None:
    """The entry of an index for a platform: of those that fit the one with its very variant, else the first."""
    usual = _USUAL_VARIANT.get(wanted.architecture, "")
    variant = wanted.variant or usual
    fitting = [
        entry
        for entry in descriptors
        if entry.platform is not None and entry.platform[:2] == (wanted.os, wanted.architecture)
    ]
    exact = [entry for entry in fitting if entry.platform and (entry.platform.variant or usual) == variant]
    if exact or wanted.variant:
        return next(iter(exact), None)
    return next(iter(fitting), None)

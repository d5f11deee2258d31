"""Artifacts in registries as sources: ``oci://HOST/NAME@sha256:DIGEST`` or ``:TAG``, ``#TITLE`` for one of its files.

No Ignition can say that; only ``variant: buildos`` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from firstboot.config.models import Config, Resource
from firstboot.config.oci.reference import REPOSITORY, TAG
from firstboot.config.text import Path, Problem

SCHEMES = ("oci://", "oci+http://")
FORM = "oci://HOST/NAME@sha256:DIGEST, or with :TAG"


def is_artifact(source: str | None) -> bool:
    """Whether a source is in a registry."""
    return source is not None and source.startswith(SCHEMES)


def find_parts(source: str) -> dict[str, str | None] | None:
    """Scheme, host, name, tag, digest and title of a source, by these words; ``None`` if it names no artifact."""
    form = (
        rf"(?P<scheme>oci|oci\+http)://(?P<host>[^/@?#\s]+)/(?P<name>{REPOSITORY})"
        rf"(?::(?P<tag>{TAG}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?(?:#(?P<title>.+))?"
    )
    match = re.fullmatch(form, source)
    return match.groupdict() if match is not None and (match["tag"] or match["digest"]) else None


def check_artifact(resource: Resource, path: Path) -> Iterator[Problem]:
    """What is wrong with a resource that is in a registry."""
    parts = find_parts(resource.source or "")
    if parts is None:
        yield Problem((*path, "source"), f"an artifact in a registry is named {FORM}")
    elif parts["digest"] is None and resource.verification.hash is None:
        message = "this tag may be another artifact tomorrow, and nobody would notice"
        hint = "name it by its digest, or give verification.hash"
        yield Problem((*path, "source"), message, hint, "warning")
    if not all(header.name.casefold() == "authorization" for header in resource.http_headers):
        yield Problem((*path, "httpHeaders"), "a registry is only ever sent the header 'Authorization'")


def list_artifacts(config: Config) -> Iterator[tuple[Path, Resource]]:
    """Everything that a config has in a registry, archives aside, with its place."""
    for path, resource in _resources(config):
        if is_artifact(resource.source):
            yield path, resource


def _resources(config: Config) -> Iterator[tuple[Path, Resource]]:
    sources: Path = ("ignition", "config")
    for index, merged in enumerate(config.ignition.config.merge):
        yield (*sources, "merge", index), merged
    yield (*sources, "replace"), config.ignition.config.replace
    for index, bundle in enumerate(config.ignition.security.tls.certificate_authorities):
        yield ("ignition", "security", "tls", "certificateAuthorities", index), bundle
    for index, file in enumerate(config.storage.files):
        at: Path = ("storage", "files", index)
        yield (*at, "contents"), file.contents
        for position, part in enumerate(file.append):
            yield (*at, "append", position), part

"""Archives from elsewhere that a machine unpacks: what Ignition cannot say. Only ``variant: buildos`` does.

Annotations are not deferred, as in :mod:`firstboot.config.models`.
"""

from collections.abc import Iterator

from firstboot.config.artifact import find_parts, is_artifact
from firstboot.config.checks.nodes import check_path
from firstboot.config.checks.resources import check_resource
from firstboot.config.model import Model
from firstboot.config.models import HttpHeader, Int, Owner, Resource, Storage, Verification
from firstboot.config.text import Path, Problem
from firstboot.config.urls import BadUrl, parse_scheme


class Archive(Model):
    """A tar or zip archive, unpacked into a directory.

    Attributes:
        path: the directory.
        source: a URL; with ``oci://HOST/NAME@sha256:DIGEST`` an artifact in a registry.
        http_headers: sent with a request over HTTP.
        verification: what the archive must be.
        strip: so many leading parts of each name in it are left out.
        user: the owner of everything in it.
        group: the group of everything in it.
        special_bits: take over setuid, setgid and sticky bits.
    """

    path: str = ""
    source: str | None = None
    http_headers: tuple[HttpHeader, ...] = ()
    verification: Verification = Verification()
    strip: Int | None = None
    user: Owner = Owner()
    group: Owner = Owner()
    special_bits: bool | None = None

    @property
    def key(self) -> str:
        return f"{self.path} {self.source}"

    @property
    def resource(self) -> Resource:
        """Its bytes."""
        return Resource(source=self.source, http_headers=self.http_headers, verification=self.verification)


def check_archives(storage: Storage, version: tuple[int, int]) -> Iterator[Problem]:
    """Everything that is wrong with a config's archives."""
    for index, archive in enumerate(storage.archives):
        at: Path = ("storage", "archives", index)
        yield from check_path(archive.path, (*at, "path"))
        if archive.strip is not None and not 0 <= archive.strip < 100:
            yield Problem((*at, "strip"), f"{archive.strip} is not a number of parts of a name")
        for kind in ("user", "group"):
            owner = getattr(archive, kind)
            if owner.id is not None and owner.name:
                yield Problem((*at, kind), "give either an id or a name, not both")
        yield from _source(archive, at, version)


def _source(archive: Archive, at: Path, version: tuple[int, int]) -> Iterator[Problem]:
    source = archive.source or ""
    try:
        scheme = parse_scheme(source)
    except BadUrl as error:
        yield Problem((*at, "source"), str(error))
        return
    yield from check_resource(archive.resource, at, version)
    if not scheme:
        yield Problem(at, "an archive needs a source")
    elif is_artifact(source):
        parts = find_parts(source)
        if parts is not None and parts["digest"] is None and archive.verification.hash is None:
            message = "an archive in a registry is named oci://HOST/NAME@sha256:DIGEST"
            yield Problem((*at, "source"), message, "a tag may be another artifact tomorrow: name it by its digest")
    elif archive.verification.hash is None:
        hint = "sha256sum of the archive, as hash: sha256-..."
        yield Problem(at, "an archive from elsewhere needs verification.hash", hint)

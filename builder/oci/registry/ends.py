"""Where an image is copied from and to, and the two ends that are repositories of registries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from builder.oci.registry.client import Client
from builder.oci.registry.manifest import Manifest
from builder.oci.registry.push import Progress, Publisher
from firstboot.config.oci.manifests import Descriptor


class Origin(Protocol):
    """An image somewhere."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def repository(self) -> tuple[str, str] | None:
        """Registry and repository, for mounts; ``None`` elsewhere."""

    def read_root(self) -> Manifest:
        """The manifest or index that is meant."""

    def read_manifest(self, entry: Descriptor) -> Manifest:
        """A manifest of an index."""

    def read_blob(self, blob: Descriptor, start: int) -> Iterator[bytes]:
        """The bytes of a blob from one on. The last piece of a whole one comes only if it has its digest."""


class RegistryOrigin:
    """An image in a registry."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.name = str(client.reference)
        self.repository = (client.reference.registry, client.reference.repository)

    def read_root(self) -> Manifest:
        """See :class:`Origin`."""
        return self._client.read_manifest()

    def read_manifest(self, entry: Descriptor) -> Manifest:
        """See :class:`Origin`."""
        return self._client.read_manifest(entry.digest)

    def read_blob(self, blob: Descriptor, start: int) -> Iterator[bytes]:
        """See :class:`Origin`."""
        return self._client.stream_blob(blob, start)


class Destination(Protocol):
    """A place that an image is brought to, blobs first, the manifest that is meant at last."""

    def has_blob(self, blob: Descriptor) -> bool:
        """Whether it is there already."""

    def write_blob(self, blob: Descriptor, origin: Origin, progress: Progress) -> bool:
        """Bring a blob; whether that took no transfer."""

    def write_manifest(self, manifest: Manifest) -> None:
        """Bring a manifest that an index names."""

    def finish(self, manifest: Manifest) -> None:
        """Bring the manifest or index that is meant, under its name."""


class RegistryDestination:
    """A repository.

    Attributes:
        publisher: writes to it.
        tags: of the image; none: it is found by its digest alone.
    """

    def __init__(self, publisher: Publisher, tags: Sequence[str]) -> None:
        self.publisher = publisher
        self.tags = tuple(dict.fromkeys(tags))
        self.name = publisher.name

    def has_blob(self, blob: Descriptor) -> bool:
        """See :class:`Destination`."""
        return self.publisher.has_blob(blob)

    def write_blob(self, blob: Descriptor, origin: Origin, progress: Progress) -> bool:
        """See :class:`Destination`."""
        registry, repository = origin.repository or ("", "")
        own = self.publisher.client.reference
        mount = (repository,) if registry == own.registry and repository != own.repository else ()
        return self.publisher.upload_blob(
            blob, lambda start: origin.read_blob(blob, start), mount=mount, progress=progress
        )

    def write_manifest(self, manifest: Manifest) -> None:
        """See :class:`Destination`."""
        self.publisher.put_manifest(manifest)

    def finish(self, manifest: Manifest) -> None:
        """See :class:`Destination`."""
        if not self.tags:
            self.publisher.put_manifest(manifest)
        for tag in self.tags:
            self.publisher.put_manifest(manifest, tag)

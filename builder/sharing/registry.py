"""A shared cache in a repository of a registry: an entry is an artifact, its tag the entry's name.

The configuration of its manifest is the signed document, its only layer the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.core.errors import SourceError
from builder.core.files import CHUNK
from builder.core.http import Patience
from builder.oci.image import MANIFEST, make_canonical_json, make_digest
from builder.oci.registry.client import MissingImageError
from builder.oci.registry.listing import list_tags
from builder.oci.registry.manifest import describe_blob, make_manifest
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.push import Publisher
from builder.oci.registry.reference import parse_reference
from builder.sharing.entry import MAX_ENVELOPE, NAME, TOO_LARGE, SharedEntry
from builder.sharing.places import check_name
from builder.signatures.verify_key import SignatureRefused
from firstboot.config.oci.manifests import BadManifest, Descriptor

ENTRY_TYPE = "application/vnd.build-os.cache.entry.v1+json"
ARCHIVE_TYPE = "application/vnd.build-os.cache.archive.v1.tar+gzip"
# Who builds meanwhile does not wait for a registry that is busy or gone.
PATIENCE = Patience(connect=3.0, read=10.0, window=10.0, rounds=1)


class RegistryPlace:
    """``oci://HOST/NAME``."""

    def __init__(self, url: str, options: RegistryOptions | None = None) -> None:
        self._url = url
        self._reference = parse_reference(url.removeprefix("oci://"), whole_repository=True)
        self._client = open_client(self._reference, options or RegistryOptions(patience=PATIENCE), mirrors=False)

    @property
    def url(self) -> str:
        """See :class:`builder.sharing.places.Place`."""
        return self._url

    def read_entry(self, name: str) -> bytes | None:
        """See :class:`builder.sharing.places.Place`."""
        blobs = self._read_blobs(name)
        return None if blobs is None else self._client.read_blob(blobs[0], MAX_ENVELOPE)

    def fetch(self, entry: SharedEntry, file: BinaryIO) -> None:
        """See :class:`builder.sharing.places.Place`."""
        blob = Descriptor(ARCHIVE_TYPE, f"sha256:{entry.sha256}", entry.size)
        try:
            for piece in self._client.stream_blob(blob):
                file.write(piece)
        except SourceError as error:
            if not Publisher(self._client).has_blob(blob):
                raise FileNotFoundError(str(error)) from error
            raise

    def put(self, entry: SharedEntry, envelope: bytes, archive: Path) -> None:
        """See :class:`builder.sharing.places.Place`."""
        publisher = Publisher(self._client)
        blob = Descriptor(ARCHIVE_TYPE, f"sha256:{entry.sha256}", entry.size)
        config = Descriptor(ENTRY_TYPE, make_digest(envelope), len(envelope))

        def read_archive(start: int) -> Iterator[bytes]:
            with archive.open("rb") as file:
                file.seek(start)
                while piece := file.read(CHUNK):
                    yield piece

        def read_envelope(start: int) -> Iterator[bytes]:
            yield envelope[start:]

        if not publisher.has_blob(blob):
            publisher.upload_blob(blob, read_archive)
        publisher.upload_blob(config, read_envelope)
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ENTRY_TYPE,
            "config": describe_blob(config),
            "layers": [describe_blob(blob)],
        }
        publisher.put_manifest(make_manifest(make_canonical_json(document)), check_name(entry.name))

    def list_names(self) -> Iterator[str]:
        """See :class:`builder.sharing.places.Place`."""
        try:
            tags = list_tags(self._client)
        except MissingImageError:
            return
        yield from (tag for tag in tags if NAME.fullmatch(tag))

    def delete(self, name: str) -> None:
        """See :class:`builder.sharing.places.Place`."""
        found = self._client.find_descriptor(check_name(name))
        if found is not None:
            Publisher(self._client).delete_manifest(found.digest)

    def sweep(self, used: set[str]) -> int:  # noqa: ARG002 - the registry knows what is used
        """Nothing: a registry collects what no manifest refers to by itself."""
        return 0

    def _read_blobs(self, name: str) -> tuple[Descriptor, ...] | None:
        try:
            manifest = self._client.read_manifest(check_name(name))
            blobs = manifest.list_blobs()
        except MissingImageError:
            return None
        except BadManifest as error:
            raise SignatureRefused(f"it is no entry of a cache: {error}") from None
        if len(blobs) != 2 or blobs[0].media_type != ENTRY_TYPE:
            raise SignatureRefused("it is no entry of a cache")
        if blobs[0].size > MAX_ENVELOPE:
            raise SignatureRefused(TOO_LARGE)
        return blobs

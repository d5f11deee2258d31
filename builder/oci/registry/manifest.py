"""A manifest or an index of a registry or a layout: its bytes, verified, and what they say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from builder.core.http import TransferError
from firstboot.config.oci.manifests import INDEXES, Descriptor, find_media_type, list_descriptors, parse_document


@dataclass(frozen=True)
class Manifest:
    """A manifest or an index, verified.

    Attributes:
        data: its bytes, which the digest is of.
        document: what they say.
    """

    descriptor: Descriptor
    data: bytes
    document: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of the bytes."""
        return self.descriptor.digest

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests."""
        return self.descriptor.media_type in INDEXES

    def list_blobs(self) -> tuple[Descriptor, ...]:
        """Configuration and layers of an image.

        Raises:
            BadManifest: a descriptor is none.
        """
        layers = list_descriptors(self.document, "layers")
        return (list_descriptors({"config": [self.document.get("config")]}, "config")[0], *layers)

    def list_manifests(self) -> tuple[Descriptor, ...]:
        """The entries of an index.

        Raises:
            BadManifest: a descriptor is none.
        """
        return tuple(list_descriptors(self.document, "manifests"))


def describe_blob(blob: Descriptor) -> dict[str, Any]:
    """A reference to content as a manifest has it (descriptor.md), without annotations."""
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}


def make_manifest(data: bytes, announced: str = "", digest: str | None = None) -> Manifest:
    """The manifest that some bytes are.

    Args:
        announced: the media type by a server's header or a descriptor.
        digest: what they must have.

    Raises:
        BadManifest: they are none.
        TransferError: they have another digest.
    """
    algorithm = "sha256" if digest is None else digest.partition(":")[0]
    actual = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    if digest is not None and actual != digest:
        raise TransferError(f"sent a manifest with the digest {actual}, not {digest}")
    document = parse_document(data)
    return Manifest(Descriptor(find_media_type(document, announced), actual, len(data)), data, document)

"""The media types that images of the world are made of: OCI's, and Docker's, which say the same in other words.

Sources: image-spec, media-types.md; Docker's "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from builder.oci.image import CONFIG, INDEX, LAYER, LAYER_GZIP, LAYER_ZSTD, MANIFEST

DOCKER = "application/vnd.docker"
DOCKER_MANIFEST = f"{DOCKER}.distribution.manifest.v2+json"
DOCKER_CONFIG = f"{DOCKER}.container.image.v1+json"

INDEX_TYPES = frozenset((INDEX, f"{DOCKER}.distribution.manifest.list.v2+json"))
MANIFEST_TYPES = frozenset((MANIFEST, DOCKER_MANIFEST))
CONFIG_TYPES = frozenset((CONFIG, DOCKER_CONFIG))
# What no reader of images takes any more: it has no digests of what its layers unpack to.
OLD_MANIFEST_PREFIX = f"{DOCKER}.distribution.manifest.v1+"


class Compression(enum.StrEnum):
    """How the tar of a layer is stored."""

    PLAIN = ""
    GZIP = "gzip"
    ZSTD = "zstd"


LAYER_TYPES: Mapping[str, Compression] = {
    LAYER: Compression.PLAIN,
    LAYER_GZIP: Compression.GZIP,
    LAYER_ZSTD: Compression.ZSTD,
    f"{DOCKER}.image.rootfs.diff.tar": Compression.PLAIN,
    f"{DOCKER}.image.rootfs.diff.tar.gzip": Compression.GZIP,
    f"{DOCKER}.image.rootfs.diff.tar.zstd": Compression.ZSTD,
}
# Layers that registries do not keep; their bytes would have to be fetched from somewhere else.
NOT_DISTRIBUTED_PREFIXES = (
    "application/vnd.oci.image.layer.nondistributable.",
    f"{DOCKER}.image.rootfs.foreign.",
)
_MAGIC = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}


def detect_compression(head: bytes) -> Compression:
    """What the first bytes of a file say; docker-archives say it nowhere else."""
    return next((compression for magic, compression in _MAGIC.items() if head.startswith(magic)), Compression.PLAIN)

"""Container images of the OS, for Docker and containerd: they are told of them, and no layer is copied.

The image carries each container's layers unpacked, for podman and for all others at once. What the others keep of an
image besides its layers is small: it is written into their stores when they start, with links to the layers in the
verified root. The records of the images are written by ``builder/oci/offers.py``.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

OFFERS = Path("/usr/lib/build-os/container-images/offers")


@dataclass(frozen=True)
class OfferedLayer:
    """A layer, unpacked: ``path`` is what overlayfs takes as a lower directory; sizes are in bytes."""

    diff_id: str
    size: int
    path: str


@dataclass(frozen=True)
class OfferedImage:
    """An image of the OS.

    Attributes:
        runtimes: whom it is for: ``docker``, ``containerd``, ``cri``.
        names: with their tags.
        digest: of the manifest.
        manifest, config: their bytes.
        layers: lowest first.
    """

    runtimes: tuple[str, ...]
    names: tuple[str, ...]
    digest: str
    id: str
    manifest: bytes
    config: bytes
    layers: tuple[OfferedLayer, ...]


def read_offers(runtimes: set[str], directory: Path = OFFERS) -> list[OfferedImage]:
    """The images that are for one of these runtimes.

    Raises:
        OSError, ValueError: a record cannot be read, or is none.
    """
    offers = []
    for path in sorted(directory.glob("*.json")):
        data = json.loads(path.read_bytes())
        offer = OfferedImage(
            tuple(data["runtimes"]),
            tuple(data["names"]),
            data["digest"],
            data["id"],
            base64.b64decode(data["manifest"]),
            base64.b64decode(data["config"]),
            tuple(OfferedLayer(**layer) for layer in data["layers"]),
        )
        if runtimes & {*offer.runtimes}:
            offers.append(offer)
    return offers

"""Container images that the user brings: an OCI image layout becomes trees, its layers in the store."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from builder.core.errors import ConfigError, SourceError
from builder.core.files import open_replacement
from builder.core.store import Store
from builder.oci.check import LAYER_TYPES, Descriptor, ImageContents, check_layout, unpack_blob
from builder.oci.image import Image, Layer, make_digest
from builder.tree.layer import read_layer
from builder.tree.tree import Tree

MAX_SHOWN = 20
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # distribution-spec


def read_layout(layout: Path, store: Store, *, architecture: str, name: str) -> Image:
    """The one image of a layout that is for this architecture. Its manifest, and so its digest, stay.

    Args:
        name: the container's; the image is called ``localhost/NAME:TAG``, the tag by the layout's annotation.

    Raises:
        ConfigError: it is no sound layout, or not exactly one of its images fits.
        SourceError: a layer does not unpack to what the image's configuration promises.
        TreeError: a layer says what no honest layer says.
    """
    found = find_image(layout, architecture)
    tree = Tree()
    layers = []
    for descriptor, diff_id in zip(found.layers, found.diff_ids, strict=True):
        pack = _unpack(layout, descriptor, diff_id, store)
        tree = read_layer(tree, pack, origin=f"container:{name}")
        layers.append(
            Layer(
                descriptor.media_type,
                descriptor.digest,
                descriptor.size,
                diff_id,
                pack.stat().st_size,
                tree,
            )
        )
    manifest, config = (blob.locate_blob(layout).read_bytes() for blob in (found.manifest, found.config))
    for blob, descriptor in ((manifest, found.manifest), (config, found.config)):
        if descriptor.digest != make_digest(blob):
            raise ConfigError(f"{layout}: only sha256 digests are supported for manifests and configurations")
    tag = (found.manifest.ref_name or "").rpartition(":")[2]
    reference = f"localhost/{name}:{tag if _TAG.fullmatch(tag) else 'latest'}"
    return Image(manifest, config, tuple(layers), (reference,), found.created)


def find_image(layout: Path, architecture: str) -> ImageContents:
    """The one image of a layout that is for this architecture.

    Raises:
        ConfigError: it is no sound layout, or not exactly one of its images fits.
    """
    problems, images = check_layout(layout)
    if problems:
        raise ConfigError(
            f"{layout} is no OCI image layout that can be used",
            details=sorted(set(problems))[:MAX_SHOWN],
            hint="make it anew, for example with: skopeo copy docker://... oci:DIRECTORY",
        )
    return _require_one(layout, images, architecture)


def _require_one(layout: Path, images: list[ImageContents], architecture: str) -> ImageContents:
    fitting = [image for image in images if image.platform == ("linux", architecture)]
    if len(fitting) == 1:
        return fitting[0]
    details = [f"{'/'.join(image.platform)}: {image.manifest.ref_name or image.manifest.digest}" for image in images]
    if not fitting:
        raise ConfigError(f"{layout} has no image for linux/{architecture}", details=details)
    raise ConfigError(
        f"{layout} has {len(fitting)} images for linux/{architecture}, and nothing says which is meant",
        details=details,
        hint="put each image into a layout of its own",
    )


def _unpack(layout: Path, layer: Descriptor, diff_id: str, store: Store) -> Path:
    """The uncompressed layer in the store, unpacked if it is not there."""
    algorithm, _, encoded = diff_id.partition(":")
    pack = store.root / "packs" / f"layer-{algorithm}-{encoded}.tar"
    if _is_whole(pack, algorithm, encoded):
        return pack
    digest = hashlib.new(algorithm)
    what = f"{layout}/blobs/{layer.digest.replace(':', '/')}"
    try:
        with open_replacement(pack, durable=True) as out, layer.locate_blob(layout).open("rb") as file:
            for piece in unpack_blob(file, compressed=LAYER_TYPES[layer.media_type]):
                digest.update(piece)
                out.write(piece)
            if digest.hexdigest() != encoded:
                raise SourceError(
                    f"{what} does not unpack to what the image's configuration promises",
                    details=(f"expected {diff_id}", f"got {algorithm}:{digest.hexdigest()}"),
                )
    except ValueError as error:
        raise SourceError(f"{what} cannot be unpacked: {error}") from error
    return pack


def _is_whole(pack: Path, algorithm: str, encoded: str) -> bool:
    """Whether a layer in the store is what its name says."""
    if pack.is_symlink() or not pack.is_file():
        return False
    with pack.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == encoded

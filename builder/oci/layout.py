"""Container images that the user brings: a layout or an archive becomes trees, its layers in the store."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from builder.core.errors import InputError, SourceError
from builder.core.files import open_replacement
from builder.core.store import Store
from builder.core.tools import Tools
from builder.oci.check import Choice, Descriptor, ImageContents, LayoutReport, check_image
from builder.oci.files import ImageFiles, open_image_files
from builder.oci.image import Image, Layer, make_digest
from builder.oci.media import LAYER_TYPES
from builder.oci.unpack import compute_limit, unpack_blob
from builder.tree.layer import read_layer
from builder.tree.tree import Tree

MAX_SHOWN = 20
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # distribution-spec


def read_image(
    source: Path,
    store: Store,
    *,
    architecture: str,
    name: str,
    tools: Tools | None = None,
    digest: str = "",
    tag: str = "",
) -> Image:
    """One image of a layout or archive, the one that is for this architecture. Its manifest, and so its digest, stay.

    Args:
        source: a directory with an OCI image layout, an OCI archive, or what ``docker save`` wrote.
        name: the container's; the image is called ``localhost/NAME:TAG``, the tag by the layout's annotation.
        tools: for layers in zstd.
        digest: of the manifest, or of an index that leads to it; the layout's own index need not name it.
        tag: which of several images, by the name that the index gives it or by the tag at that name's end.

    Raises:
        InputError: it is no sound image, or not exactly one fits.
        SourceError: a layer does not unpack to what the image's configuration promises.
        TreeError: a layer says what no honest layer says.
    """
    files = open_image_files(source)
    contents = _find(files, Choice(architecture, digest, tag))
    tree = Tree()
    layers = []
    left = compute_limit(sum(layer.size for layer in contents.layers))
    for descriptor, diff_id in zip(contents.layers, contents.diff_ids, strict=True):
        pack = _unpack(files, descriptor, diff_id, store, tools, left)
        size = pack.stat().st_size
        left -= size
        tree = read_layer(tree, pack, origin=f"container:{name}")
        layers.append(Layer(descriptor.media_type, descriptor.digest, descriptor.size, diff_id, size, tree))
    manifest, config = (_read_document(files, blob) for blob in (contents.manifest, contents.config))
    known = (contents.manifest.ref_name or "").rpartition(":")[2]
    reference = f"localhost/{name}:{known if _TAG.fullmatch(known) else 'latest'}"
    return Image(manifest, config, tuple(layers), (reference,), contents.created)


def find_image(source: Path, architecture: str, *, digest: str = "", tag: str = "") -> ImageContents:
    """The one image of a layout or archive that is for this architecture; arguments as of :func:`read_image`.

    Raises:
        InputError: it is no sound image, or not exactly one fits.
    """
    return _find(open_image_files(source), Choice(architecture, digest, tag))


def _find(files: ImageFiles, choice: Choice) -> ImageContents:
    report = check_image(files, choice)
    if report.problems:
        kind = "OCI image layout" if files.members is None else "archive of an image"
        raise InputError(
            f"{files.path} is no {kind} that can be used",
            details=sorted(set(report.problems))[:MAX_SHOWN],
            hint="make it anew, for example with: skopeo copy docker://... oci:DIRECTORY",
        )
    return _choose_one(files.path, report, choice)


def _choose_one(path: Path, report: LayoutReport, choice: Choice) -> ImageContents:
    ranked = [(rank, image) for image in report.images if (rank := choice.rank(image.platform)) is not None]
    best = [image for rank, image in ranked if rank == min(ranked, key=lambda row: row[0])[0]]
    if len(best) == 1:
        return best[0]
    details = [f"{image.platform}: {image.manifest.ref_name or image.manifest.digest}" for image in report.images]
    details = [*details, *report.others][:MAX_SHOWN]
    which = f" with the tag {choice.tag}" if choice.tag else ""
    if not best:
        raise InputError(f"{path} has no image for linux/{choice.architecture}{which}", details=details)
    raise InputError(
        f"{path} has {len(best)} images for linux/{choice.architecture}{which}, and nothing says which is meant",
        details=details,
        hint="name one by its tag, or put each image into a layout of its own",
    )


def _read_document(files: ImageFiles, blob: Descriptor) -> bytes:
    content = files.find(blob.file_name)
    data = b"" if content is None else content.read()
    if blob.digest != make_digest(data):
        raise InputError(f"{files.path}: only sha256 digests are supported for manifests and configurations")
    return data


def _unpack(files: ImageFiles, layer: Descriptor, diff_id: str, store: Store, tools: Tools | None, limit: int) -> Path:
    """The uncompressed layer in the store, unpacked if it is not there; at most ``limit`` bytes."""
    algorithm, _, encoded = diff_id.partition(":")
    pack = store.root / "packs" / f"layer-{algorithm}-{encoded}.tar"
    if _is_whole(pack, algorithm, encoded):
        return pack
    digest = hashlib.new(algorithm)
    what = f"{files.path}/{layer.file_name}"
    content = files.find(layer.file_name)
    try:
        if content is None:
            raise ValueError("it is gone")
        with open_replacement(pack, durable=True) as out:
            for piece in unpack_blob(content, LAYER_TYPES[layer.media_type], tools, limit=limit):
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

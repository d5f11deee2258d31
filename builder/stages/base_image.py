"""The image that a container is made on: ``from`` of its definition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError
from builder.core.files import open_replacement
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.installed import Installed, find_installed
from builder.debian.lock import LockedImage
from builder.definition.resolved import OciLayout, RegistryImage, ResolvedContainer
from builder.oci.changeset import is_same
from builder.oci.files import ImageFiles, open_image_files
from builder.oci.image import Image, Layer
from builder.oci.layout import find_image, read_image
from builder.oci.media import LAYER_TYPES, Compression
from builder.tree.pieces import read_pieces
from builder.tree.tree import Tree


@dataclass(frozen=True)
class BaseImage:
    """An image and where its blobs are, which are copied as they are."""

    image: Image
    files: ImageFiles

    def copy_blob(self, layer: Layer, layout: Path) -> None:
        """Put the blob of one of its layers into an image layout.

        Raises:
            OSError: it is gone, or cannot be written.
        """
        name = f"blobs/{layer.digest.replace(':', '/')}"
        content = self.files.find(name)
        if content is None:
            raise FileNotFoundError(f"{self.files.path}/{name}")
        with open_replacement(layout / name) as out:
            for piece in read_pieces(content):
                out.write(piece)


def read_base(
    base: OciLayout | RegistryImage, row: LockedImage, store: Store, *, architecture: str, tools: Tools | None
) -> BaseImage:
    """The base that a lock names.

    Raises:
        InputError, SourceError, TreeError: :func:`builder.oci.layout.read_image`, or it is not in the store.
    """
    path = _find_files(base, row, store)
    image = read_image(path, store, architecture=architecture, name="base", tools=tools, digest=row.digest)
    return BaseImage(image, open_image_files(path))


def wants_tools(base: OciLayout | RegistryImage, row: LockedImage, store: Store, *, architecture: str) -> bool:
    """Whether a program has to unpack the base: it has layers in zstd.

    Raises:
        InputError, SourceError: :func:`read_base`.
    """
    image = find_image(_find_files(base, row, store), architecture, digest=row.digest)
    return any(LAYER_TYPES[layer.media_type] is Compression.ZSTD for layer in image.layers)


def _find_files(base: OciLayout | RegistryImage, row: LockedImage, store: Store) -> Path:
    if not isinstance(base, RegistryImage):
        return base.path
    from builder.images.locked import find_locked_layout  # noqa: PLC0415 - every plan imports this module

    return find_locked_layout(row, base, store)


def require_debian(container: ResolvedContainer, root: Tree) -> dict[str, Installed]:
    """The packages that a base has.

    Raises:
        InputError: it has files, but no record of packages: those of Debian cannot be added to it.
    """
    installed = find_installed(root)
    if installed is not None:
        return installed
    release = root.get("/etc/os-release", follow=True) or root.get("/usr/lib/os-release", follow=True)
    if release is None or not release.size:
        return {}  # nothing but files of its own: all that packages need comes with them
    fields = dict(line.partition("=")[::2] for line in release.content.read().decode(errors="replace").splitlines())
    system = fields.get("PRETTY_NAME", fields.get("ID", "another system")).strip('"')
    raise InputError(
        f"{container.name} is made from {system}, to which packages of Debian cannot be added",
        hint="leave packages out: overlays, and what the image says, can be added to any base",
    )


def keep_inherited(tree: Tree, base: Tree, epoch: int) -> Tree:
    """The root with times after ``epoch`` set back to it, and all that the base has in the same form as the base's."""
    old = dict(base.walk())
    nodes = {}
    for path, node in tree.walk():
        known = old.get(path)
        inherited = known is not None and is_same(known, node)
        nodes[path] = known if inherited and known is not None else node.copy_with(mtime=min(node.mtime, epoch))
    return Tree(nodes)

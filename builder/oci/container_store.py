"""Container images inside the OS image: a read-only store that podman uses where it lies.

The layout is that of containers/storage's overlay driver, which podman can be given as an "additional image
store" (containers-storage.conf(5), ``additionalimagestores``). It is internal to that library and specified
nowhere, so a boot test lets the image's own podman run from it. What matters of it::

    overlay-images/images.json           one object an image
    overlay-images/ID/KEY                manifest and configuration ("big data"); other keys as = and base64
    overlay-layers/layers.json           one object a layer
    overlay/LAYER/diff/...               the layer's files, as overlayfs wants its lower directories
    overlay/LAYER/link                   a short name, because mount options are limited to one page
    overlay/LAYER/lower                  the short names of the layers below, nearest first
    overlay/l/SHORT -> ../LAYER/diff
    *.lock                               must exist, since they cannot be made
"""

from __future__ import annotations

import hashlib
import json
from base64 import b32encode, b64encode
from collections.abc import Sequence
from typing import Any

from builder.core.errors import InputError
from builder.oci.fields import format_time
from builder.oci.image import LAYER_GZIP, Image, make_canonical_json
from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree, get_parent

# Where the machine's podman finds the images: a mount of STORE without setuid (usr-share-containers-storage.mount).
SHOWN = "/usr/share/containers/storage"
# Where they lie, in a directory that is closed: the set-user-ID programs of a container are not meant for the users of
# the machine, and if the mount is not there nothing is.
CLOSED = "/usr/lib/build-os/container-images"
STORE = f"{CLOSED}/storage"
GZIP = 2  # storage/pkg/archive: Compression


def make_storage_conf() -> str:
    """containers-storage.conf(5) for the guest: pulled images go to /var, ours are found where they lie."""
    return f"""\
# Images that came with the OS are in {SHOWN}, which is read-only and verified.
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"

[storage.options]
additionalimagestores = ["{SHOWN}"]

[storage.options.overlay]
mountopt = "nodev"
"""


def make_user_storage_conf() -> str:
    """The same for an ordinary user, whose podman takes no such setting from the system's file."""
    return f"""\
# Images that came with the OS can be used without pulling them: 'podman images'.
[storage]
driver = "overlay"

[storage.options]
additionalimagestores = ["{SHOWN}"]
"""


def install_image(tree: Tree, image: Image, *, name: str, store: str = STORE) -> None:
    """Put an image into the tree's store, beside those that are there.

    Args:
        name: the container's, which is the origin of everything put: ``container:NAME``.

    Raises:
        InputError: another image in the store has one of its names.
        TreeError: the store's place is taken by something else.
    """
    origin = f"container:{name}"
    images = _read_json(tree, f"{store}/overlay-images/images.json")
    layers = _read_json(tree, f"{store}/overlay-layers/layers.json")
    known = {layer["id"] for layer in layers}
    for entry in images:
        taken = set(entry["names"]) & set(image.names)
        if taken and entry["id"] != image.id:
            raise InputError(
                f"two containers have an image named {min(taken)}",
                hint="give one of them another name or version",
            )
    tree.put(SHOWN, make_directory(0o755, origin=origin))
    tree.put(get_parent(store), make_directory(0o700, origin=origin))
    tree.put(store, make_directory(0o755, origin=origin))
    tree.put(f"{store}/overlay", make_directory(0o755, origin=origin))
    tree.put(f"{store}/overlay/l", make_directory(0o755, origin=origin))

    lower = Tree()
    parents: list[str] = []
    for layer in image.layers:
        layer_id = compute_layer_id(parents[0] if parents else None, layer.diff_id)
        if layer_id not in known:
            _install_layer(tree, f"{store}/overlay", layer_id, parents, make_overlay_diff(lower, layer.tree), origin)
            layers.append(_layer_entry(image, len(parents), layer_id, parents[0] if parents else None, lower))
        lower = layer.tree
        parents.insert(0, layer_id)

    blobs = {
        f"sha256:{image.id}": image.config,
        f"manifest-{image.digest}": image.manifest,
        "manifest": image.manifest,
    }
    for key, data in blobs.items():
        tree.put(f"{store}/overlay-images/{image.id}/{_file_name(key)}", make_file(data, 0o644, origin=origin))
    names = sorted({*image.names, *(n for e in images if e["id"] == image.id for n in e["names"])})
    images = [entry for entry in images if entry["id"] != image.id]
    images.append(_image_entry(image, names, parents[0] if parents else None, blobs))

    def put(path: str, data: bytes) -> None:
        tree.put(f"{store}/{path}", make_file(data, 0o644, origin=origin))

    put("overlay-images/images.json", make_canonical_json(sorted(images, key=lambda entry: str(entry["id"]))))
    put("overlay-layers/layers.json", make_canonical_json(layers))
    for lock in ("storage.lock", "overlay-images/images.lock", "overlay-layers/layers.lock"):
        put(lock, b"")


def make_overlay_diff(lower: Tree, upper: Tree) -> Tree:
    """The directory that makes ``upper`` out of ``lower`` when overlayfs lays it over it.

    What ``upper`` lacks becomes a character device 0:0 (Documentation/filesystems/overlayfs.rst, "whiteouts
    and opaque directories"). Parents that are needed have ``upper``'s attributes, as the topmost count.
    """
    old, new = dict(lower.walk()), dict(upper.walk())
    nodes: dict[str, Node] = {}

    def put(path: str, node: Node) -> None:
        while path not in nodes:
            nodes[path] = node
            path = get_parent(path)
            node = new[path]

    put("/", new["/"])
    for path, node in new.items():
        if old.get(path) != node:
            put(path, node)
    for path, node in old.items():
        parent = new.get(get_parent(path))
        merged = parent is not None and parent.kind is Kind.DIRECTORY
        if path not in new and merged:
            put(path, Node(Kind.CHARACTER, 0, device=(0, 0), mtime=node.mtime, origin=node.origin))
    return Tree(nodes)


def _install_layer(tree: Tree, overlay: str, layer_id: str, parents: Sequence[str], diff: Tree, origin: str) -> None:
    here = f"{overlay}/{layer_id}"
    tree.put(here, make_directory(0o755, origin=origin))
    for path, node in diff.walk():
        tree.put(f"{here}/diff{path if path != '/' else ''}", node.copy_with(origin=origin))
    tree.put(f"{here}/link", make_file(_short(layer_id), 0o644, origin=origin))
    tree.put(f"{overlay}/l/{_short(layer_id)}", make_symlink(f"../{layer_id}/diff", origin=origin))
    if parents:
        lower = ":".join(f"l/{_short(parent)}" for parent in parents)
        tree.put(f"{here}/lower", make_file(lower, 0o644, origin=origin))
    else:
        tree.put(f"{here}/empty", make_directory(0o755, origin=origin))


def _layer_entry(image: Image, number: int, layer_id: str, parent: str | None, lower: Tree) -> dict[str, object]:
    layer = image.layers[number]
    diff = list(make_overlay_diff(lower, layer.tree).walk())
    entry: dict[str, object] = {
        "id": layer_id,
        "created": format_time(image.created),
        "compressed-diff-digest": layer.digest,
        "compressed-size": layer.size,
        "diff-digest": layer.diff_id,
        "diff-size": layer.diff_size,
        "uidset": sorted({node.uid for _, node in diff}),
        "gidset": sorted({node.gid for _, node in diff}),
    }
    if layer.media_type == LAYER_GZIP:
        entry["compression"] = GZIP
    if parent is not None:
        entry["parent"] = parent
    return entry


def _image_entry(image: Image, names: list[str], top: str | None, blobs: dict[str, bytes]) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": image.id,
        "digest": image.digest,
        "names": names,
        "names-history": names,
        "metadata": "{}",
        "big-data-names": list(blobs),
        "big-data-sizes": {key: len(data) for key, data in blobs.items()},
        "big-data-digests": {key: f"sha256:{hashlib.sha256(data).hexdigest()}" for key, data in blobs.items()},
        "created": format_time(image.created),
    }
    if top is not None:
        entry["layer"] = top
    return entry


def compute_layer_id(parent: str | None, diff_id: str) -> str:
    """The ID that containers/image gives a layer, so that a pulled image shares the layers that are here."""
    own = diff_id.removeprefix("sha256:")
    return own if parent is None else hashlib.sha256(f"{parent}+{own}".encode()).hexdigest()


def _short(layer_id: str) -> str:
    """26 characters of base 32, like the random ones of containers/storage."""
    return b32encode(hashlib.sha256(layer_id.encode()).digest()).decode()[:26]


def _file_name(key: str) -> str:
    """The file of a big-data key: the key itself if it is plain, else ``=`` and base64."""
    return key if key.isascii() and key.isalnum() and key.islower() else "=" + b64encode(key.encode()).decode()


def _read_json(tree: Tree, path: str) -> list[dict[str, Any]]:
    return list(json.loads(tree.read(path))) if path in tree else []

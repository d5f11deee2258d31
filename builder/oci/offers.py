"""What Docker and containerd are told of the images in the OS image: ``firstboot/images/`` reads it on the machine.

Their layers lie unpacked in the store of :mod:`builder.oci.container_store`, once for all runtimes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from builder.oci.container_store import CLOSED, STORE, compute_layer_id
from builder.oci.image import Image, make_canonical_json
from builder.tree.node import make_directory, make_file
from builder.tree.tree import Tree

OFFERS = f"{CLOSED}/offers"


def offer_image(tree: Tree, image: Image, runtime: str, *, name: str) -> None:
    """Write the record of an image that :func:`builder.oci.container_store.install_image` has put in.

    Args:
        runtime: whom it is for: ``docker``, ``containerd`` or ``cri``. One image may be for several.
        name: the container's, which is the origin: ``container:NAME``.
    """
    origin = f"container:{name}"
    path = f"{OFFERS}/{image.id}.json"
    known: Sequence[str] = json.loads(tree.read(path))["runtimes"] if path in tree else ()
    layers, parent = [], None
    for layer in image.layers:
        parent = compute_layer_id(parent, layer.diff_id)
        layers.append(
            {"diff_id": layer.diff_id, "size": layer.diff_size, "path": f"{STORE}/overlay/{parent}/diff"},
        )
    record = {
        "runtimes": sorted({*known, runtime}),
        "names": sorted(image.names),
        "digest": image.digest,
        "id": image.id,
        "manifest": base64.b64encode(image.manifest).decode(),
        "config": base64.b64encode(image.config).decode(),
        "layers": layers,
    }
    tree.put(OFFERS, make_directory(0o755, origin=origin))
    tree.put(path, make_file(make_canonical_json(record), 0o644, origin=origin))

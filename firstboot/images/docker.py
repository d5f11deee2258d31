"""Images of the OS in Docker's store: plain files that the engine reads when it starts, so it must not run.

The layout is that of the graph driver ``overlay2``; it is internal to the engine, so a boot test lets the image's own
engine run from it::

    image/overlay2/imagedb/content/sha256/ID        the configuration
    image/overlay2/layerdb/sha256/CHAIN/            cache-id, diff, size, parent
    image/overlay2/repositories.json                name -> image
    overlay2/CACHE-ID/diff                          the layer's files: a link into the verified root
    overlay2/CACHE-ID/{link,lower,committed}        short names of it and of those below
    overlay2/l/SHORT -> ../CACHE-ID/diff

``tar-split.json.gz``, by which the engine makes a layer's archive again, is left out: ``docker save`` and ``docker
push`` of such an image fail.
"""

from __future__ import annotations

import json
import shutil
from base64 import b32encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from firstboot.apply.kernel.esp import write_file
from firstboot.images import OfferedImage
from firstboot.images.chain import list_chain_ids

ROOT = Path("/var/lib/docker")
RECORD = "build-os-images.json"


def offer_to_docker(offers: Sequence[OfferedImage], root: Path = ROOT) -> None:
    """Put the images in, and take out those of a former version of the OS.

    Raises:
        OSError: the store cannot be written.
        ValueError: what is there is not what the engine writes.
    """
    images, graph = root / "image/overlay2", root / "overlay2"
    for directory in (root, images, graph, graph / "l"):
        directory.mkdir(mode=0o710, parents=True, exist_ok=True)
    for directory in (images / "imagedb/content/sha256", images / "imagedb/metadata/sha256", images / "layerdb/sha256"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    repositories: dict[str, dict[str, str]] = _read(images / "repositories.json").get("Repositories", {})
    record = _read(root / RECORD)
    layers: dict[str, str] = {}  # chain -> cache-id
    for offer in offers:
        layers |= _put_layers(offer, images / "layerdb/sha256", graph)
    for chain, cache in record.get("layers", {}).items():
        if chain not in layers:
            shutil.rmtree(images / "layerdb" / chain.replace(":", "/"), ignore_errors=True)
            shutil.rmtree(graph / cache, ignore_errors=True)
            (graph / "l" / _shorten(cache)).unlink(missing_ok=True)
    for repository, names in list(repositories.items()):
        kept = {name: image for name, image in names.items() if record.get("names", {}).get(name) != image}
        repositories[repository] = kept
        if not kept:
            del repositories[repository]
    offered: dict[str, str] = {}
    for offer in offers:
        _write(images / "imagedb/content/sha256" / offer.id, offer.config)
        for name in offer.names:
            short = shorten_name(name)
            repository = short.rpartition(":")[0]
            for reference in (short, f"{repository}@{offer.digest}"):
                repositories.setdefault(repository, {})[reference] = f"sha256:{offer.id}"
                offered[reference] = f"sha256:{offer.id}"
    for image in {*record.get("names", {}).values()} - {f"sha256:{offer.id}" for offer in offers}:
        (images / "imagedb/content/sha256" / str(image).removeprefix("sha256:")).unlink(missing_ok=True)
    # All else is put right at the next start; these are read then.
    write_file(images / "repositories.json", json.dumps({"Repositories": repositories}).encode())
    write_file(root / RECORD, json.dumps({"layers": layers, "names": offered}).encode())


def shorten_name(name: str) -> str:
    """A name as Docker writes it: its own registry is left out."""
    return name.removeprefix("docker.io/").removeprefix("library/") if name.startswith("docker.io/") else name


def _put_layers(offer: OfferedImage, layerdb: Path, graph: Path) -> dict[str, str]:
    put: dict[str, str] = {}
    below: list[str] = []
    for layer, chain in zip(offer.layers, list_chain_ids([layer.diff_id for layer in offer.layers]), strict=True):
        # Not the random name that the engine would draw: the same layer is put in once.
        cache = sha256(f"build-os {chain}".encode()).hexdigest()
        here, entry = graph / cache, layerdb / chain.removeprefix("sha256:")
        here.mkdir(mode=0o710, exist_ok=True)
        _link(here / "diff", layer.path)
        _link(graph / "l" / _shorten(cache), f"../{cache}/diff")
        _write(here / "link", _shorten(cache).encode())
        if below:
            (here / "work").mkdir(mode=0o700, exist_ok=True)
            _write(here / "lower", ":".join(f"l/{_shorten(chain)}" for chain in below).encode())
        _write(here / "committed", b"")
        entry.mkdir(mode=0o700, exist_ok=True)
        values = {"cache-id": cache, "diff": layer.diff_id, "size": str(layer.size)}
        if put:
            values["parent"] = [*put][-1]
        for name, value in values.items():
            _write(entry / name, value.encode())
        put[chain] = cache
        below.insert(0, cache)
    return put


def _link(path: Path, target: str) -> None:
    if path.is_symlink() and str(path.readlink()) == target:
        return
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _shorten(cache: str) -> str:
    return b32encode(sha256(cache.encode()).digest()).decode()[:26]


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


def _write(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.chmod(0o600)
    new.replace(path)

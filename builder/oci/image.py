"""Trees as container images: an OCI image layout (image-spec 1.1), as a directory or one archive.

Layers are plain tar unless another kind is asked for: what stays on this machine or goes into the OS image gains
nothing by compression.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from builder.core.architecture import require_architecture as facts
from builder.core.files import hash_file, open_replacement, write_file
from builder.core.pigz import open_gzip
from builder.core.store import HashingWriter
from builder.core.tools import Tools
from builder.core.zstd import open_zstd
from builder.oci.changeset import LayerPart, make_single_part
from builder.oci.facts import LAYOUT_VERSION
from builder.oci.fields import format_time
from builder.oci.inherit import inherit_config
from builder.tree.node import Kind, Node, Slice, make_directory
from builder.tree.tar import Writer, write_tar
from builder.tree.tree import Tree

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

REF_NAME = "org.opencontainers.image.ref.name"
LEVELS = {LAYER_GZIP: 6, LAYER_ZSTD: 9}
# What Docker calls the layers that an image-spec manifest has under other names; the bytes are the same.
OCI_NAMES = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_ZSTD,
}


@dataclass(frozen=True)
class ImageConfig:
    """How a container of the image is run, by the image-spec's words.

    Attributes:
        architecture: Go's name, which for amd64 and arm64 is Debian's.
        ports: ``8080`` or ``53/udp``.
        stop_signal: what asks the container's first process to end, such as ``SIGRTMIN+3``.
        created: seconds since 1970, for the image and its files' times.
    """

    architecture: str
    name: str
    version: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    ports: tuple[str, ...] = ()
    working_dir: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str | None = None
    created: int = 0

    @property
    def reference(self) -> str:
        """``localhost/NAME:VERSION``: the name under which podman and others find it."""
        return f"localhost/{self.name}:{make_tag(self.version)}"


@dataclass(frozen=True)
class Layer:
    """One layer of an image.

    Attributes:
        digest: of the blob as it is stored, ``sha256:HEX``.
        size: of that blob, in bytes.
        diff_id: of the uncompressed tar.
        diff_size: of the uncompressed tar.
        tree: the root file system with this layer and all below it.
    """

    media_type: str
    digest: str
    size: int
    diff_id: str
    diff_size: int
    tree: Tree = field(compare=False, repr=False)


@dataclass(frozen=True)
class Image:
    """An image in memory, its content in trees."""

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]
    names: tuple[str, ...]
    created: int

    @property
    def digest(self) -> str:
        """Of the manifest: what ``NAME@sha256:...`` names."""
        return make_digest(self.manifest)

    @property
    def pinned(self) -> str:
        """``localhost/NAME@sha256:...``, which cannot name another image."""
        name = self.names[0].partition("@")[0]
        repository, _, tag = name.rpartition(":")
        return f"{repository if repository and '/' not in tag else name}@{self.digest}"

    @property
    def id(self) -> str:
        """The image ID: hex, of the configuration."""
        return hashlib.sha256(self.config).hexdigest()

    @property
    def tree(self) -> Tree:
        """The root file system of a container."""
        return self.layers[-1].tree if self.layers else Tree()


class Base(Protocol):
    """An image that another is made on."""

    @property
    def image(self) -> Image:
        """The image itself."""

    def copy_blob(self, layer: Layer, layout: Path) -> None:
        """Put the blob of one of its layers into an image layout, as it is."""


def make_digest(data: bytes) -> str:
    """``sha256:HEX``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_canonical_json(value: object) -> bytes:
    """JSON with one form for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def make_tag(version: str) -> str:
    """A version as a tag, which must match ``[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`` (distribution-spec)."""
    return version.replace("~", "_").replace("^", "_").replace("+", "_")[:128]


def find_platform(architecture: str) -> dict[str, str]:
    """The platform of a descriptor, with the variant that registries expect for arm64."""
    platform = {"architecture": architecture, "os": "linux"}
    variant = facts(architecture).variant
    return platform if variant is None else platform | {"variant": variant}


def make_config_json(config: ImageConfig, diff_ids: Sequence[str], titles: Sequence[str] = ()) -> dict[str, Any]:
    """The image's configuration (image-spec, config.md). What is not set is left out.

    Args:
        titles: what each layer brings.
    """
    run: dict[str, object] = {
        "User": config.user,
        "ExposedPorts": {port if "/" in port else f"{port}/tcp": {} for port in config.ports},
        "Env": [f"{name}={value}" for name, value in sorted(config.environment.items())],
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
    }
    created = format_time(config.created)
    entry = {"created": created, "created_by": "build-os"}
    return {
        **find_platform(config.architecture),
        "created": created,
        "config": {name: value for name, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [entry | ({"comment": title} if title else {}) for title in titles or [""] * len(diff_ids)],
    }


def assemble(tree: Tree, config: ImageConfig) -> Image:
    """The image of one layer that a tree makes, without writing it anywhere.

    Raises:
        OSError: content is gone from the store.
    """
    return assemble_layers([make_single_part(tree)], config)


def assemble_layers(parts: Sequence[LayerPart], config: ImageConfig, base: Image | None = None) -> Image:
    """The image that these layers make, on those of another, without writing it anywhere.

    Raises:
        OSError: content is gone from the store.
    """

    def count(part: LayerPart) -> Layer:
        with Path(os.devnull).open("wb") as nowhere:
            counted = HashingWriter(nowhere)
            write_tar(part.changes, counted, latest=config.created)
        diff_id = f"sha256:{counted.sha256}"
        return Layer(LAYER, diff_id, counted.size, diff_id, counted.size, part.tree)

    return _make_image(config, [(part.title, count(part)) for part in parts], base)


def write_layout(tree: Tree, config: ImageConfig, out: Path, *, gzip: Tools | None = None) -> Image:
    """Write an image layout with one image of one layer into the directory ``out``, which holds no other.

    Args:
        gzip: compress the layer, with pigz from this tools tree: the bytes must not depend on the zlib that
            the host's Python happens to have.

    Raises:
        OSError: ``out`` cannot be written, or content is gone from the store.
        CapabilityError, ToolError: pigz is not there, or failed.
    """
    return write_layers([make_single_part(tree)], config, out, LAYER if gzip is None else LAYER_GZIP, gzip)


def write_layers(
    parts: Sequence[LayerPart],
    config: ImageConfig,
    out: Path,
    media_type: str = LAYER,
    tools: Tools | None = None,
    base: Base | None = None,
) -> Image:
    """Write an image layout with one image into the directory ``out``, which holds no other.

    Args:
        media_type: of the layers: plain, gzip or zstd.
        tools: what compresses.
        base: an image whose layers come first, as they are.

    Raises:
        OSError: ``out`` cannot be written, or content is gone from the store.
        CapabilityError, ToolError: what compresses is not there, or failed.
    """
    blobs = out / "blobs" / "sha256"
    for layer in base.image.layers if base is not None else ():
        assert base is not None
        base.copy_blob(layer, out)
    layers = [(part.title, _write_layer(part, blobs, config.created, media_type, tools)) for part in parts]
    image = _make_image(config, layers, None if base is None else base.image)
    for blob in (image.config, image.manifest):
        write_file(blobs / hashlib.sha256(blob).hexdigest(), blob)
    entry = _descriptor(MANIFEST, image.manifest) | {
        "platform": find_platform(config.architecture),
        "annotations": {REF_NAME: config.reference},
    }
    write_file(out / "index.json", make_canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))
    write_file(out / "oci-layout", make_canonical_json(LAYOUT_VERSION))
    return image


def _make_image(config: ImageConfig, own: Sequence[tuple[str, Layer]], base: Image | None) -> Image:
    titles, layers = [title for title, _ in own], [layer for _, layer in own]
    document = make_config_json(config, [layer.diff_id for layer in layers], titles)
    if base is not None:
        document = inherit_config(base.config, document, document["history"])
        layers = [*base.layers, *layers]
    written = make_canonical_json(document)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, written),
        "layers": [
            {"mediaType": OCI_NAMES.get(layer.media_type, layer.media_type), "digest": layer.digest, "size": layer.size}
            for layer in layers
        ],
        "annotations": {
            "org.opencontainers.image.created": document["created"],
            "org.opencontainers.image.title": config.name,
            "org.opencontainers.image.version": config.version,
            **({} if base is None else {"org.opencontainers.image.base.digest": base.digest}),
        },
    }
    return Image(make_canonical_json(manifest), written, tuple(layers), (config.reference,), config.created)


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": make_digest(blob), "size": len(blob)}


def _write_layer(part: LayerPart, blobs: Path, created: int, media_type: str, tools: Tools | None) -> Layer:
    path = blobs / "layer"
    with open_replacement(path) as out, ExitStack() as stack:
        target: BinaryIO = out
        if media_type != LAYER:
            assert tools is not None, "what compresses comes from the tools tree"
            open_compressor = open_gzip if media_type == LAYER_GZIP else open_zstd
            target = stack.enter_context(open_compressor(tools, out, level=LEVELS[media_type]))
        plain = HashingWriter(target)
        write_tar(part.changes, plain, latest=created)
    diff_id = f"sha256:{plain.sha256}"
    digest = diff_id if media_type == LAYER else f"sha256:{hash_file(path)}"
    size = path.stat().st_size
    path.replace(blobs / digest.removeprefix("sha256:"))
    return Layer(media_type, digest, size, diff_id, plain.size, part.tree)


def read_layout_tree(layout: Path) -> Tree:
    """An image layout as a tree, its blobs as slices of the files they are."""
    tree = Tree()
    for path in sorted(layout.rglob("*")):
        if path.is_symlink():
            continue
        name = "/" + str(path.relative_to(layout))
        if path.is_dir():
            tree.put(name, make_directory(origin="output:oci"))
        elif path.is_file():
            content = Slice(str(path), 0, path.stat().st_size)
            tree.put(name, Node(Kind.FILE, 0o644, content=content, origin="output:oci"))
    return tree


def write_archive(layout: Path, file: Writer, *, created: int = 0) -> None:
    """An image layout as one tar, which ``podman load`` and ``skopeo copy oci-archive:`` take."""
    write_tar(read_layout_tree(layout), file, latest=created)

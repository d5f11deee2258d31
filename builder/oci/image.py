"""Trees as container images: an OCI image layout (image-spec 1.1), as a directory or one archive.

An image made here has one layer. It is stored as plain tar unless ``gzip`` is asked for: what stays on this
machine or goes into the OS image gains nothing by it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from builder.core.architecture import require_architecture as facts
from builder.core.files import hash_file, open_replacement, write_file
from builder.core.pigz import open_gzip
from builder.core.store import HashingWriter
from builder.core.tools import Tools
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
LAYOUT_VERSION = {"imageLayoutVersion": "1.0.0"}


@dataclass(frozen=True)
class ImageConfig:
    """How a container of the image is run, by the image-spec's words.

    Attributes:
        architecture: Go's name, which for amd64 and arm64 is Debian's.
        ports: ``8080`` or ``53/udp``.
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
        return f"{self.names[0].rpartition(':')[0]}@{self.digest}"

    @property
    def id(self) -> str:
        """The image ID: hex, of the configuration."""
        return hashlib.sha256(self.config).hexdigest()

    @property
    def tree(self) -> Tree:
        """The root file system of a container."""
        return self.layers[-1].tree if self.layers else Tree()


def make_digest(data: bytes) -> str:
    """``sha256:HEX``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_canonical_json(value: object) -> bytes:
    """JSON with one form for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def make_tag(version: str) -> str:
    """A version as a tag, which must match ``[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`` (distribution-spec)."""
    return version.replace("~", "_").replace("^", "_").replace("+", "_")[:128]


def format_time(seconds: int) -> str:
    """``1970-01-01T00:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find_platform(architecture: str) -> dict[str, str]:
    """The platform of a descriptor, with the variant that registries expect for arm64."""
    platform = {"architecture": architecture, "os": "linux"}
    variant = facts(architecture).variant
    return platform if variant is None else platform | {"variant": variant}


def make_config_json(config: ImageConfig, diff_ids: list[str]) -> dict[str, object]:
    """The image's configuration (image-spec, config.md). What is not set is left out."""
    run: dict[str, object] = {
        "User": config.user,
        "ExposedPorts": {port if "/" in port else f"{port}/tcp": {} for port in config.ports},
        "Env": [f"{name}={value}" for name, value in sorted(config.environment.items())],
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels),
    }
    created = format_time(config.created)
    return {
        **find_platform(config.architecture),
        "created": created,
        "config": {name: value for name, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": created, "created_by": "build-os"} for _ in diff_ids],
    }


def assemble(tree: Tree, config: ImageConfig) -> Image:
    """The image of one layer that a tree makes, without writing it anywhere.

    Raises:
        OSError: content is gone from the store.
    """
    with Path(os.devnull).open("wb") as nowhere:
        counted = HashingWriter(nowhere)
        write_tar(tree, counted, latest=config.created)
    diff_id = f"sha256:{counted.sha256}"
    return _image(config, Layer(LAYER, diff_id, counted.size, diff_id, counted.size, tree))


def write_layout(tree: Tree, config: ImageConfig, out: Path, *, gzip: Tools | None = None) -> Image:
    """Write an image layout with one image of one layer into the directory ``out``, which holds no other.

    Args:
        gzip: compress the layer, with pigz from this tools tree: the bytes must not depend on the zlib that
            the host's Python happens to have.

    Raises:
        OSError: ``out`` cannot be written, or content is gone from the store.
        CapabilityError, ToolError: pigz is not there, or failed.
    """
    blobs = out / "blobs" / "sha256"
    image = _image(config, _write_layer(tree, blobs, config.created, gzip))
    for blob in (image.config, image.manifest):
        write_file(blobs / hashlib.sha256(blob).hexdigest(), blob)
    entry = _descriptor(MANIFEST, image.manifest) | {
        "platform": find_platform(config.architecture),
        "annotations": {REF_NAME: config.reference},
    }
    write_file(out / "index.json", make_canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))
    write_file(out / "oci-layout", make_canonical_json(LAYOUT_VERSION))
    return image


def _image(config: ImageConfig, layer: Layer) -> Image:
    document = make_canonical_json(make_config_json(config, [layer.diff_id]))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, document),
        "layers": [{"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}],
        "annotations": {
            "org.opencontainers.image.created": format_time(config.created),
            "org.opencontainers.image.title": config.name,
            "org.opencontainers.image.version": config.version,
        },
    }
    return Image(make_canonical_json(manifest), document, (layer,), (config.reference,), config.created)


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": make_digest(blob), "size": len(blob)}


def _write_layer(tree: Tree, blobs: Path, created: int, gzip: Tools | None) -> Layer:
    path = blobs / "layer"
    with open_replacement(path) as out:
        stored = HashingWriter(out)
        if gzip is None:
            plain = stored
            write_tar(tree, plain, latest=created)
        else:
            with open_gzip(gzip, out, level=6) as compressor:
                plain = HashingWriter(compressor)
                write_tar(tree, plain, latest=created)
    diff_id = f"sha256:{plain.sha256}"
    digest = diff_id if gzip is None else f"sha256:{hash_file(path)}"
    size = path.stat().st_size
    path.replace(blobs / digest.removeprefix("sha256:"))
    return Layer(LAYER if gzip is None else LAYER_GZIP, digest, size, diff_id, plain.size, tree)


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

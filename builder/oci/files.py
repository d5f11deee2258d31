"""The files of an image layout, wherever they lie: in a directory, in an OCI archive, in what ``docker save`` wrote.

An archive is not unpacked: its members are used where they are. A docker-archive, which is no image layout, is shown as
the one that it would be: its configuration and layers as they are, under a manifest and an index of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError
from builder.oci.facts import LAYOUT_VERSION
from builder.oci.fields import parse_list
from builder.oci.image import (
    CONFIG,
    INDEX,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    REF_NAME,
    make_canonical_json,
    make_digest,
)
from builder.oci.media import Compression, detect_compression
from builder.tree.layer import put_member, read_members
from builder.tree.node import Content, Inline, Kind, Slice
from builder.tree.pieces import read_pieces
from builder.tree.tree import Tree, TreeError

MAX_DOCUMENT = 4 << 20  # distribution-spec: registries accept manifests up to 4 MiB
MAX_IMAGES = 1000  # of a docker-archive
MAX_ARCHIVE_MEMBERS = 20_000
_MAGIC = {b"\x1f\x8b": "gunzip", b"\x28\xb5\x2f\xfd": "unzstd", b"\xfd7zXZ": "unxz", b"BZh": "bunzip2"}
_LAYERS = {Compression.PLAIN: LAYER, Compression.GZIP: LAYER_GZIP, Compression.ZSTD: LAYER_ZSTD}


@dataclass(frozen=True)
class ImageFiles:
    """The files of a layout.

    Attributes:
        path: the directory or archive, for messages.
        members: the files by name, of an archive; ``None`` for a directory.
    """

    path: Path
    members: Mapping[str, Content] | None = None

    def find(self, name: str) -> Content | None:
        """Where the bytes of a file are, such as ``blobs/sha256/HEX``. Links are no files.

        Raises:
            OSError: the directory cannot be read.
        """
        if self.members is not None:
            return self.members.get(name)
        path = self.path / name
        below = path
        while below != self.path:
            if below.is_symlink():
                return None
            below = below.parent
        return Slice(str(path), 0, path.stat().st_size) if path.is_file() else None


def open_image_files(path: Path) -> ImageFiles:
    """The files of an image that the user brings: a directory with an image layout, an OCI archive or a docker-archive.

    Raises:
        InputError: it is none of these.
    """
    if path.is_dir():
        return ImageFiles(path)
    if not path.is_file():
        raise InputError(f"there is no image at {path}")
    with path.open("rb") as file:
        head = file.read(8)
    for magic, program in _MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path} is compressed as a whole", hint=f"unpack it first: {program} {path}")
    try:
        members = _list_members(path)
    except TreeError as error:
        raise InputError(f"{path} is no archive of an image: {error}") from error
    if "oci-layout" in members and "index.json" in members:
        return ImageFiles(path, members)
    if "manifest.json" not in members:
        raise InputError(
            f"{path} is no archive of an image: it has neither oci-layout and index.json nor manifest.json",
            hint="archives are made by 'docker save', 'podman save' and 'skopeo copy ... oci-archive:FILE'",
        )
    return ImageFiles(path, _show_as_layout(path, members))


def _list_members(path: Path) -> dict[str, Content]:
    tree = Tree()
    seen: set[str] = set()
    for member in read_members(path, origin=path.name, what="member"):
        if member.node.kind is Kind.DIRECTORY:
            continue
        if member.path in seen:
            raise TreeError(f"it has {member.path[1:]} twice, and readers differ in which one they take")
        if len(seen) == MAX_ARCHIVE_MEMBERS:
            raise TreeError(f"it has more than {MAX_ARCHIVE_MEMBERS} members")
        seen.add(member.path)
        put_member(tree, member)
    # Layers that images share are links, in what older versions of Docker save.
    nodes = {name: tree.get(name, follow=True) for name in sorted(seen)}
    return {name[1:]: node.content for name, node in nodes.items() if node is not None and node.kind is Kind.FILE}


def _show_as_layout(path: Path, members: Mapping[str, Content]) -> dict[str, Content]:
    """A docker-archive as an image layout.

    Source: containers/image's docs/containers-transports.5 and Docker's image specification 1.2, "Combined Image JSON +
    Filesystem Changeset Format".

    Raises:
        InputError: it is none.
    """
    shown: dict[str, Content] = {"oci-layout": Inline(make_canonical_json(LAYOUT_VERSION))}
    entries: list[dict[str, object]] = []
    descriptors: dict[str, dict[str, object]] = {}
    try:
        images = parse_list(_read(members, "manifest.json"))
        if len(images) > MAX_IMAGES:
            raise ValueError(f"names {len(images)} images; {MAX_IMAGES} are possible")
        for number, image in enumerate(images):
            config, layers, tags = _parse_entry(image, number)
            document = _read(members, config)
            shown[_blob_name(make_digest(document))] = Inline(document)
            rows = []
            for name in layers:
                if name not in descriptors:
                    content = members.get(name)
                    if content is None:
                        raise ValueError(f"names {name!r}, which is not there")
                    descriptors[name] = _describe(content)
                rows.append(descriptors[name])
                shown[_blob_name(str(rows[-1]["digest"]))] = members[name]
            manifest = make_canonical_json(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": {"mediaType": CONFIG, "digest": make_digest(document), "size": len(document)},
                    "layers": rows,
                }
            )
            entry = {"mediaType": MANIFEST, "digest": make_digest(manifest), "size": len(manifest)}
            shown[_blob_name(make_digest(manifest))] = Inline(manifest)
            entries += [entry | {"annotations": {REF_NAME: tag}} for tag in tags] or [entry]
    except ValueError as error:
        raise InputError(f"{path}: manifest.json {error}") from error
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    return shown | {"index.json": Inline(make_canonical_json(index))}


def _parse_entry(image: object, number: int) -> tuple[str, list[str], list[str]]:
    """Config, Layers and RepoTags of one entry of manifest.json."""
    if not isinstance(image, dict):
        raise ValueError(f"[{number}] must be an object")
    config, layers, tags = image.get("Config"), image.get("Layers"), image.get("RepoTags")
    if not isinstance(config, str):
        raise ValueError(f"[{number}].Config must be the name of a file")
    for key, value in (("Layers", [] if layers is None else layers), ("RepoTags", [] if tags is None else tags)):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"[{number}].{key} must be a list of texts")
    return config, list(layers or ()), list(tags or ())


def _read(members: Mapping[str, Content], name: str) -> bytes:
    content = members.get(name)
    if content is None:
        raise ValueError(f"names {name!r}, which is not there")
    if content.size > MAX_DOCUMENT:
        raise ValueError(f"names {name!r}, which is larger than {MAX_DOCUMENT} bytes")
    return content.read()


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


def _describe(content: Content) -> dict[str, object]:
    digest = hashlib.sha256()
    head = b""
    for piece in read_pieces(content):
        head = head or piece[:8]
        digest.update(piece)
    media_type = _LAYERS[detect_compression(head)]
    return {"mediaType": media_type, "digest": f"sha256:{digest.hexdigest()}", "size": content.size}

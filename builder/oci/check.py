"""Is this an OCI image layout? All that the image-spec 1.1 demands and that matters to who unpacks it.

Used on layouts that the user brings, before anything of them is used, and on our own in tests. Documents are
hostile: duplicate keys, a manifest that is also an index (CVE-2021-41190), blobs that are links, and sizes or
digests that lie are all problems.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from builder.oci.fields import (
    Json,
    Report,
    check_config,
    check_spelling,
    is_supported,
    list_field,
    parse_annotations,
    parse_object,
    parse_platform,
    parse_strings,
)
from builder.oci.image import CONFIG, INDEX, LAYER, LAYER_GZIP, LAYOUT_VERSION, MANIFEST

MAX_DOCUMENT = 4 << 20  # distribution-spec: registries accept manifests up to 4 MiB
MAX_LAYERS = 500  # overlayfs takes no more lower directories, fs/overlayfs/params.c: OVL_MAX_STACK
MAX_NESTING = 4  # of an index in an index
MAX_UNPACKED = 32 << 30  # bytes of one layer
CHUNK = 1 << 20

LAYER_TYPES = {LAYER: False, LAYER_GZIP: True}
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
# RFC 6838, section 4.2
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True)
class Descriptor:
    """A reference to a blob, checked in form.

    Attributes:
        platform: ``(os, architecture)``, if it has one.
    """

    media_type: str
    digest: str
    size: int
    platform: tuple[str, str] | None = None
    ref_name: str | None = None

    def locate_blob(self, layout: Path) -> Path:
        """Where the blob is. The digest's form is checked, so this stays below ``blobs``."""
        algorithm, _, encoded = self.digest.partition(":")
        return layout / "blobs" / algorithm / encoded


@dataclass(frozen=True)
class ImageContents:
    """One image of a layout: its manifest, configuration and layers, base first."""

    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    platform: tuple[str, str]
    created: int


def validate_layout(layout: Path) -> list[str]:
    """All that is wrong with an image layout; nothing if it is one. Every blob is read, every layer unpacked.

    Each problem is a sentence that begins with the file it is in.
    """
    problems, images = check_layout(layout)
    for image in images:
        for layer, diff_id in zip(image.layers, image.diff_ids, strict=True):
            problems += check_diff_id(layout, layer, diff_id)
    return sorted(set(problems))


def check_layout(layout: Path) -> tuple[list[str], list[ImageContents]]:
    """All problems but those inside of layers, and the images in which there are none."""
    checker = _Checker(layout)
    checker.check()
    return checker.problems, checker.images


def check_diff_id(layout: Path, layer: Descriptor, diff_id: str) -> list[str]:
    """Whether a layer unpacks to what the configuration promises."""
    where = f"blobs/{layer.digest.replace(':', '/')}"
    digest = hashlib.new(diff_id.partition(":")[0])
    try:
        with layer.locate_blob(layout).open("rb") as file:
            for chunk in unpack_blob(file, compressed=LAYER_TYPES[layer.media_type]):
                digest.update(chunk)
    except (ValueError, OSError) as error:
        return [f"{where}: cannot be unpacked: {error}"]
    if digest.hexdigest() != diff_id.partition(":")[2]:
        return [f"{where}: unpacks to {digest.name}:{digest.hexdigest()}, but the config says {diff_id}"]
    return []


def unpack_blob(file: BinaryIO, *, compressed: bool, limit: int = MAX_UNPACKED) -> Iterator[bytes]:
    """The content of a layer's blob in pieces; gzip may have several members (RFC 1952, section 2.2).

    Raises:
        ValueError: it is damaged, or larger than ``limit``.
    """
    total = 0
    for piece in _gunzip(file) if compressed else iter(lambda: file.read(CHUNK), b""):
        total += len(piece)
        if total > limit:
            raise ValueError(f"it is larger than {limit} bytes")
        yield piece


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    engine = zlib.decompressobj(31)
    data = b""
    try:
        while data := (data or file.read(CHUNK)):
            piece = engine.decompress(data, CHUNK)
            if piece:
                yield piece
            data = engine.unconsumed_tail
            if engine.eof:
                data = engine.unused_data or file.read(CHUNK)
                if not data:
                    return
                engine = zlib.decompressobj(31)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    raise ValueError("it is cut short")


class _Checker:
    def __init__(self, layout: Path) -> None:
        self._layout = layout
        self._seen: set[tuple[str, str]] = set()
        self.problems: list[str] = []
        self.images: list[ImageContents] = []

    def _reporter(self, where: str) -> Report:
        return lambda problem: self.problems.append(f"{where}: {problem}")

    def check(self) -> None:
        report = self._reporter("oci-layout")
        marker = self._document(self._layout / "oci-layout", report)
        if marker is not None and marker.get("imageLayoutVersion") != LAYOUT_VERSION["imageLayoutVersion"]:
            report("imageLayoutVersion must be 1.0.0")
        report = self._reporter("index.json")
        index = self._document(self._layout / "index.json", report)
        if index is not None:
            self._index(index, report, 0)

    def _document(self, path: Path, report: Report) -> Json | None:
        """A JSON object in a regular file that is small enough."""
        try:
            if path.is_symlink() or not path.is_file():
                report("there is no such regular file")
                return None
            if path.stat().st_size > MAX_DOCUMENT:
                report(f"is larger than {MAX_DOCUMENT} bytes")
                return None
            return parse_object(path.read_bytes())
        except ValueError as error:
            report(str(error))
        except OSError as error:
            report(f"cannot be read: {error.strerror}")
        return None

    def _index(self, index: Json, report: Report, depth: int) -> None:
        if depth > MAX_NESTING:
            report("indexes are nested too deep")
            return
        if not self._kind(index, INDEX, forbidden=("config", "layers"), report=report):
            return
        for number, entry in enumerate(list_field(index, "manifests", report)):
            descriptor = self._descriptor(entry, f"manifests[{number}]", report)
            if descriptor is None or not self._blob(descriptor, report):
                continue
            if (descriptor.media_type, descriptor.digest) in self._seen:
                continue
            self._seen.add((descriptor.media_type, descriptor.digest))
            if descriptor.media_type not in (MANIFEST, INDEX):
                continue  # image-spec: an unknown media type must be ignored
            inner = self._reporter(f"blobs/{descriptor.digest.replace(':', '/')}")
            document = self._document(descriptor.locate_blob(self._layout), inner)
            if document is None:
                continue
            if descriptor.media_type == INDEX:
                self._index(document, inner, depth + 1)
            else:
                self._manifest(descriptor, document, inner)

    def _kind(self, document: Json, media_type: str, *, forbidden: tuple[str, ...], report: Report) -> bool:
        before = len(self.problems)
        if type(document.get("schemaVersion")) is not int or document["schemaVersion"] != 2:
            report("schemaVersion must be 2")
        if document.get("mediaType", media_type) != media_type:
            report(f"mediaType is {document['mediaType']!r}, but it was referred to as {media_type}")
        for key in forbidden:
            if key in document:
                report(f"{key!r} does not belong into {media_type}")
        parse_annotations(document, report)
        check_spelling(document, report)
        return len(self.problems) == before

    def _manifest(self, descriptor: Descriptor, manifest: Json, report: Report) -> None:
        before = len(self.problems)
        self._kind(manifest, MANIFEST, forbidden=("manifests",), report=report)
        config = self._descriptor(manifest.get("config"), "config", report)
        entries = list_field(manifest, "layers", report)
        if len(entries) > MAX_LAYERS:
            report(f"has {len(entries)} layers; {MAX_LAYERS} are possible")
            return
        layers = [self._descriptor(entry, f"layers[{number}]", report) for number, entry in enumerate(entries)]
        for blob in (config, *layers):
            if blob is not None:
                self._blob(blob, report)
        if config is not None and config.media_type != CONFIG:
            return  # an artifact, not an image (image-spec, manifest.md, "Guidelines for Artifact Usage")
        known = [layer for layer in layers if layer is not None]
        for number, layer in enumerate(known):
            if layer.media_type not in LAYER_TYPES:
                report(f"layers[{number}]: {layer.media_type} is not supported; use {LAYER} or {LAYER_GZIP}")
        if len(self.problems) > before or config is None:
            return
        inner = self._reporter(f"blobs/{config.digest.replace(':', '/')}")
        document = self._document(config.locate_blob(self._layout), inner)
        if document is None:
            return
        diff_ids, platform, created = check_config(document, inner)
        if len(diff_ids) != len(known):
            inner(f"rootfs.diff_ids has {len(diff_ids)} entries for {len(known)} layers")
        if descriptor.platform not in (None, platform):
            report(f"is for {platform}, but the index says {descriptor.platform}")
        if len(self.problems) == before:
            self.images.append(ImageContents(descriptor, config, tuple(known), diff_ids, platform, created))

    def _descriptor(self, value: object, where: str, report: Report) -> Descriptor | None:
        before = len(self.problems)
        if not isinstance(value, dict):
            report(f"{where} must be a descriptor")
            return None
        check_spelling(value, report, f"{where}.")
        media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
        if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
            report(f"{where}.mediaType is no media type")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            report(f"{where}.digest is no digest")
        elif not is_supported(digest):
            report(f"{where}.digest must be sha256 or sha512, in lower-case hex")
        if type(size) is not int or not 0 <= size < 2**63:
            report(f"{where}.size must be a number of bytes")
        parse_strings(value.get("urls"), f"{where}.urls", report)
        parse_annotations(value, report, f"{where}.")
        self._data(value, where, report)
        if len(self.problems) > before:
            return None
        annotations = value.get("annotations")
        ref = annotations.get("org.opencontainers.image.ref.name") if isinstance(annotations, dict) else None
        platform = parse_platform(value.get("platform"), where, report)
        assert isinstance(media_type, str)
        assert isinstance(digest, str)
        assert isinstance(size, int)
        return Descriptor(media_type, digest, size, platform, ref)

    @staticmethod
    def _data(value: Json, where: str, report: Report) -> None:
        data = value.get("data")
        if data is None:
            return
        try:
            content = base64.b64decode(data if isinstance(data, str) else "?", validate=True)
        except (binascii.Error, ValueError):
            report(f"{where}.data is no base64")
            return
        algorithm, _, encoded = str(value.get("digest")).partition(":")
        if is_supported(str(value.get("digest"))) and hashlib.new(algorithm, content).hexdigest() != encoded:
            report(f"{where}.data is not what the digest says")

    def _blob(self, descriptor: Descriptor, report: Report) -> bool:
        """Whether the blob is there, a regular file below ``blobs``, and what its descriptor says."""
        path = descriptor.locate_blob(self._layout)
        name = f"blobs/{descriptor.digest.replace(':', '/')}"
        if any(part.is_symlink() for part in (path, path.parent, path.parent.parent)) or not path.is_file():
            report(f"{name} is not there, or is no regular file")
            return False
        size = path.stat().st_size
        if size != descriptor.size:
            report(f"{name} has {size} bytes, not {descriptor.size}")
            return False
        algorithm, _, encoded = descriptor.digest.partition(":")
        with path.open("rb") as file:
            if hashlib.file_digest(file, algorithm).hexdigest() != encoded:
                report(f"{name} is not what its name says")
                return False
        return True

"""Is this an OCI image? All that the image-spec 1.1 demands and that matters to who unpacks it.

Used on images that the user brings, before anything of them is used, and on our own in tests. Documents are
hostile: duplicate keys, a manifest that is also an index (CVE-2021-41190), blobs that are links, and sizes or
digests that lie are all problems.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from builder.core.architecture import ARCHITECTURES
from builder.core.tools import Tools
from builder.oci.facts import LAYOUT_VERSION, MAX_LAYERS
from builder.oci.fields import (
    Json,
    Platform,
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
from builder.oci.files import MAX_DOCUMENT, ImageFiles
from builder.oci.image import INDEX, LAYER, LAYER_GZIP, LAYER_ZSTD, MANIFEST
from builder.oci.media import (
    CONFIG_TYPES,
    INDEX_TYPES,
    LAYER_TYPES,
    MANIFEST_TYPES,
    NOT_DISTRIBUTED_PREFIXES,
    OLD_MANIFEST_PREFIX,
)
from builder.oci.unpack import unpack_blob
from builder.tree.node import Content
from builder.tree.pieces import read_pieces

MAX_NESTING = 4  # of an index in an index

_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
# RFC 6838, section 4.2
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True)
class Descriptor:
    """A reference to a blob, checked in form."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    ref_name: str | None = None

    @property
    def file_name(self) -> str:
        """Of the blob in its layout. The digest's form is checked, so this stays below ``blobs``."""
        return f"blobs/{self.digest.replace(':', '/')}"

    def locate_blob(self, layout: Path) -> Path:
        """Where the blob is in a layout that is a directory."""
        return layout / self.file_name


@dataclass(frozen=True)
class ImageContents:
    """One image of a layout: its manifest, configuration and layers, base first."""

    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    platform: Platform
    created: int


@dataclass(frozen=True)
class Choice:
    """Which image of several is meant.

    Attributes:
        architecture: it is for this one and for Linux; what is for others is not looked at.
        digest: of its manifest, or of an index that leads to it.
        tag: the name in the index, or the tag at that name's end.
    """

    architecture: str
    digest: str = ""
    tag: str = ""

    def rank(self, platform: Platform) -> int | None:
        """How well a platform suits, 0 best; ``None`` if not at all."""
        if (platform.os, platform.architecture) != ("linux", self.architecture):
            return None
        variants = list_variants(self.architecture)
        return variants.index(platform.variant) if platform.variant in variants else None


def list_variants(architecture: str) -> tuple[str, ...]:
    """The variants that images for an architecture may name, best first."""
    facts = ARCHITECTURES.get(architecture)
    return ("",) if facts is None else facts.variants


@dataclass(frozen=True)
class LayoutReport:
    """What is in a layout.

    Attributes:
        problems: sentences, each beginning with the file that it is about.
        images: those in which there are none.
        others: images that were not looked at, for messages.
    """

    problems: list[str] = field(default_factory=list)
    images: list[ImageContents] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def validate_layout(layout: Path, tools: Tools | None = None) -> list[str]:
    """All that is wrong with an image layout; nothing if it is one. Every blob is read, every layer unpacked.

    Each problem is a sentence that begins with the file it is in.

    Args:
        tools: for layers in zstd.
    """
    files = ImageFiles(layout)
    report = check_image(files)
    problems = list(report.problems)
    for image in report.images:
        for layer, diff_id in zip(image.layers, image.diff_ids, strict=True):
            problems += check_diff_id(files, layer, diff_id, tools)
    return sorted(set(problems))


def check_image(files: ImageFiles, choice: Choice | None = None) -> LayoutReport:
    """All problems but those inside of layers, and the images in which there are none.

    Args:
        choice: what is looked at; all if it is not given.
    """
    checker = _Checker(files, choice)
    checker.check()
    return checker.report


def check_diff_id(files: ImageFiles, layer: Descriptor, diff_id: str, tools: Tools | None = None) -> list[str]:
    """Whether a layer unpacks to what the configuration promises."""
    digest = hashlib.new(diff_id.partition(":")[0])
    try:
        content = files.find(layer.file_name)
        if content is None:
            return [f"{layer.file_name}: it is gone"]
        for piece in unpack_blob(content, LAYER_TYPES[layer.media_type], tools):
            digest.update(piece)
    except (ValueError, OSError) as error:
        return [f"{layer.file_name}: cannot be unpacked: {error}"]
    if digest.hexdigest() != diff_id.partition(":")[2]:
        return [f"{layer.file_name}: unpacks to {digest.name}:{digest.hexdigest()}, but the config says {diff_id}"]
    return []


class _Checker:
    def __init__(self, files: ImageFiles, choice: Choice | None) -> None:
        self._files = files
        self._choice = choice
        self._seen: set[tuple[str, str]] = set()
        self._intact: set[Descriptor] = set()
        self.report = LayoutReport()

    def _reporter(self, where: str) -> Report:
        return lambda problem: self.report.problems.append(f"{where}: {problem}")

    def check(self) -> None:
        if self._choice is not None and self._choice.digest:
            self._start_at(self._choice.digest)
            return
        report = self._reporter("oci-layout")
        marker = self._document("oci-layout", report)
        if marker is not None and marker.get("imageLayoutVersion") != LAYOUT_VERSION["imageLayoutVersion"]:
            report("imageLayoutVersion must be 1.0.0")
        report = self._reporter("index.json")
        index = self._document("index.json", report)
        if index is not None:
            self._index(INDEX, index, report, 0)

    def _start_at(self, digest: str) -> None:
        """Look at one manifest or index, whether the layout's own index names it or not."""
        if not is_supported(digest):
            self.report.problems.append(f"{digest}: is no digest")
            return
        where = Descriptor("", digest, 0).file_name
        report = self._reporter(where)
        document = self._document(where, report)
        content = self._files.find(where)
        if document is None or content is None:
            return
        plain = INDEX if "manifests" in document else MANIFEST
        media_type = document.get("mediaType", plain)
        entry = self._descriptor({"mediaType": media_type, "digest": digest, "size": content.size}, where, report)
        if entry is not None and self._blob(entry, report):
            self._entry(entry, 0)

    def _document(self, name: str, report: Report) -> Json | None:
        """A JSON object in a regular file that is small enough."""
        try:
            content = self._files.find(name)
            if content is None:
                report("there is no such regular file")
                return None
            if content.size > MAX_DOCUMENT:
                report(f"is larger than {MAX_DOCUMENT} bytes")
                return None
            return parse_object(content.read())
        except ValueError as error:
            report(str(error))
        except OSError as error:
            report(f"cannot be read: {error.strerror}")
        return None

    def _index(self, media_type: str, index: Json, report: Report, depth: int) -> None:
        if depth > MAX_NESTING:
            report("indexes are nested too deep")
            return
        if not self._kind(index, media_type, forbidden=("config", "layers"), report=report):
            return
        for number, entry in enumerate(list_field(index, "manifests", report)):
            descriptor = self._descriptor(entry, f"manifests[{number}]", report)
            if descriptor is None or not self._is_wanted(descriptor, depth) or not self._blob(descriptor, report):
                continue
            if (descriptor.media_type, descriptor.digest) not in self._seen:
                self._seen.add((descriptor.media_type, descriptor.digest))
                self._entry(descriptor, depth)

    def _is_wanted(self, descriptor: Descriptor, depth: int) -> bool:
        """Whether a choice leaves it in question; what a layout does not choose need not be in it."""
        platform, name = descriptor.platform, descriptor.ref_name or ""
        if platform is not None and platform.os == "unknown":
            return False  # what a builder says about an image, and no image
        if self._choice is None:
            return True
        wanted = self._choice.tag
        if wanted and depth == 0 and name != wanted and name.rpartition(":")[2] != wanted:
            self.report.others.append(f"{name or descriptor.digest}: has another name")
            return False
        if platform is not None and self._choice.rank(platform) is None:
            self.report.others.append(f"{platform}: {name or descriptor.digest}")
            return False
        return True

    def _entry(self, descriptor: Descriptor, depth: int) -> None:
        inner = self._reporter(descriptor.file_name)
        if descriptor.media_type.startswith(OLD_MANIFEST_PREFIX):
            inner("is a manifest of Docker's old schema 1, which does not say what its layers unpack to")
        if descriptor.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            return  # image-spec: an unknown media type must be ignored
        document = self._document(descriptor.file_name, inner)
        if document is None:
            return
        if descriptor.media_type in INDEX_TYPES:
            self._index(descriptor.media_type, document, inner, depth + 1)
        else:
            self._manifest(descriptor, document, inner)

    def _kind(self, document: Json, media_type: str, *, forbidden: tuple[str, ...], report: Report) -> bool:
        before = len(self.report.problems)
        if type(document.get("schemaVersion")) is not int or document["schemaVersion"] != 2:
            report("schemaVersion must be 2")
        if document.get("mediaType", media_type) != media_type:
            report(f"mediaType is {document['mediaType']!r}, but it was referred to as {media_type}")
        for key in forbidden:
            if key in document:
                report(f"{key!r} does not belong into {media_type}")
        parse_annotations(document, report)
        check_spelling(document, report)
        return len(self.report.problems) == before

    def _manifest(self, descriptor: Descriptor, manifest: Json, report: Report) -> None:
        before = len(self.report.problems)
        self._kind(manifest, descriptor.media_type, forbidden=("manifests",), report=report)
        config = self._descriptor(manifest.get("config"), "config", report)
        entries = list_field(manifest, "layers", report)
        if len(entries) > MAX_LAYERS:
            report(f"has {len(entries)} layers; {MAX_LAYERS} are possible")
            return
        layers = [self._descriptor(entry, f"layers[{number}]", report) for number, entry in enumerate(entries)]
        for blob in (config, *layers):
            if blob is not None:
                self._blob(blob, report)
        if config is not None and config.media_type not in CONFIG_TYPES:
            return  # an artifact, not an image (image-spec, manifest.md, "Guidelines for Artifact Usage")
        known = [layer for layer in layers if layer is not None]
        for number, layer in enumerate(known):
            if layer.media_type.startswith(NOT_DISTRIBUTED_PREFIXES):
                report(f"layers[{number}] may not be distributed ({layer.media_type}): its bytes are not in the image")
            elif layer.media_type not in LAYER_TYPES:
                kinds = f"{LAYER}, {LAYER_GZIP} or {LAYER_ZSTD}"
                report(f"layers[{number}]: {layer.media_type} is not supported; use {kinds}")
        if len(self.report.problems) > before or config is None:
            return
        inner = self._reporter(config.file_name)
        document = self._document(config.file_name, inner)
        if document is None:
            return
        diff_ids, platform, created = check_config(document, inner)
        if len(diff_ids) != len(known):
            inner(f"rootfs.diff_ids has {len(diff_ids)} entries for {len(known)} layers")
        if descriptor.platform is not None and descriptor.platform[:2] != platform[:2]:
            report(f"is for {platform}, but the index says {descriptor.platform}")
        if len(self.report.problems) == before:
            self.report.images.append(ImageContents(descriptor, config, tuple(known), diff_ids, platform, created))

    def _descriptor(self, value: object, where: str, report: Report) -> Descriptor | None:
        before = len(self.report.problems)
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
        if len(self.report.problems) > before:
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
        if descriptor in self._intact:
            return True
        name = descriptor.file_name
        try:
            content = self._files.find(name)
            if content is None:
                report(f"{name} is not there, or is no regular file")
                return False
            if content.size != descriptor.size:
                report(f"{name} has {content.size} bytes, not {descriptor.size}")
                return False
            if not _has_digest(content, descriptor.digest):
                report(f"{name} is not what its name says")
                return False
        except OSError as error:
            report(f"{name} cannot be read: {error.strerror or error}")
            return False
        self._intact.add(descriptor)
        return True


def _has_digest(content: Content, digest: str) -> bool:
    algorithm, _, encoded = digest.partition(":")
    actual = hashlib.new(algorithm)
    for piece in read_pieces(content):
        actual.update(piece)
    return actual.hexdigest() == encoded

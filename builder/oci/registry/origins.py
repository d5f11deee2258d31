"""An image that is copied from a directory or an archive on this machine. Everything is verified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError, SourceError
from builder.core.http import TransferError
from builder.oci.files import ImageFiles, open_image_files
from builder.oci.registry.manifest import Manifest, make_manifest
from builder.tree.node import Inline, Slice
from builder.tree.pieces import read_pieces
from firstboot.config.oci.manifests import (
    MAX_MANIFEST,
    REF_NAME,
    BadManifest,
    Descriptor,
    list_descriptors,
    parse_document,
)


@dataclass
class FileOrigin:
    """An image in a layout or an archive.

    Attributes:
        chosen: the tag or the whole name of the image, if there are several.
    """

    files: ImageFiles
    chosen: str = ""
    repository: tuple[str, str] | None = None

    @classmethod
    def open(cls, path: Path, chosen: str = "") -> FileOrigin:
        """A directory with an image layout, an OCI archive or what ``docker save`` wrote.

        Raises:
            InputError: it is none of these.
        """
        return cls(open_image_files(path), chosen)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.files.path}{':' if self.chosen else ''}{self.chosen}"

    def read_root(self) -> Manifest:
        """See :class:`Origin`.

        Raises:
            InputError: the layout has none, or several, and nothing says which is meant.
        """
        try:
            entries = list_descriptors(parse_document(self._read("index.json")), "manifests")
        except BadManifest as error:
            raise InputError(f"{self.files.path}/index.json {error}") from None
        names = [entry.annotations.get(REF_NAME, "") for entry in entries]
        fitting = [
            entry
            for entry, name in zip(entries, names, strict=True)
            if not self.chosen or self.chosen in (name, entry.digest) or name.endswith(f":{self.chosen}")
        ]
        digests = {entry.digest for entry in fitting}
        if len(digests) == 1:
            return self.read_manifest(fitting[0])
        known = sorted(name or entry.digest for entry, name in zip(entries, names, strict=True))[:20]
        what = f"no image {self.chosen!r}" if not fitting else f"{len(digests)} images, and nothing says which is meant"
        raise InputError(f"{self.files.path} has {what}", details=known, hint="name one after the path: PATH:NAME")

    def read_manifest(self, entry: Descriptor) -> Manifest:
        """See :class:`Origin`."""
        if entry.size > MAX_MANIFEST:
            raise InputError(f"{self.name}: the manifest {entry.digest} has {entry.size} bytes")
        data = self._read(_locate(entry))
        try:
            return make_manifest(data, entry.media_type, entry.digest)
        except (BadManifest, TransferError) as error:
            raise InputError(f"{self.name}: blobs/{entry.digest.replace(':', '/')} {error}") from None

    def read_blob(self, blob: Descriptor, start: int) -> Iterator[bytes]:
        """See :class:`Origin`."""
        content = self.files.find(_locate(blob))
        if content is None:
            raise SourceError(f"{self.name} has no {_locate(blob)}, which its manifest names")
        if content.size != blob.size:
            raise SourceError(f"{self.name}: {_locate(blob)} has {content.size} bytes, its manifest says {blob.size}")
        if start:
            data = content.data[start:] if isinstance(content, Inline) else b""
            rest = (
                Inline(data)
                if isinstance(content, Inline)
                else Slice(content.path, content.offset + start, content.size - start)
            )
            yield from read_pieces(rest)
            return
        digest = hashlib.new(blob.digest.partition(":")[0])
        held = b""
        for piece in read_pieces(content):
            digest.update(piece)
            if held:
                yield held
            held = piece
        if digest.hexdigest() != blob.hex:
            raise SourceError(f"{self.name}: {_locate(blob)} is not what its name says")
        if held:
            yield held

    def _read(self, name: str) -> bytes:
        content = self.files.find(name)
        if content is None:
            raise InputError(f"{self.files.path} is no image that can be used: it has no {name}")
        if content.size > MAX_MANIFEST:
            raise InputError(f"{self.files.path}: {name} has {content.size} bytes, more than {MAX_MANIFEST}")
        return content.read()


def _locate(entry: Descriptor) -> str:
    return f"blobs/{entry.digest.replace(':', '/', 1)}"

"""What can be read from a repository: manifests, blobs, tags, referrers (OCI distribution-spec 1.1).

All content is verified: a manifest by the digest it was asked for or the one its descriptor has, a blob by size and
digest while it passes. Where registries.conf has mirrors they are asked first, and the registry itself at last.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote

import requests

from builder.core.errors import BuildError, InputError, SourceError
from builder.core.http import (
    CHUNK,
    Patience,
    RangeRefused,
    Stopped,
    TransferError,
    find_body_offset,
    read_pieces,
)
from builder.oci.registry.connection import Connection, RegistryError
from builder.oci.registry.manifest import Manifest, make_manifest
from firstboot.config.oci.challenge import make_scope
from firstboot.config.oci.manifests import (
    ACCEPT,
    MAX_MANIFEST,
    BadManifest,
    Descriptor,
    Platform,
    find_for_platform,
    list_descriptors,
)
from firstboot.config.oci.reference import Reference

MAX_BLOB = 64 << 30
MAX_NESTING = 4  # of an index in an index
T = TypeVar("T")
Progress = Callable[[int], None]


class MissingImageError(InputError):
    """The registry answers, and has no such tag or repository."""


@dataclass(frozen=True)
class Source:
    """One place of a repository: the registry itself or a mirror."""

    connection: Connection
    reference: Reference

    @property
    def scope(self) -> str:
        """What a token must allow to read here."""
        return make_scope(self.reference.repository, "pull")

    def locate(self, kind: str, name: str) -> str:
        """The path of something in the repository's part of the API."""
        return f"/v2/{self.reference.repository}/{kind}/{quote(name, safe=':')}"

    def ask(self, method: str, path: str, **options: Any) -> AbstractContextManager[requests.Response]:
        """:meth:`Connection.ask` with the scope to read."""
        return self.connection.ask(method, path, scopes=(self.scope,), **options)


class Client:
    """Reads one repository. Used as a block, which closes the connections.

    Attributes:
        reference: the image it was opened for.
        stop: set to abandon all that is under way.
    """

    def __init__(
        self, reference: Reference, sources: Sequence[Source], patience: Patience, stop: threading.Event
    ) -> None:
        self.reference = reference
        self.sources = tuple(sources)
        self.patience = patience
        self.stop = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Abandon what is under way, and close the connections."""
        self.stop.set()
        for source in self.sources:
            source.connection.close()

    # Manifests

    def read_manifest(self, target: str | None = None, *, maximum: int = MAX_MANIFEST) -> Manifest:
        """The manifest or index of a tag or digest; by default of the reference.

        Raises:
            MissingImageError: the registry has no such tag or repository.
            SourceError: it cannot be had, is none, or is not what the digest promised.
        """
        wanted = target or self.reference.target
        digest = wanted if ":" in wanted else None

        def attempt(source: Source) -> Manifest:
            with source.ask("GET", source.locate("manifests", wanted), headers={"Accept": ACCEPT}) as response:
                data = self.read_body(response, maximum)
                kind = response.headers.get("Content-Type", "")
                promised = response.headers.get("Docker-Content-Digest")
            try:
                manifest = make_manifest(data, kind, digest)
            except BadManifest as error:
                raise TransferError(f"the manifest {error}") from None
            if digest is None and promised and promised.startswith("sha256:") and promised != manifest.digest:
                raise TransferError(f"sent a manifest with the digest {manifest.digest}, and calls it {promised[:80]}")
            return manifest

        return self.try_each(self._describe(wanted), attempt, by_tag=digest is None)

    def find_descriptor(self, target: str | None = None) -> Descriptor | None:
        """What a tag or digest is at this moment, by the registry's word alone; ``None`` if it is not there.

        A ``HEAD`` costs the registry nothing, and is not counted by those that limit how much is pulled.

        Raises:
            SourceError: the registry does not answer.
        """
        wanted = target or self.reference.target

        def attempt(source: Source) -> Descriptor | None:
            path = source.locate("manifests", wanted)
            with source.ask("HEAD", path, headers={"Accept": ACCEPT}, accept=(200, 404)) as response:
                if response.status_code == 404:
                    return None
                digest = response.headers.get("Docker-Content-Digest", "")
                size = response.headers.get("Content-Length", "")
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
            if not digest or not size.isdecimal():
                return self.read_manifest(wanted).descriptor
            try:
                entry = {"digest": digest, "size": int(size[:18]), "mediaType": kind}
                return list_descriptors({"manifests": [entry]}, "manifests")[0]
            except BadManifest as error:
                raise TransferError(f"the answer {error}") from None

        return self.try_each(self._describe(wanted), attempt, by_tag=":" not in wanted)

    def read_image_manifest(
        self, platform: str | Platform, target: str | None = None
    ) -> tuple[Manifest | None, Manifest]:
        """The manifest for a platform, and the index that it is from if there is one.

        Args:
            platform: ``linux/riscv64``, ``linux/arm/v7``.

        Raises:
            InputError: there is none for this platform.
            SourceError, MissingImageError: :meth:`read_manifest`.
        """
        wanted = platform if isinstance(platform, Platform) else Platform(*platform.split("/", 2))
        first = current = self.read_manifest(target)
        for _ in range(MAX_NESTING):
            if not current.is_index:
                return (first if first is not current else None), current
            entries = self.list_entries(current)
            entry = find_for_platform(entries, wanted)
            if entry is None:
                known = sorted({str(e.platform) for e in entries if e.platform and e.platform.os != "unknown"})
                raise InputError(
                    f"{self.reference} has no image for {wanted}",
                    details=[f"it has images for {', '.join(known)}"] if known else ["its index names no platform"],
                )
            current = self.read_manifest(entry.digest)
        raise SourceError(f"{self.reference} is an index in an index in an index, deeper than {MAX_NESTING}")

    def list_entries(self, index: Manifest) -> tuple[Descriptor, ...]:
        """The entries of an index.

        Raises:
            SourceError: they are none.
        """
        try:
            return index.list_manifests()
        except BadManifest as error:
            raise SourceError(f"{self.reference.pin(index.digest)}: the index {error}") from None

    def list_image_blobs(self, manifest: Manifest) -> tuple[Descriptor, ...]:
        """Configuration and layers.

        Raises:
            SourceError: they are none.
        """
        try:
            return manifest.list_blobs()
        except BadManifest as error:
            raise SourceError(f"{self.reference.pin(manifest.digest)}: the manifest {error}") from None

    # Blobs

    def read_blob(self, descriptor: Descriptor, maximum: int = MAX_MANIFEST) -> bytes:
        """A small blob, whole.

        Raises:
            SourceError: it cannot be had, is not what its digest says, or has more than ``maximum`` bytes.
        """
        if descriptor.size > maximum:
            raise SourceError(f"{self._describe(descriptor.digest)} has {descriptor.size} bytes, more than {maximum}")
        return b"".join(self.stream_blob(descriptor))

    def stream_blob(self, descriptor: Descriptor, start: int = 0) -> Iterator[bytes]:
        """A blob piece by piece, going on after a connection was cut. The last piece comes only when all of it is
        what the digest says, so who passes the pieces on never completes a wrong blob.

        Args:
            start: the first byte that is wanted; the digest of a part is not checked.

        Raises:
            SourceError: it cannot be had, or is not what its digest says.
        """
        check_size(descriptor, self._describe(descriptor.digest))
        digest = hashlib.new(descriptor.digest.partition(":")[0])
        position = start
        held = b""
        turn = 0
        sources = list(self.sources)
        failures: dict[str, TransferError] = {}
        while position < descriptor.size:
            source = sources[0]
            begun = position
            try:
                for piece in self._read_from(source, descriptor, position):
                    digest.update(piece)
                    position += len(piece)
                    if held:
                        yield held
                    held = piece
                if position < descriptor.size:
                    raise TransferError(f"ended after {position} of {descriptor.size} bytes", temporary=True)
            except TransferError as error:
                failures[source.connection.server.registry] = error
                turn = 1 if position > begun else turn + 1
                if len(sources) > 1:
                    sources.pop(0)
                elif not error.temporary or turn >= self.patience.rounds:
                    raise self._summarize(self._describe(descriptor.digest), failures, by_tag=False) from None
                elif self.stop.wait(self.patience.choose_pause(turn, error.after)):
                    raise Stopped from None
                continue
            break
        if start == 0 and digest.hexdigest() != descriptor.hex:
            actual = f"{digest.name}:{digest.hexdigest()}"
            raise SourceError(f"{self._describe(descriptor.digest)} is not what its digest says: it is {actual}")
        if held:
            yield held

    def download_blob(self, descriptor: Descriptor, file: BinaryIO, progress: Progress) -> int:
        """Bring a file that may have the beginning of a blob to the whole of it; returns how many bytes came.

        Args:
            progress: called with how many bytes more the file has, or fewer.

        Raises:
            SourceError: it cannot be had, or is not what its digest says; the file has the right beginning, or nothing.
            Stopped
        """
        check_size(descriptor, self._describe(descriptor.digest))
        received = 0

        def attempt(source: Source) -> None:
            nonlocal received
            digest = hashlib.new(descriptor.digest.partition(":")[0])
            file.seek(0)
            while piece := file.read(CHUNK):
                digest.update(piece)
            kept = position = file.tell()
            if kept > descriptor.size:
                file.truncate(0)
                raise TransferError("what was kept of it is too long", temporary=True)
            progress(kept)
            try:
                if kept < descriptor.size:
                    for piece in self._read_from(source, descriptor, kept):
                        file.write(piece)
                        digest.update(piece)
                        position += len(piece)
                        received += len(piece)
                        progress(len(piece))
                    file.flush()
                if position < descriptor.size:
                    raise TransferError(f"ended after {position} of {descriptor.size} bytes", temporary=True)
                if digest.hexdigest() != descriptor.hex:
                    file.truncate(0)
                    raise TransferError(
                        f"sent something with the digest {digest.name}:{digest.hexdigest()}, not {descriptor.digest}",
                        temporary=kept > 0,  # what was kept from an earlier run may have been the bad part
                    )
            except BaseException as error:
                if isinstance(error, RangeRefused):
                    file.truncate(0)
                progress(-position)
                raise

        self.try_each(self._describe(descriptor.digest), attempt, by_tag=False)
        return received

    def _read_from(self, source: Source, descriptor: Descriptor, start: int) -> Iterator[bytes]:
        """The bytes of a blob from one on, by one request.

        Raises:
            TransferError: they do not come, or there are too many.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        path = source.locate("blobs", descriptor.digest)
        with source.ask("GET", path, headers=headers, accept=(200, 206, 416)) as response:
            offset = find_body_offset(response, start)
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and offset + int(length[:19]) > descriptor.size:
                total = offset + int(length[:19])
                raise TransferError(f"the registry sends {total} bytes, the manifest says {descriptor.size}")
            skip = start - offset  # it may ignore the range, and begin at the beginning
            for piece in read_pieces(response, descriptor.size - offset, self.patience, self.stop):
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                yield piece[skip:] if skip else piece
                skip = 0

    # Trying

    def read_body(self, response: requests.Response, maximum: int) -> bytes:
        """The body of an answer, whole.

        Raises:
            TransferError: it has more than ``maximum`` bytes, or was cut.
        """
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:19]) > maximum:
            raise TransferError(f"the registry sends {length} bytes, at most {maximum} were expected")
        return b"".join(read_pieces(response, maximum, self.patience, self.stop))

    def _describe(self, target: str) -> str:
        return f"{self.reference.name}{'@' if ':' in target else ':'}{target}"

    def try_each(self, what: str, attempt: Callable[[Source], T], *, by_tag: bool) -> T:
        """``attempt`` with one place after the other until one works; temporary failures are tried again."""
        failures: dict[str, TransferError] = {}
        left = list(self.sources)
        for turn in range(self.patience.rounds):
            if turn:
                asked = min(failures[source.connection.server.registry].after for source in left)
                if self.stop.wait(self.patience.choose_pause(turn, asked)):
                    raise Stopped
            for source in tuple(left):
                try:
                    return attempt(source)
                except TransferError as error:
                    failures[source.connection.server.registry] = error
                    if not error.temporary:
                        left.remove(source)
            if not left:
                break
        raise self._summarize(what, failures, by_tag=by_tag)

    def _summarize(self, what: str, failures: dict[str, TransferError], *, by_tag: bool) -> BuildError:
        details = [f"{server}: {error}" for server, error in failures.items()]
        last = list(failures.values())[-1]
        if by_tag and last.missing:
            code = last.code if isinstance(last, RegistryError) else ""
            where = "repository" if code == "NAME_UNKNOWN" else "image"
            return MissingImageError(f"there is no {where} {what}", details=details)
        return SourceError(f"cannot fetch {what}", details=details, hint=choose_hint(last, self.reference.registry))


def choose_hint(error: TransferError, registry: str) -> str:
    """What to try after a registry failed."""
    if isinstance(error, RegistryError) and error.is_denied:
        return (
            f"the registry wants a login, or there is no such repository: 'podman login {registry}' keeps a password"
            " where build-os finds it, --authfile names another file"
        )
    if error.missing:
        return "the registry does not have it any more"
    return "is the registry up? try again" if error.temporary else "the registry or what is between is broken"


def check_size(descriptor: Descriptor, what: str) -> None:
    """Refuse a blob that no registry should have.

    Raises:
        SourceError
    """
    if descriptor.size > MAX_BLOB:
        raise SourceError(f"{what} is said to have {descriptor.size} bytes; more than {MAX_BLOB} are not fetched")

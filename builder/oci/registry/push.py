"""What can be written to a repository: blobs, manifests, tags (distribution-spec 1.1, "Push", "Content management").

A blob is uploaded at once if it is small, else in a session that goes on where a connection was cut; where the registry
has it in another repository, it is mounted from there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import urljoin

import requests

from builder.core.errors import BuildError, InputError, SourceError
from builder.core.http import Stopped, TransferError
from builder.oci.registry.client import Client, MissingImageError, Source, choose_hint
from builder.oci.registry.connection import Body, RegistryError
from builder.oci.registry.listing import make_referrers_tag
from builder.oci.registry.manifest import Manifest
from firstboot.config.oci.challenge import make_scope
from firstboot.config.oci.manifests import (
    INDEX,
    MAX_MANIFEST,
    BadManifest,
    Descriptor,
    parse_descriptor,
    parse_document,
)

AT_ONCE = 4 << 20  # bytes of a blob that is sent with one request
MAX_CHUNK = 1 << 40
BINARY = "application/octet-stream"
Read = Callable[[int], Iterator[bytes]]
Progress = Callable[[int], None]
T = TypeVar("T")


class DeletionRefusedError(InputError):
    """The registry deletes nothing, or nothing of this kind."""


class _Piece:
    """A part of a blob as the body of a request: its length is known, it is read as it is sent."""

    def __init__(self, read: Read, start: int, size: int, progress: Progress) -> None:
        self._read, self._start, self._size, self._progress = read, start, size, progress

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left = self._size
        if not left:
            return
        for piece in self._read(self._start):
            part = piece[:left]
            left -= len(part)
            self._progress(len(part))
            yield part
            if not left:
                return
        raise OSError("the blob ended before its size")


@dataclass
class _Session:
    """An upload that is under way: where it goes on, and how much the registry has of it."""

    location: str
    position: int = 0
    minimum: int = 0


class Publisher:
    """Writes to one repository.

    Attributes:
        chunk: how many bytes of a blob are sent with one request; 0: all of them.
    """

    def __init__(self, client: Client, *, chunk: int = 0) -> None:
        self.client = client
        self.chunk = chunk
        self._source: Source = client.sources[-1]
        self._scope = make_scope(self._source.reference.repository, "pull", "push")

    @property
    def name(self) -> str:
        """Registry and repository."""
        return self.client.reference.name

    # Blobs

    def has_blob(self, blob: Descriptor) -> bool:
        """Whether the repository has it.

        Raises:
            SourceError: the registry does not answer.
        """

        def attempt() -> bool:
            path = self._source.locate("blobs", blob.digest)
            with self._ask("HEAD", path, accept=(200, 404)) as response:
                return response.status_code == 200

        return self._try(f"look for {blob.digest} in {self.name}", attempt)

    def upload_blob(
        self, blob: Descriptor, read: Read, *, mount: Sequence[str] = (), progress: Progress = lambda _: None
    ) -> bool:
        """Bring a blob into the repository; returns whether it was mounted, so that nothing had to be sent.

        Args:
            read: its bytes from one on.
            mount: repositories of this registry that may have it.
            progress: called with how many bytes more were sent, or fewer.

        Raises:
            SourceError: the registry does not take it, or ``read`` raised it.
        """
        session: _Session | None = None
        sent = failures = 0

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            progress(size)

        while True:
            before = session.position if session else 0
            try:
                if session is None:
                    session = self._begin(blob, mount)
                    if session is None:
                        progress(blob.size)
                        return True
                elif failures:
                    session = self._find_session(session)
                if session is not None:
                    progress(session.position - sent)
                    sent = session.position
                    self._send(blob, session, read, count)
                    return False
            except TransferError as error:
                if session is not None and session.position > before:
                    failures = 0
                failures += 1
                if isinstance(error, RegistryError) and error.status in (404, 416) and failures < 2:
                    session = None  # the session is over: from the beginning
                elif not error.temporary or failures >= self.client.patience.rounds:
                    raise self._explain(f"push {blob.digest} to {self.name}", error) from error
                if self.client.stop.wait(self.client.patience.choose_pause(failures, error.after)):
                    raise Stopped from None

    def _begin(self, blob: Descriptor, mount: Sequence[str]) -> _Session | None:
        """A session; ``None`` if the blob was mounted."""
        path = self._source.locate("blobs", "uploads") + "/"
        for repository in mount:
            scope = make_scope(repository, "pull")
            query = f"{path}?mount={blob.digest}&from={repository}"
            try:
                with self._ask("POST", query, scopes=(scope,), accept=(201, 202)) as response:
                    if response.status_code == 201:
                        return None
                    return self._read_session(response)
            except RegistryError as error:
                if error.temporary:
                    raise
        with self._ask("POST", path, accept=(202,), headers={"Content-Length": "0"}) as response:
            return self._read_session(response)

    def _read_session(self, response: requests.Response, position: int = 0) -> _Session:
        location = response.headers.get("Location")
        if not location:
            raise RegistryError("the registry does not say where the upload goes on")
        minimum = response.headers.get("OCI-Chunk-Min-Length", "")
        return _Session(urljoin(response.url, location), position, int(minimum[:12]) if minimum.isdecimal() else 0)

    def _find_session(self, session: _Session) -> _Session | None:
        """The same session as the registry has it; ``None`` if it has it no more."""
        with self._ask("GET", session.location, accept=(204, 200, 404)) as response:
            if response.status_code == 404:
                return None
            location = response.headers.get("Location")
            end = read_range_end(response.headers.get("Range", ""))
            where = urljoin(response.url, location) if location else session.location
            return _Session(where, end, session.minimum)

    def _send(self, blob: Descriptor, session: _Session, read: Read, progress: Progress) -> None:
        """All that is missing, and the end of the session."""
        chunk = max(self.chunk or MAX_CHUNK, session.minimum)
        if session.position > blob.size:
            raise RegistryError("the registry has more of it than there is", status=416)
        if session.position == 0 and blob.size <= min(AT_ONCE, chunk):
            self._finish(blob, session, partial(_Piece, read, 0, blob.size, progress))
            return
        while session.position < blob.size:
            size = min(chunk, blob.size - session.position)
            begin = session.position
            headers = {"Content-Type": BINARY}
            if begin or size < blob.size:
                headers["Content-Range"] = f"{begin}-{begin + size - 1}"
            body = partial(_Piece, read, begin, size, progress)
            with self._ask("PATCH", session.location, headers=headers, body=body) as response:
                end = read_range_end(response.headers.get("Range", "")) or begin + size
                following = self._read_session(response, end)
            if end != begin + size:
                session.location, session.position = following.location, end
                raise RegistryError(f"the registry took {end - begin} of {size} bytes", temporary=True)
            session.location, session.position = following.location, end
        self._finish(blob, session, None)

    def _finish(self, blob: Descriptor, session: _Session, body: Callable[[], _Piece] | None) -> None:
        mark = "&" if "?" in session.location else "?"
        url = f"{session.location}{mark}digest={blob.digest}"
        headers = {"Content-Type": BINARY} if body is not None else {"Content-Length": "0"}
        with self._ask("PUT", url, headers=headers, body=body, accept=(201, 204)) as response:
            said = response.headers.get("Docker-Content-Digest")
            if said and said.startswith(blob.digest.partition(":")[0]) and said != blob.digest:
                raise RegistryError(f"the registry has it as {said[:80]}")

    # Manifests

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        """Bring a manifest or index into the repository, under a tag or by its digest alone.

        What it refers to must be there. A registry without the referrers API is told of its subject by a tag.

        Raises:
            SourceError: the registry does not take it.
        """
        what = f"push {self.name}{f':{tag}' if tag else f'@{manifest.digest}'}"

        def attempt() -> bool:
            path = self._source.locate("manifests", tag or manifest.digest)
            headers = {"Content-Type": manifest.descriptor.media_type}
            with self._ask("PUT", path, headers=headers, body=manifest.data, accept=(201, 200)) as response:
                said = response.headers.get("Docker-Content-Digest")
                if said and said.startswith("sha256:") and said != manifest.digest:
                    raise RegistryError(f"the registry has it as {said[:80]}, not {manifest.digest}")
                return "OCI-Subject" in response.headers

        known = self._try(what, attempt)
        if not known and isinstance(manifest.document.get("subject"), dict):
            self._add_referrer(manifest)

    def _add_referrer(self, manifest: Manifest) -> None:
        """List a manifest under the tag of its subject ("Referrers Tag Schema")."""
        try:
            subject = parse_descriptor(manifest.document["subject"], "subject")
        except BadManifest as error:
            raise SourceError(f"{self.name}@{manifest.digest}: the manifest {error}") from None
        entries = [entry for entry in self._read_referrers(subject.digest) if entry.get("digest") != manifest.digest]
        kind = manifest.document.get("artifactType") or (manifest.document.get("config") or {}).get("mediaType", "")
        entry = {
            "mediaType": manifest.descriptor.media_type,
            "digest": manifest.digest,
            "size": manifest.descriptor.size,
            "artifactType": kind,
        }
        if isinstance(manifest.document.get("annotations"), dict):
            entry["annotations"] = manifest.document["annotations"]
        self._write_referrers(subject.digest, [*entries, entry])

    def _read_referrers(self, digest: str) -> list[dict[str, object]]:
        def attempt() -> list[dict[str, object]]:
            path = self._source.locate("manifests", make_referrers_tag(digest))
            with self._ask("GET", path, headers={"Accept": INDEX}, accept=(200, 404)) as response:
                if response.status_code == 404:
                    return []
                try:
                    entries = parse_document(self.client.read_body(response, MAX_MANIFEST)).get("manifests")
                except BadManifest as error:
                    raise TransferError(f"the list of referrers {error}") from None
                return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []

        return self._try(f"read the referrers of {self.name}@{digest}", attempt)

    def _write_referrers(self, digest: str, entries: Iterable[dict[str, object]]) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}
        data = json.dumps(index, sort_keys=True).encode()

        def attempt() -> None:
            path = self._source.locate("manifests", make_referrers_tag(digest))
            with self._ask("PUT", path, headers={"Content-Type": INDEX}, body=data, accept=(201, 200)):
                pass

        self._try(f"write the referrers of {self.name}@{digest}", attempt)

    # Deletion

    def delete_manifest(self, digest: str) -> None:
        """Remove a manifest and every tag of it; of its subject's list of referrers, too, where a tag stands for it.

        Raises:
            MissingImageError: it is not there.
            SourceError: the registry does not allow that.
        """
        manifest = self.client.read_manifest(digest)
        self._delete("manifests", digest)
        subject = manifest.document.get("subject")
        if isinstance(subject, dict) and isinstance(subject.get("digest"), str):
            entries = self._read_referrers(subject["digest"])
            left = [entry for entry in entries if entry.get("digest") != digest]
            if len(left) != len(entries):
                self._write_referrers(subject["digest"], left)

    def delete_tag(self, tag: str) -> None:
        """Remove a tag and leave what it names; not every registry can.

        Raises:
            MissingImageError: it is not there.
            SourceError: the registry does not allow that.
        """
        try:
            self._delete("manifests", tag)
        except DeletionRefusedError as error:
            descriptor = self.client.find_descriptor(tag)
            if descriptor is not None:
                error.hint = f"by digest it may, with every tag of it: {self.name}@{descriptor.digest}"
            raise

    def delete_blob(self, digest: str) -> None:
        """Remove a blob from the repository.

        Raises:
            MissingImageError: it is not there.
            SourceError: the registry does not allow that.
        """
        self._delete("blobs", digest)

    def _delete(self, kind: str, target: str) -> None:
        what = f"delete {self.name}{'@' if ':' in target else ':'}{target}"
        scope = make_scope(self._source.reference.repository, "delete", "pull")

        def attempt() -> None:
            with self._source.connection.ask(
                "DELETE", self._source.locate(kind, target), scopes=(scope,), accept=(202, 200, 204)
            ):
                pass

        try:
            self._try(what, attempt)
        except SourceError as error:
            if isinstance(error.__cause__, RegistryError):
                if error.__cause__.missing:
                    raise MissingImageError(f"cannot {what}: it is not there", details=error.details) from None
                if error.__cause__.status in (400, 405):
                    message = f"cannot {what}: the registry does not allow that"
                    hint = "docker-registry has a setting for it: storage.delete.enabled"
                    raise DeletionRefusedError(message, details=error.details, hint=hint) from None
            raise

    # Asking

    def _ask(
        self,
        method: str,
        path: str,
        *,
        scopes: Sequence[str] = (),
        headers: dict[str, str] | None = None,
        body: Body = None,
        accept: Sequence[int] = (200, 202, 204),
    ) -> AbstractContextManager[requests.Response]:
        return self._source.connection.ask(
            method, path, scopes=(self._scope, *scopes), headers=headers, body=body, accept=accept
        )

    def _try(self, what: str, attempt: Callable[[], T]) -> T:
        """``attempt``, again if its failure looks temporary."""
        patience = self.client.patience
        for turn in range(1, patience.rounds + 1):
            try:
                return attempt()
            except TransferError as error:
                if not error.temporary or turn == patience.rounds:
                    raise self._explain(what, error) from error
                if self.client.stop.wait(patience.choose_pause(turn, error.after)):
                    raise Stopped from None
        raise AssertionError("unreachable: the last turn returns or raises")

    def _explain(self, what: str, error: TransferError) -> BuildError:
        registry = self.client.reference.registry
        return SourceError(f"cannot {what}", details=[f"{registry}: {error}"], hint=choose_hint(error, registry))


def read_range_end(header: str) -> int:
    """How many bytes a session has by its header ``Range: 0-END``; 0 if it says nothing, or ``0-0`` as for no byte."""
    match = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,18})", header.strip())
    return int(match[1]) + 1 if match and int(match[1]) else 0

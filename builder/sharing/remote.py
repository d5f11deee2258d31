"""A shared cache at a URL that fsspec knows: ``s3://``, ``gs://``, ``https://`` (to read), ``memory://``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from builder.core.errors import BuildError, CapabilityError, InputError, SourceError
from builder.core.urls import redact_url
from builder.sharing.archive import copy_stream
from builder.sharing.entry import MAX_ENVELOPE, NAME, TOO_LARGE, SharedEntry
from builder.sharing.places import ORPHANS_AFTER, check_name, locate_archive
from builder.signatures.verify_key import SignatureRefused

SECRET = re.compile(r"//[^/@\s]+@")  # user name and password of a URL, in a message


class RemotePlace:
    """As a directory has it, below a URL. An object appears when it is whole, which object stores promise."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra of the package
        except ImportError as error:
            raise CapabilityError(
                f"{redact_url(url)} is a place that fsspec knows, which is not installed here",
                hint="pip install 'build-os[scale]'",
            ) from error

        self._url = url
        try:
            self._files, root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise InputError(f"{redact_url(url)} is no place for a cache: {error}") from error
        self._root: str = root.rstrip("/")

    @property
    def url(self) -> str:
        """See :class:`builder.sharing.places.Place`."""
        return redact_url(self._url)

    def read_entry(self, name: str) -> bytes | None:
        """See :class:`builder.sharing.places.Place`."""
        try:
            with self._explain():
                data: bytes = self._files.cat_file(self._locate(name), start=0, end=MAX_ENVELOPE + 1)
        except FileNotFoundError:
            return None
        if len(data) > MAX_ENVELOPE:
            raise SignatureRefused(TOO_LARGE)
        return data

    def fetch(self, entry: SharedEntry, file: BinaryIO) -> None:
        """See :class:`builder.sharing.places.Place`."""
        where = f"{self._root}/{locate_archive(entry.sha256)}"
        with self._explain(), self._files.open(where, "rb") as archive:
            copy_stream(archive, file)

    def put(self, entry: SharedEntry, envelope: bytes, archive: Path) -> None:
        """See :class:`builder.sharing.places.Place`."""
        there = f"{self._root}/{locate_archive(entry.sha256)}"
        with self._explain():
            if not self._files.exists(there) or self._files.size(there) != entry.size:
                self._files.makedirs(there.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(archive), there)
            self._files.makedirs(f"{self._root}/entries", exist_ok=True)
            self._files.pipe_file(self._locate(entry.name), envelope)

    def list_names(self) -> Iterator[str]:
        """See :class:`builder.sharing.places.Place`."""
        try:
            with self._explain():
                paths = self._files.ls(f"{self._root}/entries", detail=False)
        except FileNotFoundError:
            return
        for path in sorted(paths):
            name = path.rpartition("/")[2].removesuffix(".json")
            if NAME.fullmatch(name):
                yield name

    def delete(self, name: str) -> None:
        """See :class:`builder.sharing.places.Place`."""
        with self._explain():
            self._files.rm_file(self._locate(name))

    def sweep(self, used: set[str]) -> int:
        """See :class:`builder.sharing.places.Place`."""
        count = 0
        with self._explain():
            for path, info in self._files.find(f"{self._root}/blobs", detail=True).items():
                if path.rpartition("/")[2] not in used and time.time() - _read_time(info) > ORPHANS_AFTER:
                    self._files.rm_file(path)
                    count += 1
        return count

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Have errors of libraries (aiohttp's, botocore's ...), which have no class in common, be one of ours.

        Raises:
            SourceError: instead of them.
        """
        try:
            yield
        except (OSError, BuildError, SignatureRefused):
            raise
        except Exception as error:
            text = SECRET.sub("//***@", str(error))
            raise SourceError(f"{self.url} cannot be used: {type(error).__name__}: {text}") from error

    def _locate(self, name: str) -> str:
        return f"{self._root}/entries/{check_name(name)}.json"


def _read_time(info: dict[str, Any]) -> float:
    """When an object was written, as its kind of store says it; the present if it does not."""
    for key in ("LastModified", "last_modified", "updated", "mtime", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return time.time()

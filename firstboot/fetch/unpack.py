"""What a resource holds: its bytes decompressed, counted and hashed on their way to a file."""

from __future__ import annotations

import zlib
from typing import IO, Protocol

from firstboot.config.digests import sha256, sha512
from firstboot.fetch.errors import FetchError

_HASHES = {"sha256": sha256, "sha512": sha512}


class Sink(Protocol):
    """Where a body goes. Every attempt begins with :meth:`restart`."""

    def restart(self) -> None:
        """Forget what was written."""

    def write(self, data: bytes) -> None:
        """Take some more.

        Raises:
            FetchError: it is too much.
        """


class Unpacker:
    """A sink that writes to a file, which it empties when an attempt starts over.

    Args:
        file: where to write; seekable.
        compression: ``gzip`` or nothing.
        limit: of bytes, before and after decompression.
        function: ``sha256`` or ``sha512`` to compute over what is written, or ``""``.
    """

    def __init__(self, file: IO[bytes], compression: str, limit: int, function: str) -> None:
        self._file = file
        self._is_gzip = compression == "gzip"
        self._limit = limit
        self._function = function
        self.restart()

    def restart(self) -> None:
        """Forget what was written."""
        self._file.seek(0)
        self._file.truncate()
        self._came = self._written = 0
        self._member: zlib._Decompress | None = None
        self._hash = _HASHES[self._function]() if self._function else None

    def write(self, data: bytes) -> None:
        """Take some more.

        Raises:
            FetchError: it is too much, or no gzip data.
        """
        self._came += len(data)
        if self._came > self._limit:
            raise FetchError(f"it is larger than {self._limit} bytes, which is the most that is read")
        if not self._is_gzip:
            self._put(data)
            return
        while data:
            if self._member is None:
                self._member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            try:
                # One byte more than allowed is enough to know: a bomb is never unpacked.
                self._put(self._member.decompress(data, self._limit - self._written + 1))
            except zlib.error:
                raise FetchError("it is not valid gzip data") from None
            if not self._member.eof:
                return
            data, self._member = self._member.unused_data, None  # members follow each other (RFC 1952)

    def _put(self, data: bytes) -> None:
        self._written += len(data)
        if self._written > self._limit:
            raise FetchError(f"decompressed it is larger than {self._limit} bytes, which is the most that is read")
        if self._hash is not None:
            self._hash.update(data)
        self._file.write(data)

    def finish(self) -> str:
        """The hash in hexadecimal digits.

        Raises:
            FetchError: the gzip data is cut short.
        """
        if self._is_gzip and (self._member is not None or not self._came):
            raise FetchError("the gzip data is cut short" if self._came else "it is not valid gzip data")
        self._file.flush()
        return "" if self._hash is None else self._hash.hexdigest()

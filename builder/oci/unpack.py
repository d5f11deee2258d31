"""A layer's blob unpacked: plain, gzip or zstd, to the bytes that its diff ID is of."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from builder.core.tools import Tools
from builder.core.zstd import decompress_zstd
from builder.oci.media import Compression
from builder.tree.node import Content
from builder.tree.pieces import read_pieces

CHUNK = 1 << 20
MAX_UNPACKED = 32 << 30  # bytes of one image
# What unpacks to more than this many times its size, and is large then, was made to fill a disk.
MAX_RATIO = 100
SMALL = 1 << 30


def compute_limit(size: int) -> int:
    """How many bytes blobs of this size together may unpack to."""
    return min(MAX_UNPACKED, max(SMALL, MAX_RATIO * size))


def unpack_blob(
    content: Content, compression: Compression, tools: Tools | None = None, *, limit: int | None = None
) -> Iterator[bytes]:
    """The tar in a layer's blob, in pieces.

    Args:
        tools: for zstd.
        limit: bytes; what is usual for the blob's size if it is not given.

    Raises:
        ValueError: it is damaged, or unpacks to more than ``limit``.
        CapabilityError: it is zstd, and there is no tools tree, or one that has no zstd.
        OSError: it cannot be read.
    """
    most = compute_limit(content.size) if limit is None else limit
    total = 0
    for piece in _decompress(read_pieces(content), compression, tools):
        total += len(piece)
        if total > most:
            times = total // max(1, content.size)
            raise ValueError(f"it unpacks to more than {most} bytes, over {times} times its size: a decompression bomb")
        yield piece


def _decompress(pieces: Iterator[bytes], compression: Compression, tools: Tools | None) -> Iterator[bytes]:
    if compression is Compression.GZIP:
        return decompress_gzip(pieces)
    if compression is Compression.ZSTD:
        if tools is None:
            raise ValueError("it is in zstd, and there is no tools tree to unpack it")
        return decompress_zstd(tools, pieces)
    return pieces


def decompress_gzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What gzip unpacks to; it may have several members (RFC 1952, section 2.2).

    Raises:
        ValueError: it is damaged or cut short.
    """
    source = iter(pieces)
    engine = zlib.decompressobj(31)
    data = b""
    try:
        while data := (data or next(source, b"")):
            if piece := engine.decompress(data, CHUNK):
                yield piece
            data = engine.unconsumed_tail
            if engine.eof:
                data = engine.unused_data or next(source, b"")
                if not data:
                    return
                engine = zlib.decompressobj(31)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    raise ValueError("it is cut short")

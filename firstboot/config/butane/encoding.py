"""How bytes become a ``source``, and whether they are compressed."""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from firstboot.config.lazy import import_lazily
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.urls import make_data_url

if TYPE_CHECKING:
    from urllib import parse
else:
    parse = import_lazily("urllib.parse")


class Encoded(NamedTuple):
    """A source and its compression; ``None`` leaves the user's own."""

    source: str
    compression: str | None


Encoder = Callable[[bytes, str | None], Encoded]


def encode_plainly(data: bytes, compression: str | None) -> Encoded:
    """For a machine that decodes it at once: as little work as possible both ways."""
    # Compression is always said: a parent's would otherwise survive merging and be applied to these bytes.
    return Encoded(make_data_url(data), None if compression else "")


def encode_compactly(data: bytes, compression: str | None) -> Encoded:
    """The shortest of what Butane tries: escaped, base64, and gzip unless the user has compressed it already."""
    best = min((f"data:,{parse.quote(data, safe='')}", make_data_url(data)), key=len)
    if compression:
        return Encoded(best, None)
    packed = make_data_url(_gzip(data))
    if len(packed) + len("gzip") < len(best):
        return Encoded(packed, "gzip")
    return Encoded(best, "")


def _gzip(data: bytes) -> bytes:
    """RFC 1952, without time or name, so that it is the same every time."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    trailer = binascii.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + body + trailer

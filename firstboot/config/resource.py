"""The bytes of a resource that is written in the config itself: decode, decompress, verify."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Literal

from firstboot.config.lazy import import_lazily
from firstboot.config.models import Resource
from firstboot.config.urls import BadUrl, decode_data_url

if TYPE_CHECKING:
    from firstboot.config import digests
else:
    digests = import_lazily("firstboot.config.digests")

MAX_BYTES = 512 << 20  # of one resource after decompression: a zip bomb must end somewhere


class BadResource(ValueError):
    """The bytes cannot be had or are not what was promised.

    Attributes:
        field: the setting to look at.
        hint: what to try.
    """

    def __init__(self, message: str, field: Literal["source", "compression", "hash"], hint: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.hint = hint


def is_inline(resource: Resource) -> bool:
    """Whether the resource needs no fetching."""
    return not resource.source or resource.source.startswith("data:")


def inline_bytes(resource: Resource, *, lower_case_hash: bool = False) -> bytes:
    """The bytes of an inline resource, decompressed and verified. No source is no bytes.

    Args:
        resource: one for which :func:`is_inline` is true.
        lower_case_hash: compare the hash as lower-case text, as Ignition does for configs; an upper-case hash
            never matches then.

    Raises:
        BadResource
    """
    assert is_inline(resource)
    try:
        data = decode_data_url(resource.source) if resource.source else b""
    except BadUrl as error:
        raise BadResource(str(error), "source") from None
    if resource.compression == "gzip":
        data = decompress_gzip(data)
    verify(data, resource.verification.hash, lower_case=lower_case_hash)
    return data


def decompress_gzip(data: bytes) -> bytes:
    """Decompress gzip data, which may have several members (RFC 1952).

    Raises:
        BadResource: not gzip, damaged, cut short, or over :data:`MAX_BYTES`.
    """
    out: list[bytes] = []
    size = 0
    while data:
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            part = member.decompress(data, MAX_BYTES - size + 1)
        except zlib.error:
            raise BadResource("this is not valid gzip data", "compression") from None
        size += len(part)
        if size > MAX_BYTES:
            raise BadResource(f"decompressed it is larger than {MAX_BYTES >> 20} MiB", "compression")
        if not member.eof:
            raise BadResource("the gzip data is cut short", "compression")
        out.append(part)
        data = member.unused_data
    if not out:
        raise BadResource("this is not valid gzip data", "compression")
    return b"".join(out)


def verify(data: bytes, expected: str | None, *, lower_case: bool = False) -> None:
    """Compare ``data`` with ``sha256-HEX`` or ``sha512-HEX``; ``None`` accepts anything.

    Raises:
        BadResource: it differs, or the digits are not hexadecimal.
    """
    if expected is None:
        return
    function, _, digest = expected.partition("-")
    make = {"sha256": digests.sha256, "sha512": digests.sha512}[function]
    actual = make(data).hexdigest()
    wanted = digest if lower_case else digest.lower()
    if actual != wanted:
        raise BadResource(f"the contents have the hash {function}-{actual}, which is not the one given", "hash")

"""Encodings in which platforms hand over a config."""

from __future__ import annotations

import base64
import binascii
import zlib

from firstboot.config.text import MAX_BYTES
from firstboot.platforms import ConfigUnavailable, Fetched


def decode_base64(fetched: Fetched) -> Fetched:
    """A config that was given as base64.

    Raises:
        ConfigUnavailable: it is none.
    """
    try:
        return Fetched(fetched.name, base64.b64decode(b"".join(fetched.data.split()), validate=True))
    except binascii.Error:
        raise ConfigUnavailable(f"{fetched.name} is not base64", "this platform wants the config encoded") from None


def decompress_gzip(fetched: Fetched) -> Fetched:
    """A config that was given compressed.

    Raises:
        ConfigUnavailable: it is not gzip data, or too large.
    """
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        data = unzip.decompress(fetched.data, MAX_BYTES + 1)
    except zlib.error:
        raise ConfigUnavailable(f"{fetched.name} is not valid gzip data") from None
    if len(data) > MAX_BYTES:
        raise ConfigUnavailable(f"{fetched.name} is larger than {MAX_BYTES} bytes when decompressed")
    if not unzip.eof:
        raise ConfigUnavailable(f"the gzip data of {fetched.name} is cut short")
    return Fetched(fetched.name, data)

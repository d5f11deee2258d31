"""The bytes of a config's resources, wherever they are: in the config itself, or fetched into a file beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from firstboot.config.models import Resource
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.resource import inline_bytes, is_inline

_CHUNK_BYTES = 1 << 20


class Stored(NamedTuple):
    """Bytes in a file that is not part of the machine."""

    path: Path
    size: int


Contents = bytes | Stored
Fetched = Mapping[Resource, Contents]
"""What was fetched of everything a config names by a URL."""


def get_contents(resource: Resource, fetched: Fetched) -> Contents:
    """The contents of a resource, decompressed and verified. No source is no bytes.

    Raises:
        BadResource: it is written in the config, wrongly.
    """
    return inline_bytes(resource) if is_inline(resource) else fetched[resource]


def measure_size(contents: Contents) -> int:
    """How many bytes."""
    return len(contents) if isinstance(contents, bytes) else contents.size


def read_pieces(*contents: Contents) -> Iterator[bytes]:
    """The bytes, one after the other, never much of a file at once.

    Raises:
        OSError
    """
    for content in contents:
        if isinstance(content, bytes):
            yield content
            continue
        with content.path.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                yield piece

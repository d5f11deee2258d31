"""Content read in pieces: a layer of gigabytes is never in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.tree.node import Content, Inline

CHUNK = 1 << 20


def read_pieces(content: Content) -> Iterator[bytes]:
    """The bytes, at most 1 MiB at a time.

    Raises:
        OSError: the file is gone or cut short.
    """
    if isinstance(content, Inline):
        yield content.data
        return
    left = content.size
    with Path(content.path).open("rb") as file:
        file.seek(content.offset)
        while left:
            piece = file.read(min(left, CHUNK))
            if not piece:
                raise OSError(f"{content.path} is shorter than its index says")
            left -= len(piece)
            yield piece

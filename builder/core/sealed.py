"""Files of the store that say what they are and carry their own hash, so that damage is found when they are read.

The first line is ``build-os KIND VERSION SHA256``, the hash being of all that follows it. A file that was cut short,
changed, replaced by a link or written by another version of build-os is not one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from builder.core.files import CHUNK, replacing

MAX_HEAD = 200


def head_of(kind: str, sha256: str) -> bytes:
    """The first line of such a file; ``kind`` is two words, as ``tree 1``."""
    return f"build-os {kind} {sha256}\n".encode()


def write_sealed(path: Path, kind: str, *pieces: bytes) -> None:
    """Replace ``path``; its content begins at ``len(head_of(kind, ...))``, where the first piece does.

    Raises:
        OSError: the directory cannot be written, the disk is full.
    """
    with replacing(path) as file:
        file.write(head_of(kind, _sha256(pieces)))
        for piece in pieces:
            file.write(piece)


def read_sealed(path: Path, kind: str) -> bytes | None:
    """The content, or ``None`` if there is no such file, of this kind and whole."""
    try:
        with _open(path) as file:
            head, _, body = file.read().partition(b"\n")
    except OSError:
        return None
    return body if head + b"\n" == head_of(kind, _sha256([body])) else None


def is_sealed(path: Path, kind: str) -> bool:
    """Whether :func:`read_sealed` would return something; reads the file in pieces."""
    digest = hashlib.sha256()
    try:
        with _open(path) as file:
            head = file.readline(MAX_HEAD)
            while piece := file.read(CHUNK):
                digest.update(piece)
    except OSError:
        return False
    return head == head_of(kind, digest.hexdigest())


def _open(path: Path) -> BinaryIO:
    """Open a regular file.

    Raises:
        OSError: it is none, or cannot be read.
    """
    # Not blocking: a pipe in its place must not be waited for.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is no regular file")
    return file


def _sha256(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()

"""``/etc/ld.so.cache``: by which path the dynamic loader finds a library's name. The same bytes as ldconfig's.

Format: glibc, ``sysdeps/generic/dl-cache.h`` (``glibc-ld.so.cache1.1``), little-endian. Written here because ldconfig
knows only the libraries of the architecture it runs on.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence

from builder.tree.shared_objects import Library

_MAGIC = b"glibc-ld.so.cache1.1"
_LITTLE_ENDIAN = 2
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_EXTENSIONS = 0xEAA42174
_GENERATOR = 0  # the tag of the extension that says what wrote the file


def make_cache(libraries: Sequence[Library], flags: int, generator: bytes) -> bytes:
    """The file's content.

    Args:
        libraries: in the order of their directories.
        flags: the architecture's and the C library's, for each of them.
        generator: what ldconfig says of itself; empty leaves it out.
    """
    # Python's sort keeps the order of equals, as ldconfig's insertion does.
    entries = sorted(libraries, key=lambda library: _Descending(library.soname))
    start = _HEADER.size + _ENTRY.size * len(entries)
    strings, offsets = _string_table({text for entry in entries for text in (entry.soname, entry.path)})
    extension = -(-(start + len(strings)) // 4) * 4
    table = b"".join(
        _ENTRY.pack(flags, start + offsets[entry.soname], start + offsets[entry.path], 0, 0) for entry in entries
    )
    header = _HEADER.pack(_MAGIC, len(entries), len(strings), _LITTLE_ENDIAN, extension if generator else 0)
    if not generator:
        return header + table + strings
    where = struct.pack("<IIIIII", _EXTENSIONS, 1, _GENERATOR, 0, extension + 24, len(generator))
    return (header + table + strings).ljust(extension, b"\0") + where + generator


def find_generator(ldconfig: bytes) -> bytes:
    """What this ldconfig writes of itself into caches, or nothing if it does not."""
    match = re.search(rb"\0(ldconfig \([^\0]*\) \w+ release version [0-9.]+)\0", ldconfig)
    return match.group(1) if match else b""


class _Descending:
    """ldconfig's order: from the highest name down, numbers by value (``_dl_cache_libcmp``)."""

    def __init__(self, name: str) -> None:
        # A number comes after every other character, and the end before all.
        self._key = [(2, int(part)) if part.isdigit() else (1, ord(part)) for part in re.findall(r"[0-9]+|.", name)]

    def __lt__(self, other: _Descending) -> bool:
        return self._key > other._key


def _string_table(texts: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    """Each text once, and as the end of another one where it can be (``elf/stringtable.c``)."""
    data = bytearray()
    offsets: dict[str, int] = {}
    last = ""
    for text in sorted(texts, key=lambda text: text[::-1], reverse=True):
        if last.endswith(text) and last:
            offsets[text] = offsets[last] + len(last.encode()) - len(text.encode())
        else:
            offsets[text] = len(data)
            data += text.encode() + b"\0"
        last = text
    return bytes(data), offsets

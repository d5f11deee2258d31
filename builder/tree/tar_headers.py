"""The headers of tar archives, read from untrusted bytes: of packages and of layers of containers.

Not :mod:`tarfile`: its safety filters were bypassed more than once, it accepts much that neither may contain, and it is
several times slower. What a package or a layer may say is decided by who reads it.

Source: tar(5) of libarchive (ustar, GNU and pax headers); POSIX.1-2017 pax, "pax Header Block".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.tree.node import Kind

BLOCK = 512
MAX_EXTENSION = 1 << 20  # bytes of a long name or of a pax header
MAX_ID = 2**32 - 2  # (uid_t)-1 means "no change" to chown(2)
HARD_LINK, PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK, GNU_SPARSE = b"1", b"x", b"g", b"L", b"K", b"S"
KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_RECORD = re.compile(rb"([0-9]{1,8}) ([^=\0]+)=")
_NUMBER = re.compile(rb"[0-9]{1,18}")
_TIME = re.compile(rb"(-?[0-9]{1,18})(?:\.[0-9]*)?")


class TarError(Exception):
    """The archive is damaged, or contains what an archive must not contain."""


def check_sum(header: bytes) -> None:
    """Compare a header with its checksum: the sum of all bytes, with its own field counted as spaces.

    Raises:
        TarError: it is another.
    """
    if read_number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
        raise TarError("a header's checksum is wrong")


def read_number(field: bytes, *, signed: bool = False) -> int:
    """A number of a header: octal digits, or GNU's base 256 for what does not fit into them.

    Raises:
        TarError: it is none, or below zero although it is not ``signed``.
    """
    if field[0] & 0x80:  # big endian two's complement without the first bit
        value = int.from_bytes(field, "big") - (1 << (8 * len(field) - 1))
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        if not -(1 << 62) < value < 1 << 62 or (value < 0 and not signed):
            raise TarError("a header has a negative or impossible number")
        return value
    digits = field.strip(b" \0")
    if digits.strip(b"01234567") and not (signed and re.fullmatch(rb"-[0-7]+", digits)):
        raise TarError(f"a header has {field!r} where a number belongs")
    return int(digits or b"0", 8)


def read_name(header: bytes) -> bytes:
    """The name in a header, with its prefix."""
    name = header[:100].partition(b"\0")[0]
    # Only POSIX has a prefix; GNU (magic "ustar  ") keeps times there.
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def read_link(header: bytes) -> bytes:
    """What a link in a header leads to."""
    return header[157:257].partition(b"\0")[0]


def read_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of a pax header's records, ``LENGTH KEY=VALUE NEWLINE``.

    Raises:
        TarError: it is damaged.
    """
    while data:
        match = _RECORD.match(data)
        length = int(match[1]) if match else 0
        if match is None or not match.end() < length <= len(data) or data[length - 1 : length] != b"\n":
            raise TarError("a pax header is damaged")
        yield match[2], data[match.end() : length - 1]
        data = data[length:]


def read_decimal(key: str, value: bytes, *, is_time: bool = False) -> int:
    """A number of a pax record; of a time the whole seconds.

    Raises:
        TarError: it is none.
    """
    match = (_TIME if is_time else _NUMBER).fullmatch(value)
    if match is None:
        raise TarError(f"pax header {key} is {value[:40].decode(errors='replace')!r}")
    return int(match[1] if is_time else match[0])

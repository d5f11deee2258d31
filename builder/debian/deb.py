"""A ``.deb`` read from front to back: an ``ar`` archive of a version, control files and data.

Everything in it is untrusted, even though its hash was signed: what it claims is bounded, what it contains
is checked.

Source: deb(5), ar(5).
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from builder.core.errors import CapabilityError, SourceError
from builder.debian.control import parse_stanza
from builder.debian.tarmembers import read_members
from builder.tree.node import Kind

CHUNK = 1 << 18
MAX_CONTROL = 64 << 20
# A hostile deb claims what it likes; these bound what it can cost. Debian's largest unpacks to 6 GiB.
MAX_DATA = 16 << 30
SLACK = 64 << 20
TIMES_CLAIMED = 4
TIMES_COMPRESSED = 8
XZ_MEMORY = 256 << 20
Write = Callable[[bytes], object]


class DebError(SourceError):
    """A deb that is not one, or contains what a deb must not contain."""


@dataclass(frozen=True)
class Contents:
    """What a deb holds beside its files: control fields, control files, its data's unpacked size and hash."""

    control: Mapping[str, str]
    files: Mapping[str, bytes]
    tar_size: int
    tar_sha256: str


class Source:
    """A deb's bytes from front to back, counted and hashed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes.

        Raises:
            DebError: there are fewer.
        """
        data = self._file.read(count)
        self._hash.update(data)
        if len(data) != count:
            raise DebError("it ends too early")
        return data

    def read_pieces(self, count: int) -> Iterator[bytes]:
        """``count`` bytes in pieces."""
        while count:
            piece = self.read(min(count, CHUNK))
            count -= len(piece)
            yield piece

    def read_rest(self) -> str:
        """Read on to the end; the SHA-256 of the whole."""
        while piece := self._file.read(CHUNK):
            self._hash.update(piece)
        return self._hash.hexdigest()


def read_deb(source: Source, out: BinaryIO) -> Contents:
    """Read a deb; the unpacked ``data.tar`` is written to ``out``. What follows it is not read.

    Raises:
        SourceError: it is malformed or hostile (:class:`DebError`, :class:`ControlError`).
        TarError: its control archive is.
        CapabilityError: it is compressed in a way that this Python cannot read.
        OSError: ``out`` cannot be written.
    """
    fields, files = read_control(source)
    name, size = _next(source)
    if name != "data.tar" and not name.startswith("data.tar."):
        raise DebError("it has no data archive where one belongs")
    digest = hashlib.sha256()

    def write(piece: bytes) -> None:
        digest.update(piece)
        out.write(piece)

    total = _copy(source, name, size, _limit(fields, size), write)
    return Contents(fields, files, total, digest.hexdigest())


def read_control(source: Source) -> tuple[Mapping[str, str], Mapping[str, bytes]]:
    """The fields of a deb's control file, and its other control files; its data is not read.

    Raises:
        SourceError, TarError, CapabilityError: see :func:`read_deb`.
    """
    if source.read(8) != b"!<arch>\n":
        raise DebError("it is no deb")
    name, size = _ar_header(source)
    if name != "debian-binary" or size > 100 or not source.read(size + size % 2).startswith(b"2."):
        raise DebError("it is no deb of format 2")
    name, size = _next(source)
    if name != "control.tar" and not name.startswith("control.tar."):
        raise DebError("it has no control archive where one belongs")
    control_tar = bytearray()
    _copy(source, name, size, MAX_CONTROL, control_tar.extend)
    if size % 2:
        source.read(1)
    fields, files = _control(bytes(control_tar))
    return fields, files


def _limit(fields: Mapping[str, str], compressed: int) -> int:
    """How many bytes the data may unpack to."""
    claimed = fields.get("Installed-Size", "")
    kibibytes = int(claimed) if claimed.isascii() and claimed.isdecimal() and len(claimed) < 12 else 0
    return min(max(SLACK + TIMES_CLAIMED * 1024 * kibibytes, TIMES_COMPRESSED * compressed), MAX_DATA)


def _ar_header(source: Source) -> tuple[str, int]:
    header = source.read(60)
    name = header[:16].rstrip(b" ").removesuffix(b"/").decode("latin-1")
    digits = header[48:58].strip()
    if header[58:] != b"`\n" or not digits.isdigit():
        raise DebError("the header of an archive member is damaged")
    return name, int(digits)


def _next(source: Source) -> tuple[str, int]:
    """The next member; those whose name starts with an underscore are for others (deb(5))."""
    while True:
        name, size = _ar_header(source)
        if not name.startswith("_"):
            return name, size
        for _ in source.read_pieces(size + size % 2):
            pass


class _Decoder(Protocol):
    """What lzma, bz2 and :class:`_Gzip` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the manners of lzma's."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _zstandard() -> _Decoder:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # noqa: PLC0415 - Python 3.14 has it
    except ImportError as error:
        raise CapabilityError(
            "a package is compressed with zstd, which this Python cannot read",
            hint="use Python 3.14 or later; Debian's own packages are compressed with xz",
        ) from error
    decoder: _Decoder = zstd.ZstdDecompressor()
    return decoder


_DECODERS: Mapping[str, Callable[[], _Decoder]] = {
    "xz": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=XZ_MEMORY),
    "gz": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "zst": _zstandard,
}


def _copy(source: Source, name: str, size: int, limit: int, write: Write) -> int:
    """Decompress an ar member of ``size`` bytes into ``write``; returns how much came out.

    Raises:
        DebError: it is broken, or more than ``limit`` bytes come out.
    """
    ending = name.partition(".tar")[2].removeprefix(".")
    total = 0
    if not ending:
        for piece in source.read_pieces(size):
            total = _emit(piece, name, total, limit, write)
        return total
    if ending not in _DECODERS:
        raise DebError(f"{name} is compressed in an unknown way")
    decoder = _DECODERS[ending]()
    for piece in source.read_pieces(size):
        if decoder.eof:
            raise DebError(f"{name} has something after its end")
        data = _decompress(decoder, piece, name)
        total = _emit(data, name, total, limit, write)
        # Output of exactly the asked size may have more behind it, without any input.
        while len(data) == CHUNK and not decoder.eof:
            data = _decompress(decoder, b"", name)
            total = _emit(data, name, total, limit, write)
    if not decoder.eof or decoder.unused_data:
        raise DebError(f"{name} is cut short or has something after its end")
    return total


def _decompress(decoder: _Decoder, piece: bytes, name: str) -> bytes:
    try:
        return decoder.decompress(piece, CHUNK)
    except (lzma.LZMAError, zlib.error, OSError, EOFError, ValueError) as error:
        raise DebError(f"{name} cannot be decompressed: {error}") from error


def _emit(data: bytes, name: str, total: int, limit: int, write: Write) -> int:
    if total + len(data) > limit:
        raise DebError(f"{name} unpacks to more than {limit} bytes, far more than its package claims")
    write(data)
    return total + len(data)


def _control(tar: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """The fields of the control file, and the other control files."""
    files: dict[str, bytes] = {}
    for member in read_members(tar):
        if member.kind is Kind.DIRECTORY and member.path == "/":
            continue
        name = member.path.removeprefix("/")
        if member.kind is not Kind.FILE or "/" in name:
            raise DebError(f"its control archive has {member.path!r}, which is no plain file")
        files[name] = tar[member.offset : member.offset + member.size]
    control = files.pop("control", None)
    if control is None:
        raise DebError("it has no control file")
    return parse_stanza(control.decode(errors="surrogateescape")), files

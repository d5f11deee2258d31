"""A kernel command-line addon (UAPI.5, systemd-stub(7)): systemd's own empty EFI program with one section more.

PE/COFF as in Microsoft's "PE Format"; only what is needed to append a section to a file that we know.
"""

from __future__ import annotations

import struct

SECTION = b".cmdline"
_PE_OFFSET_AT = 0x3C
_SECTION_HEADER = struct.Struct("<8sIIIIIIHHI")
_INITIALISED_READABLE = 0x40000040  # IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ

_MAX_ALIGNMENT = 1 << 16  # the format's for what is in the file
_MAX_ADDRESS = 1 << 30


class NoAddon(Exception):
    """It is no file of this kind, or has no room for another section."""


class _Image:
    """The headers of a PE file."""

    def __init__(self, data: bytes) -> None:
        try:
            (pe,) = struct.unpack_from("<I", data, _PE_OFFSET_AT)
            if data[:2] != b"MZ" or data[pe : pe + 4] != b"PE\0\0":
                raise NoAddon("this is no EFI program")
            self.count_at = pe + 6
            (self.count,) = struct.unpack_from("<H", data, self.count_at)
            (size_of_optional,) = struct.unpack_from("<H", data, pe + 20)
            optional = pe + 24
            self.sections_at = optional + size_of_optional
            self.size_of_image_at = optional + 56
            self.align, self.file_align = struct.unpack_from("<II", data, optional + 32)
            (self.size_of_headers,) = struct.unpack_from("<I", data, optional + 60)
            self.sections = [
                _SECTION_HEADER.unpack_from(data, self.sections_at + index * _SECTION_HEADER.size)
                for index in range(self.count)
            ]
        except struct.error:
            raise NoAddon("the EFI program is cut short") from None
        ends = [start + size for _, size, start, *_ in self.sections]
        if (
            not all(_is_alignment(alignment) for alignment in (self.align, self.file_align))
            or max(ends, default=0) > _MAX_ADDRESS
        ):
            raise NoAddon("the EFI program says impossible things about itself")


def make_addon(stub: bytes, command_line: str) -> bytes:
    """The stub with a section ``.cmdline``.

    Args:
        stub: ``addonx64.efi.stub`` or its like.
        command_line: what is appended to the kernel's; ASCII.

    Raises:
        NoAddon: the stub is none.
    """
    image = _Image(stub)
    header_at = image.sections_at + image.count * _SECTION_HEADER.size
    if header_at + _SECTION_HEADER.size > image.size_of_headers or not image.sections:
        raise NoAddon("the EFI program has no room for another section")
    text = command_line.encode("ascii")
    address = max(_up(start + size, image.align) for _, size, start, *_ in image.sections)
    offset = _up(len(stub), image.file_align)
    raw_size = _up(len(text), image.file_align)
    result = bytearray(stub.ljust(offset, b"\0") + text.ljust(raw_size, b"\0"))
    header = (SECTION, len(text), address, raw_size, offset, 0, 0, 0, 0, _INITIALISED_READABLE)
    _SECTION_HEADER.pack_into(result, header_at, *header)
    struct.pack_into("<H", result, image.count_at, image.count + 1)
    struct.pack_into("<I", result, image.size_of_image_at, _up(address + len(text), image.align))
    return bytes(result)


def read_addon(data: bytes) -> str:
    """The command line of an addon.

    Raises:
        NoAddon: it is none.
    """
    for name, size, _, raw_size, offset, *_ in _Image(data).sections:
        if name == SECTION:
            return data[offset : offset + min(size, raw_size)].rstrip(b"\0").decode("ascii", "replace")
    raise NoAddon("the EFI program has no command line")


def _is_alignment(value: int) -> bool:
    return 0 < value <= _MAX_ALIGNMENT and value & (value - 1) == 0


def _up(value: int, to: int) -> int:
    return -(-value // to) * to

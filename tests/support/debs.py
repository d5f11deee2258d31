"""Tar, ar and deb files made by hand, so that they can be wrong in every way."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from collections.abc import Callable
from dataclasses import dataclass

from builder.debian.lock import LockedPackage


def tar_header(
    name: bytes | str,
    *,
    kind: bytes = b"0",
    size: int = 0,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 0,
    link: bytes | str = b"",
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    fields: dict[int, bytes] | None = None,
) -> bytes:
    """512 bytes with a good checksum; ``fields`` overwrites bytes at an offset before that is made."""
    name, link = _bytes(name), _bytes(link)
    header = bytearray(512)

    def put(offset: int, data: bytes) -> None:
        header[offset : offset + len(data)] = data

    put(0, name[:100])
    put(100, b"%07o\0" % mode)
    put(108, _octal(uid, 8))
    put(116, _octal(gid, 8))
    put(124, _octal(size, 12))
    put(136, _octal(mtime, 12))
    put(156, kind)
    put(157, link[:100])
    put(257, magic)
    put(329, _octal(device[0], 8))
    put(337, _octal(device[1], 8))
    put(345, prefix)
    for offset, data in (fields or {}).items():
        put(offset, data)
    put(148, b" " * 8)
    put(148, b"%06o\0 " % sum(header))
    return bytes(header)


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _octal(value: int, width: int) -> bytes:
    digits = b"%0*o\0" % (width - 1, value)
    if len(digits) <= width:
        return digits
    return (value | 1 << (8 * width - 1)).to_bytes(width, "big")  # GNU's base 256


def tar_entry(name: bytes | str, data: bytes | str = b"", **header: object) -> bytes:
    """A header and its content."""
    data = _bytes(data)
    header.setdefault("size", len(data))
    return tar_header(name, **header) + data + bytes(-len(data) % 512)  # type: ignore[arg-type]


def tar_directory(name: str, mode: int = 0o755, **header: object) -> bytes:
    return tar_entry(name, kind=b"5", mode=mode, **header)


def tar_link(name: str, target: str, **header: object) -> bytes:
    return tar_entry(name, kind=b"2", link=target, mode=0o777, **header)


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + bytes(1024)


def ar(*members: tuple[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in members:
        parts.append(b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode(), 0, 0, 0, b"100644", len(data)))
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "xz": lambda data: lzma.compress(data, preset=0),
    "gz": lambda data: gzip.compress(data, mtime=0),
    "": lambda data: data,
}


@dataclass(frozen=True)
class Deb:
    """A deb's bytes and the fields of its control file."""

    data: bytes
    fields: dict[str, str]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def path(self) -> str:
        return f"pool/main/{self.fields['Package']}_{self.fields['Version']}_{self.fields['Architecture']}.deb"

    @property
    def locked(self) -> LockedPackage:
        name, version = self.fields["Package"], self.fields["Version"]
        arch = self.fields["Architecture"]
        return LockedPackage(name, version, arch, self.sha256, len(self.data), self.path, f"{name} {version}", "trixie")

    @property
    def stanza(self) -> dict[str, str]:
        size = str(len(self.data))
        return {**self.fields, "Filename": self.path, "Size": size, "SHA256": self.sha256}


def make_deb(
    name: str = "hello",
    version: str = "1.0-1",
    *,
    arch: str = "all",
    files: tuple[bytes, ...] | bytes = (),
    compression: str = "xz",
    control_files: dict[str, bytes] | None = None,
    members: Callable[[bytes, bytes], list[tuple[str, bytes]]] | None = None,
    **fields: str,
) -> Deb:
    """A deb of these tar entries (or this whole tar); ``members`` arranges the ar members otherwise."""
    stanza = {"Package": name, "Version": version, "Architecture": arch, "Installed-Size": "10"}
    stanza |= {key.replace("_", "-"): value for key, value in fields.items()}
    text = "".join(f"{key}: {value}\n" for key, value in stanza.items()).encode()
    extra = [tar_entry(f"./{key}", value) for key, value in (control_files or {}).items()]
    pack = COMPRESSIONS[compression]
    control = pack(tar(tar_directory("./"), tar_entry("./control", text), *extra))
    data = pack(files if isinstance(files, bytes) else tar(tar_directory("./"), *files))
    dot = f".{compression}" if compression else ""
    parts = [("debian-binary", b"2.0\n"), (f"control.tar{dot}", control), (f"data.tar{dot}", data)]
    return Deb(ar(*(members(control, data) if members else parts)), stanza)


def stanza_text(fields: dict[str, str]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"

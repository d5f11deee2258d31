"""The list of all packages of a suite, in a form that can be looked things up in without reading it.

A Packages file is 56 MB of text for 68,000 packages. It is read once; what is kept in the store is a sorted
file of one line per package with the fields that matter, and of one line per virtual package. It is mapped
and searched by bisection, so a lookup takes microseconds and loading takes nothing.
"""

from __future__ import annotations

import hashlib
import lzma
import mmap
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from builder.core.errors import SourceError
from builder.core.files import open_replacement
from builder.debian.control import ControlError, is_package_name, parse_relations
from builder.debian.lock import LockedPackage, is_path
from builder.debian.version import is_version

FORMAT = b"build-os package index 1"
MAX_UNPACKED = 1 << 30


class IndexProblem(SourceError):
    """A Packages file that is not what it should be."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package as its index describes it. Relations are kept as text (:func:`parse_relations` reads them).

    Attributes:
        size: of the deb in bytes.
        installed_size: in KiB, as the maintainer declared it.
        source: ``NAME VERSION`` of the source package.
        suite, component: where it was found.
    """

    name: str
    version: str
    architecture: str
    multi_arch: str
    pre_depends: str
    depends: str
    recommends: str
    provides: str
    conflicts: str
    breaks: str
    replaces: str
    essential: bool
    priority: str
    section: str
    installed_size: int
    size: int
    sha256: str
    path: str
    source: str
    description: str
    suite: str = ""
    component: str = "main"


_COLUMNS = tuple(f.name for f in fields(Package) if f.name not in ("suite", "component"))
_FIELDS = {
    "name": "Package", "version": "Version", "architecture": "Architecture", "multi_arch": "Multi-Arch",
    "pre_depends": "Pre-Depends", "depends": "Depends", "recommends": "Recommends", "provides": "Provides",
    "conflicts": "Conflicts", "breaks": "Breaks", "replaces": "Replaces", "essential": "Essential",
    "priority": "Priority", "section": "Section", "installed_size": "Installed-Size", "size": "Size",
    "sha256": "SHA256", "path": "Filename", "source": "Source", "description": "Description",
}  # fmt: skip
_WANTED = re.compile(
    rb"^(" + b"|".join(name.encode() for name in _FIELDS.values()) + rb"):[ \t]*(.*(?:\n[ \t].*)*)",
    re.MULTILINE,
)
_SHA256 = re.compile(rb"[0-9a-f]{64}")
_NUMBER = re.compile(rb"[0-9]{1,12}")
_ARCHITECTURE = re.compile(rb"[a-z0-9][a-z0-9-]{0,40}")
_SOURCE = re.compile(r"(\S+)(?:\s+\((\S+)\))?")


def unpack_index(data: bytes, name: str, limit: int) -> bytes:
    """Decompress an index by its name's ending (``.xz``, ``.gz`` or none); never more than ``limit`` bytes.

    Raises:
        IndexProblem: larger than promised, or broken.
    """
    try:
        if name.endswith(".xz"):
            xz = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=256 << 20)
            text, complete = xz.decompress(data, limit + 1), xz.eof
        elif name.endswith(".gz"):
            gz = zlib.decompressobj(wbits=31)
            text, complete = gz.decompress(data, limit + 1), gz.eof
        else:
            text, complete = data, True
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise IndexProblem(f"{name} is broken: {error}") from error
    if len(text) > limit or not complete:
        raise IndexProblem(f"{name} does not unpack to the {limit} bytes that its Release file promises")
    return text


def write_index(text: bytes, target: Path) -> None:
    """Turn a Packages file into the searchable form.

    Raises:
        IndexProblem: it is malformed.
        OSError: the target cannot be written.
    """
    rows: list[bytes] = []
    virtual: dict[bytes, set[bytes]] = {}
    rows.extend(_row(stanza, virtual) for stanza in _stanzas(text))
    rows.extend(b"V:%s\t%s" % (name, b" ".join(sorted(virtual[name]))) for name in virtual)
    rows.sort()
    body = b"\n".join([*rows, b""])
    with open_replacement(target) as file:
        file.write(_head(body))
        file.write(body)


def _stanzas(text: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = text.find(b"\n\n", start)
        end = len(text) if end < 0 else end
        stanza = text[start:end].strip(b"\n")
        if stanza:
            yield stanza
        start = end + 1


def _head(body: bytes | memoryview) -> bytes:
    return b"%s %s\n" % (FORMAT, hashlib.sha256(body).hexdigest().encode())


def _row(stanza: bytes, virtual: dict[bytes, set[bytes]]) -> bytes:
    fields = dict(_WANTED.findall(stanza))
    values = {name: b" ".join(value.split()) for name, value in fields.items()}
    get = values.get
    try:
        name, version, path = (get(key, b"").decode("ascii") for key in (b"Package", b"Version", b"Filename"))
    except UnicodeDecodeError as error:
        raise IndexProblem(f"not the entry of a package: {stanza[:80]!r}") from error
    if not (
        is_package_name(name)
        and is_version(version)
        and is_path(path)
        and _ARCHITECTURE.fullmatch(get(b"Architecture", b""))
        and _SHA256.fullmatch(get(b"SHA256", b""))
        and _NUMBER.fullmatch(get(b"Size", b""))
        and _NUMBER.fullmatch(get(b"Installed-Size", b"0"))
    ):
        raise IndexProblem(f"not the entry of a package: {stanza[:80]!r}")
    if b"Provides" in values:
        for other in _provided(values[b"Provides"]):
            virtual.setdefault(other, set()).add(name.encode())
    if get(b"Essential") == b"yes":
        virtual.setdefault(b"!essential", set()).add(name.encode())
    return b"P:" + b"\t".join([get(_FIELDS[column].encode(), b"") for column in _COLUMNS])


def make_package(control: Mapping[str, str], package: LockedPackage) -> Package:
    """A package as an index would describe it, from its own control file: for versions that no index has any more."""
    row: dict[str, Any] = {name: " ".join(control.get(label, "").split()) for name, label in _FIELDS.items()}
    size = row["installed_size"]
    row |= {
        "essential": row["essential"] == "yes",
        "installed_size": int(size) if size.isascii() and size.isdecimal() else 0,
        "size": package.size,
        "sha256": package.sha256,
        "path": package.path,
        "source": package.source,
    }
    return Package(**row, suite=package.suite, component=package.component)


def _provided(text: bytes) -> Iterator[bytes]:
    try:
        for group in parse_relations(text.decode()):
            yield group[0].name.encode()
    except (UnicodeDecodeError, ControlError):
        return  # what cannot be understood provides nothing


class Index:
    """The packages of one suite and architecture, in a file made by :func:`write_index`."""

    def __init__(self, path: Path, suite: str, component: str = "main") -> None:
        """Open it.

        Raises:
            ValueError: the file is of another format, or damaged.
            OSError: it cannot be read.
        """
        self.suite = suite
        self.component = component
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._start = self._map.find(b"\n", 0, 200) + 1
        with memoryview(self._map) as view, view[self._start :] as body:
            if self._map[: self._start] != _head(body):
                raise ValueError(f"{path} is not an index of this format")

    def get(self, name: str) -> list[Package]:
        """The packages of this name (several versions are possible); empty if there is none."""
        return [self._package(line) for line in self._lines(f"P:{name}\t".encode())]

    def list_providers(self, name: str) -> list[str]:
        """The names of the packages that provide this name, sorted."""
        lines = list(self._lines(f"V:{name}\t".encode()))
        return lines[0].decode().split("\t")[1].split() if lines else []

    def list_essential(self) -> list[str]:
        """The names of the packages marked ``Essential: yes``, sorted."""
        return self.list_providers("!essential")

    def list_names(self) -> set[str]:
        """All names that can be asked for: packages and virtual packages."""
        names = re.findall(rb"^[PV]:([^\t!]+)\t", self._map, re.MULTILINE)
        return {name.decode() for name in names}

    def _lines(self, prefix: bytes) -> Iterator[bytes]:
        low, high = self._start, len(self._map)
        while low < high:  # both are always the start of a line, or the end
            middle = self._map.rfind(b"\n", low, (low + high) // 2) + 1 or low
            if self._map[middle : middle + len(prefix)] < prefix:
                low = self._map.find(b"\n", middle) + 1
            else:
                high = middle
        while self._map[low : low + len(prefix)] == prefix:
            end = self._map.find(b"\n", low)
            yield self._map[low:end]
            low = end + 1

    def _package(self, line: bytes) -> Package:
        row = dict(zip(_COLUMNS, line[2:].decode("utf-8", errors="replace").split("\t"), strict=True))
        match = _SOURCE.fullmatch(row["source"])
        source, version = (match[1], match[2]) if match else (None, None)
        row["source"] = f"{source or row['name']} {version or row['version']}"
        essential = row.pop("essential") == "yes"
        installed_size, size = int(row.pop("installed_size") or 0), int(row.pop("size"))
        return Package(
            **row,
            essential=essential,
            installed_size=installed_size,
            size=size,
            suite=self.suite,
            component=self.component,
        )

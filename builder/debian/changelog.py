"""What changed between two versions of a package, in its maintainers' own words.

Source: deb-changelog(5), Debian Policy 4.4 and 12.7.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from builder.debian.control import is_package_name
from builder.debian.pack import Pack
from builder.debian.version import is_version, make_version_key
from builder.tree.node import Kind

MAX_BYTES = 16 << 20
DOC = "/usr/share/doc"
_HEADING = re.compile(r"(\S+) \(([^()\s]+)\) [^;]*;.*")
_ADVISORY = re.compile(r"\b(?:CVE-\d{4}-\d{4,7}|D[SL]A-\d{3,5}(?:-\d+)?)\b")
_CLOSES = re.compile(r"closes:\s*((?:bug)?#?\s?\d+(?:,\s*(?:bug)?#?\s?\d+)*)", re.IGNORECASE)
_LAUNCHPAD = re.compile(r"\bLP:\s*(#\d+(?:,\s*#\d+)*)")


@dataclass(frozen=True)
class ChangelogEntry:
    """One version's changes: its lines, without the heading and the signature."""

    version: str
    lines: tuple[str, ...]

    @property
    def advisories(self) -> tuple[str, ...]:
        """CVE, DSA and DLA numbers that it names, sorted."""
        return tuple(sorted(set(_ADVISORY.findall("\n".join(self.lines)))))

    @property
    def bugs(self) -> tuple[str, ...]:
        """Reports that it closes: ``#123`` of Debian's tracker, ``LP: #123`` of Launchpad's; sorted."""
        text = " ".join(self.lines)
        debian = {f"#{number}" for closing in _CLOSES.findall(text) for number in re.findall(r"\d+", closing)}
        other = {f"LP: #{number}" for closing in _LAUNCHPAD.findall(text) for number in re.findall(r"\d+", closing)}
        return tuple(sorted(debian | other))


def parse_changelog(text: str) -> list[ChangelogEntry]:
    """The entries, newest first as they are written. What is no entry is left out: this is text by people."""
    entries: list[ChangelogEntry] = []
    version = ""
    lines: list[str] = []
    for line in text.splitlines():
        if match := _HEADING.fullmatch(line):
            if version:
                entries.append(ChangelogEntry(version, tuple(lines)))
            version, lines = (match[2] if is_version(match[2]) else ""), []
        elif line.startswith("  ") and line.strip():
            lines.append(line[2:].rstrip())
    if version:
        entries.append(ChangelogEntry(version, tuple(lines)))
    return entries


def find_entries_between(entries: list[ChangelogEntry], old: str, new: str) -> list[ChangelogEntry]:
    """The entries after version ``old``, up to ``new``."""
    low, high = make_version_key(old), make_version_key(new)
    return [entry for entry in entries if low < make_version_key(entry.version) <= high]


def read_changelog(pack: Pack, other: Callable[[str], Pack | None]) -> list[ChangelogEntry]:
    """A package's changelog, that of binary rebuilds first; empty if it has none.

    ``other`` gives another package: many have their documentation in that of a package they are built together with.
    """
    for _ in range(3):
        link = next((m.target for m in pack.members if m.path == f"{DOC}/{pack.name}" and m.kind is Kind.SYMLINK), None)
        if link is None:
            break
        name = link.rpartition("/")[2]
        documentation = other(name) if is_package_name(name) else None
        if documentation is None:
            return []
        pack = documentation
    names = {member.path for member in pack.members if member.kind is Kind.FILE}
    arch = pack.package.architecture
    entries: list[ChangelogEntry] = []
    for name in (f"changelog.Debian.{arch}.gz", "changelog.Debian.gz", "changelog.gz"):
        path = f"{DOC}/{pack.name}/{name}"
        # A native package's own changelog is changelog.gz; where there is one of Debian's, that is upstream's.
        if path in names and not (name == "changelog.gz" and entries):
            entries += parse_changelog(_unpacked(pack.read(path)))
    return entries


def _unpacked(data: bytes) -> str:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, MAX_BYTES).decode("utf-8", errors="replace")
    except zlib.error:
        return ""

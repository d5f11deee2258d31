"""What a package's ``copyright`` file declares, as far as it is written for machines.

Source: Debian's "Machine-readable debian/copyright file" 1.0 (field ``License``, short names); the SPDX licence list.
"""

from __future__ import annotations

import re
from functools import cache

_FORMAT = b"copyright-format/1"
_HEAD = 1000  # bytes in which the field that says so must be
_LICENCE = re.compile(rb"^License:[ \t]*([A-Za-z0-9][^\r\n]{0,200}?)[ \t]*\r?$", re.M | re.I)
# Debian's short names, in lower case, that mean exactly what an identifier of SPDX's list means.
_SAME = {
    "expat": "MIT",
    "apache-2": "Apache-2.0",
    "mpl-2": "MPL-2.0",
    "cc0": "CC0-1.0",
    "bsl-1": "BSL-1.0",
    "gfdl-niv-1.2": "GFDL-1.2-no-invariants-only",
    "gfdl-niv-1.2+": "GFDL-1.2-no-invariants-or-later",
    "gfdl-niv-1.3": "GFDL-1.3-no-invariants-only",
    "gfdl-niv-1.3+": "GFDL-1.3-no-invariants-or-later",
}
# Those that are SPDX's identifiers but for capitals.
_IDENTIFIERS = {
    name.lower(): name
    for name in (
        "0BSD", "AFL-2.0", "AFL-2.1", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-4-Clause",
        "BSD-4-Clause-UC", "BSL-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "FSFAP",
        "FSFUL", "FSFULLR", "FSFULLRWD", "ISC", "MIT", "MPL-1.1", "MPL-2.0", "MS-PL", "OFL-1.1", "OLDAP-2.8",
        "OpenSSL", "Sleepycat", "Unicode-DFS-2016", "Unlicense", "WTFPL", "X11", "Zlib", "bzip2-1.0.6", "curl",
    )
}  # fmt: skip
_GNU = re.compile(r"(?P<family>A?GPL|LGPL)-(?P<version>1|2|2\.1|3)(?:\.0)?(?P<later>\+|-or-later|-only)?", re.I)


def find_declared_licences(copyright_file: bytes) -> tuple[str, ...]:
    """The licences that a copyright file names: SPDX's identifier where there is one for it, else Debian's words.

    Sorted, each once. Empty if the file is not written for machines.
    """
    if _FORMAT not in copyright_file[:_HEAD]:
        return ()
    declared = {match.decode("utf-8", errors="replace") for match in _LICENCE.findall(copyright_file)}
    return tuple(sorted({find_identifier(name) or name for name in declared}))


def find_identifier(name: str) -> str | None:
    """SPDX's identifier for one of Debian's short names; ``None`` where they do not mean the same for sure."""
    low = name.lower()
    known = _SAME.get(low) or _IDENTIFIERS.get(low)
    if known is not None:
        return known
    gnu = _GNU.fullmatch(name)
    if gnu is None:
        return None
    family, version = gnu["family"].upper(), gnu["version"]
    if "." not in version:
        version += ".0"
    if (family, version) not in _GNU_VERSIONS:
        return None
    return f"{family}-{version}-{'or-later' if gnu['later'] in ('+', '-or-later') else 'only'}"


_GNU_VERSIONS = {
    ("GPL", "1.0"), ("GPL", "2.0"), ("GPL", "3.0"), ("LGPL", "2.0"), ("LGPL", "2.1"), ("LGPL", "3.0"),
    ("AGPL", "1.0"), ("AGPL", "3.0"),
}  # fmt: skip


@cache
def list_identifiers() -> frozenset[str]:
    """Every identifier that :func:`find_identifier` can return."""
    gnu = (f"{family}-{version}-{suffix}" for family, version in _GNU_VERSIONS for suffix in ("only", "or-later"))
    return frozenset((*_SAME.values(), *_IDENTIFIERS.values(), *gnu))

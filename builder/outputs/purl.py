"""Package URLs: the names by which scanners look packages up.

Source: the purl specification (ECMA-427): its rules for encoding, and its types ``deb``, ``apk``, ``pypi`` and ``oci``.
"""

from __future__ import annotations

import re
from urllib.parse import quote


def format_purl(kind: str, *names: str, version: str, **qualifiers: str) -> str:
    """``pkg:KIND/NAMES...@VERSION?QUALIFIERS``; a version and qualifiers that are empty are left out."""
    path = "/".join(map(_encoded, (kind, *names)))
    given = "&".join(f"{key}={_encoded(value)}" for key, value in sorted(qualifiers.items()) if value)
    return f"pkg:{path}" + (f"@{_encoded(version)}" if version else "") + (f"?{given}" if given else "")


def make_deb_purl(
    name: str, version: str, arch: str, *, vendor: str, distro: str, source: str, source_version: str
) -> str:
    """A Debian package's. ``upstream`` is what Grype looks vulnerabilities up by: Debian names them by source."""
    upstream = "" if (source, source_version) == (name, version) else source
    if upstream and source_version != version:
        upstream += f"@{source_version}"
    return format_purl("deb", vendor, name, version=version, arch=arch, distro=distro, upstream=upstream)


def make_pypi_purl(name: str, version: str) -> str:
    """A Python distribution's, by its normalised name (PEP 503)."""
    return format_purl("pypi", re.sub(r"[-_.]+", "-", name).lower(), version=version)


def _encoded(text: str) -> str:
    return quote(text, safe=":")

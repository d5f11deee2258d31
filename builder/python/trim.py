"""What a running app has no use for: left out where the definition says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from builder.python.install import Installed

_TESTS = re.compile(r"(?:^|/)(?:tests?|testing/tests)/|(?:^|/)(?:test_[^/]*|[^/]*_test|conftest)\.py$")
_STUBS = re.compile(r"\.pyi$")
_SOURCES = re.compile(r"\.(?:pyx|pxd|pxi|pyx\.in|c|cc|cpp|cxx|h|hh|hpp|hxx|f|f90|rs|cu|cuh|cmake)$")
# What each kind matches, of a path below the directory of modules.
KINDS: dict[str, Callable[[str], bool]] = {
    "tests": lambda path: _TESTS.search(path) is not None,
    "stubs": lambda path: _STUBS.search(path) is not None,
    "sources": lambda path: _SOURCES.search(path) is not None,
}


def trim(installed: Installed, kinds: Collection[str]) -> int:
    """Leave out what the kinds match; returns how many bytes that was.

    Records of distributions (``.dist-info``) stay whole: licences are in them.
    """
    site = f"{installed.scheme.site}/"
    matches = [KINDS[kind] for kind in kinds if kind in KINDS]
    gone = []
    for path in installed.nodes:
        below = path.removeprefix(site)
        if path.startswith(site) and ".dist-info/" not in below and any(match(below) for match in matches):
            gone.append(path)
    size = sum(installed.nodes[path].size for path in gone)
    installed.drop(gone)
    return size

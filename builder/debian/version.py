"""Debian's version numbers and their order.

Source: Debian Policy 5.6.12 and deb-version(7). libsolv's own comparison is not used, because it takes a
version without a revision in a relation for "any revision" (``>> 2.41``), which dpkg does not.
"""

from __future__ import annotations

import re
from functools import lru_cache

_RUNS = re.compile(r"(\D*)(\d*)")
# A colon may only be in it after an epoch.
_VERSION = re.compile(r"(?:[0-9]{1,9}:[0-9A-Za-z][0-9A-Za-z.+~:-]*|[0-9A-Za-z][0-9A-Za-z.+~-]*)")
MAX_LENGTH = 300
END = ((0,), 0)

Key = tuple[int, tuple[tuple[tuple[int, ...], int], ...], tuple[tuple[tuple[int, ...], int], ...]]


def is_version(text: str) -> bool:
    """Whether the text can be a package's version (a letter first is tolerated, as dpkg tolerates it)."""
    return len(text) <= MAX_LENGTH and _VERSION.fullmatch(text) is not None


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def _part(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    # Each run of non-digits ends with 0, which sorts after "~" and before every other character.
    runs = ((letters, digits) for letters, digits in _RUNS.findall(text) if letters or digits)
    return (*(((*map(_order, letters), 0), int(digits or 0)) for letters, digits in runs), END)


@lru_cache(maxsize=1 << 16)
def make_version_key(version: str) -> Key:
    """A key that sorts versions as ``dpkg --compare-versions`` does.

    Raises:
        ValueError: not a version (:func:`is_version`).
    """
    if not is_version(version):
        raise ValueError(f"not a Debian version: {version[:100]!r}")
    head, colon, rest = version.partition(":")
    epoch, rest = (int(head), rest) if colon and head.isdigit() else (0, version)
    upstream, dash, revision = rest.rpartition("-")
    return epoch, _part(upstream if dash else rest), _part(revision if dash else "0")


def is_satisfied(version: str, operator: str, wanted: str) -> bool:
    """Whether ``version`` fulfils a relation such as ``>= 2.41``; operators are ``<< <= = >= >>``."""
    have, want = make_version_key(version), make_version_key(wanted)
    match operator:
        case "<<":
            return have < want
        case "<=":
            return have <= want
        case "=":
            return have == want
        case ">=":
            return have >= want
        case ">>":
            return have > want
        case _:
            raise ValueError(operator)

"""The order of versions, as systemd and its tools have it (UAPI.10, Version Format Specification).

The rules are those of ``strverscmp_improved()``, by which systemd-boot and systemd-sysupdate choose the newest, so that
publisher, agent and boot loader agree; ``systemd-analyze compare-versions`` gives the same answers.
"""

from __future__ import annotations

import re
from functools import cmp_to_key

from firstboot.config.update_words import VERSION_PATTERN

_VERSION = re.compile(VERSION_PATTERN)
_FOREIGN = re.compile(r"[^A-Za-z0-9.~^-]*")
_NUMBER = re.compile(r"[0-9]*")
_LETTERS = re.compile(r"[A-Za-z]*")
# What is behind one of these is older than anything else that may stand there; asked for in this order.
_SEPARATORS = "-^."


def is_version(text: str) -> bool:
    """Whether this can be an image's version."""
    return _VERSION.fullmatch(text) is not None


def compare_versions(one: str, other: str) -> int:
    """Less than 0 if the first is older, 0 if neither is (``1.0`` and ``1.00``), more than 0 if it is newer."""
    a, b = one, other
    while True:
        a, b = a[len(_take(_FOREIGN, a)) :], b[len(_take(_FOREIGN, b)) :]
        if a.startswith("~") or b.startswith("~"):
            if order := b.startswith("~") - a.startswith("~"):
                return order
            a, b = a[1:], b[1:]
        if not a or not b:
            return bool(a) - bool(b)
        for separator in _SEPARATORS:
            if a.startswith(separator) or b.startswith(separator):
                if order := b.startswith(separator) - a.startswith(separator):
                    return order
                a, b = a[1:], b[1:]
        numeric = a[:1].isdigit() or b[:1].isdigit()
        kind = _NUMBER if numeric else _LETTERS
        head_a, head_b = _take(kind, a), _take(kind, b)
        if order := _compare_numbers(head_a, head_b) if numeric else (head_a > head_b) - (head_a < head_b):
            return order
        a, b = a[len(head_a) :], b[len(head_b) :]


make_version_key = cmp_to_key(compare_versions)
"""A key that sorts versions, the oldest first."""


def _take(kind: re.Pattern[str], text: str) -> str:
    """What stands at the beginning."""
    match = kind.match(text)
    return match[0] if match else ""


def _compare_numbers(one: str, other: str) -> int:
    """Numbers of any length; none at all is the least."""
    if not one or not other:
        return bool(one) - bool(other)
    a, b = one.lstrip("0"), other.lstrip("0")
    return ((len(a), a) > (len(b), b)) - ((len(a), a) < (len(b), b))

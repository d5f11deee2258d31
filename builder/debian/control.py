"""Debian's control format: stanzas of fields, and the relations between packages.

Source: Debian Policy 5.1 (syntax), 7.1 (relationship fields); deb822(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from builder.core.errors import SourceError
from builder.debian.version import is_version

_FIELD = re.compile(r"^([!-9;-~]+):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_RELATION = re.compile(
    r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)"
    r"(?::(?P<arch>[a-z0-9-]+))?"
    r"\s*(?:\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s()]+)\s*\))?"
    r"\s*(?:\[(?P<archs>[^\]]*)\])?"
    r"\s*"
)
# Policy 7.1: the single characters are obsolete and mean "or equal", whatever they look like.
_OPERATORS = {"<": "<=", ">": ">="}
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{0,200}")


class ControlError(SourceError):
    """A control file, index or relation that cannot be understood."""


def is_package_name(text: str) -> bool:
    """Whether the text can be a package's name (Policy 5.6.1; one character is tolerated, as dpkg does)."""
    return _NAME.fullmatch(text) is not None


def parse_stanza(text: str) -> dict[str, str]:
    """The fields of one stanza; names as they are written, continuation lines kept with their newline.

    Raises:
        ControlError: something that is neither a field nor a continuation, or a field that is set twice.
    """
    fields: dict[str, str] = {}
    expected = 0
    body = text.strip("\n")
    for match in _FIELD.finditer(body):
        if match.start() != expected:
            break
        name, value = match.groups()
        if name in fields:
            raise ControlError(f"field {name!r} is set twice")
        fields[name] = value.rstrip()
        expected = match.end() + 1
    if expected <= len(body) and body:
        raise ControlError(f"not a field of a control file: {body[expected : expected + 80].splitlines()[:1]!r}")
    return fields


@dataclass(frozen=True, slots=True)
class Relation:
    """One alternative of a relationship field: ``libc6 (>= 2.41)``.

    ``operator`` and ``version`` are empty when any version will do; ``architecture`` is the qualifier after
    the colon.
    """

    name: str
    operator: str = ""
    version: str = ""
    architecture: str = ""

    def __str__(self) -> str:
        name = f"{self.name}:{self.architecture}" if self.architecture else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name


Alternatives = tuple[Relation, ...]


@lru_cache(maxsize=1 << 15)
def parse_relations(text: str) -> tuple[Alternatives, ...]:
    """A relationship field: groups that must all hold, each of alternatives of which one must.

    Raises:
        ControlError: not such a field.
    """
    groups = []
    # One space at most between words: on a run of them the pattern would take a time that grows with its cube.
    for group in " ".join(text.split()).split(","):
        if not group.strip():
            continue
        alternatives = []
        for part in group.split("|"):
            match = _RELATION.fullmatch(part)
            if match is None:
                raise ControlError(f"not a relation between packages: {part.strip()[:100]!r}")
            operator = match["operator"] or ""
            version = match["version"] or ""
            if version and not is_version(version):
                raise ControlError(f"not a version: {version[:100]!r} in {part.strip()[:100]!r}")
            alternatives.append(
                Relation(match["name"], _OPERATORS.get(operator, operator), version, match["arch"] or "")
            )
        groups.append(tuple(alternatives))
    return tuple(groups)

"""Units, drop-ins, quadlets and files whose text a config has in itself, and warnings about lines of them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import NamedTuple

from firstboot.config.models import Config, File
from firstboot.config.quadlets import DIRECTORIES as QUADLETS
from firstboot.config.quadlets import find_unit_name
from firstboot.config.resource import BadResource, inline_bytes, is_inline
from firstboot.config.text import Located, Mark, Path, Problem
from firstboot.config.unit_text import BadUnit, parse_options


class UnitText(NamedTuple):
    """A unit, drop-in or quadlet that has a text.

    Attributes:
        name: of the unit: that of a drop-in is the one it belongs to.
        at: where in the config it is, ``None`` if it is the image's.
        text: all of it.
        options: (section, name, value), in order.
    """

    name: str
    at: Path | None
    text: str
    options: tuple[tuple[str, str, str], ...]

    @classmethod
    def read(cls, name: str, at: Path | None, text: str) -> UnitText:
        """Take a text apart; one that is no unit has no options, and others say so."""
        try:
            return cls(name, at, text, tuple(parse_options(text)))
        except BadUnit:
            return cls(name, at, text, ())

    def make_warning(self, setting: str, value: str, message: str, hint: str | None = None) -> Problem:
        """About a setting of this unit of the config."""
        assert self.at is not None
        numbers = [
            number
            for number, line in enumerate(self.text.split("\n"), 1)
            if line.partition("=")[0].strip() == setting and value in line
        ]
        return make_warning(self.at, self.text, numbers[0] if numbers else 0, f"{self.name}: {message}", hint)

    def list_values(self, section: str, *names: str) -> Iterator[tuple[str, str]]:
        """Name and value of each setting of these names."""
        for where, name, value in self.options:
            if where == section and name in names:
                yield name, value


def list_own_units(config: Config) -> Iterator[UnitText]:
    """What a config says in units, drop-ins and quadlets."""
    yield from list_systemd_units(config)
    for index, file in enumerate(config.storage.files):
        if file.path.startswith(QUADLETS) and find_unit_name(file.path):
            here = ("storage", "files", index, "contents")
            yield UnitText.read(posixpath.basename(file.path), here, find_text(file) or "")


def list_systemd_units(config: Config) -> Iterator[UnitText]:
    """What it says in ``systemd.units``, and in drop-ins there."""
    for index, unit in enumerate(config.systemd.units):
        at: Path = ("systemd", "units", index)
        if unit.contents:
            yield UnitText.read(unit.name, (*at, "contents"), unit.contents)
        for position, dropin in enumerate(unit.dropins):
            if dropin.contents:
                yield UnitText.read(unit.name, (*at, "dropins", position, "contents"), dropin.contents)


def make_warning(at: Path, text: str, line: int, message: str, hint: str | None = None) -> ProblemInText:
    """A warning about a line of a text that the config has at ``at``."""
    problem = ProblemInText(at, message, hint, "warning")
    problem.line, problem.text = line, text
    return problem


class ProblemInText(Problem):
    """A problem in a line, counted from 1, of the text at ``path``."""

    line: int
    text: str

    def point_at_line(self, located: Located, path: Path) -> Problem:
        """Pointing at the line itself if the document has the text as it is: a block of YAML."""
        # Where it is a file's, the text is one key further down, and so is what tells that it may be a secret.
        path = (*path, "inline") if (*path, "inline") in located.marks else path
        mark = located.marks.get(path)
        lines, own = self.text.split("\n"), located.text.splitlines()
        if mark is None or not 0 < self.line <= len(lines):
            return Problem(path, self.message, self.hint, self.severity)
        number = mark.line + self.line
        shown = own[number - 1] if number <= len(own) else ""
        wanted = lines[self.line - 1].strip()
        if not wanted or shown.strip() != wanted:
            return Problem(path, self.message, self.hint, self.severity)
        here = (*path, self.line)
        located.marks.setdefault(here, Mark(number, len(shown) - len(shown.lstrip()) + 1, len(wanted)))
        return Problem(here, self.message, self.hint, self.severity)


def find_text(file: File) -> str | None:
    """What the config itself writes into a file, as text; ``None`` if it is elsewhere or wrong."""
    parts = [resource for resource in (file.contents, *file.append) if resource.source is not None]
    try:
        if not all(map(is_inline, parts)):
            return None
        return b"".join(map(inline_bytes, parts)).decode("utf-8", "replace")
    except BadResource:
        return None

"""Filling in ``*.j2`` files of overlays and units.

Jinja2, sandboxed, and strict: a name that is not defined is an error at its line, never an empty string.
Templates see the values of :class:`Values` and nothing else; they cannot read files or include each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.core.errors import InputError
from builder.core.once import remember_answer
from builder.definition.findings import shorten_path
from builder.definition.scalars import Scalar
from firstboot.config.located import Located, LocatedError, Problem, decode

TEMPLATE_SUFFIX = ".j2"


@dataclass(frozen=True)
class Values:
    """What a template may use, by these names."""

    name: str
    version: str
    arch: str
    suite: str
    features: tuple[str, ...] = ()
    variables: Mapping[str, Scalar] = field(default_factory=dict)

    def make_variables(self) -> dict[str, Any]:
        """The template's variables."""
        return {
            "name": self.name,
            "version": self.version,
            "arch": self.arch,
            "suite": self.suite,
            "features": list(self.features),
            "variables": dict(self.variables),
        }


@remember_answer
def find_templates(directory: Path) -> tuple[Path, ...]:
    """The ``*.j2`` files in an overlay, sorted, links not followed."""
    paths = sorted(directory.rglob(f"*{TEMPLATE_SUFFIX}"))
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def find_template_problems(directory: Path, values: Values) -> Iterator[LocatedError]:
    """All that is wrong with the templates of an overlay."""
    for path in find_templates(directory):
        twin = path.with_name(path.name.removesuffix(TEMPLATE_SUFFIX))
        if twin.exists() or twin.is_symlink():
            message = f"{shorten_path(twin)} makes the same file"
            yield LocatedError(Located(shorten_path(path), "", None, {}, {}), [Problem((), message)])
        try:
            render_text(read_text(path), shorten_path(path), values)
        except LocatedError as error:
            yield error


def render_file(path: Path, values: Values) -> str:
    """The text a template makes.

    Raises:
        InputError: with the template's file and line.
    """
    try:
        return render_text(read_text(path), shorten_path(path), values)
    except LocatedError as error:
        raise InputError(str(error)) from None


@remember_answer
def read_text(path: Path) -> str:
    """A file as UTF-8.

    Raises:
        LocatedError: it cannot be read or is something else.
    """
    try:
        return decode(path.read_bytes(), shorten_path(path))
    except OSError as error:
        name = shorten_path(path)
        raise LocatedError(Located(name, "", None, {}, {}), [Problem((), f"{error.strerror}")]) from None


def render_text(text: str, name: str, values: Values) -> str:
    """The text that the template ``text`` makes; ``name`` is what errors call it.

    Raises:
        LocatedError: what :func:`builder.definition.sandbox.fill` refuses.
    """
    from builder.definition.sandbox import fill  # noqa: PLC0415 - costs 60 ms, and few builds have a template

    return fill(text, name, values.make_variables())

"""Configs inside a config: what Butane says about those that are written in it or beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from firstboot.config.butane.variants import Edition
from firstboot.config.loaded import Document
from firstboot.config.models import Config, Reference
from firstboot.config.resource import BadResource, inline_bytes
from firstboot.config.shape import Walk
from firstboot.config.text import LocatedError, Path, Problem, decode
from firstboot.config.versions import format_version

Version = tuple[int, int]
Reader = Callable[[str, str], Document]


def check_embedded(config: Config, walk: Walk, edition: Edition, read: Reader) -> Iterator[Problem]:
    """What is wrong with configs to merge or to use instead, at their sources.

    An inline one of the same version must be right. Of others Butane knows nothing, so what is wrong with them is a
    warning; a machine would refuse them. Local ones Butane does not look at; our own variant does.

    Args:
        read: reads a text with a name.
    """
    path: Path = ("ignition", "config")
    references: list[tuple[Path, Reference]] = [
        ((*path, "merge", index), resource) for index, resource in enumerate(config.ignition.config.merge)
    ]
    for here, reference in [*references, ((*path, "replace"), config.ignition.config.replace)]:
        source = (*here, "source")
        kind = walk.locate(source)[-1]
        if kind == "inline" or (kind == "local" and edition.sugar):
            yield from _check(reference, source, read, inline=kind == "inline", spec=edition.spec)


def _check(reference: Reference, at: Path, read: Reader, *, inline: bool, spec: Version) -> Iterator[Problem]:
    name = "the config inside"
    try:
        text = decode(inline_bytes(reference), name)
        version = _version_of(text)
        strict = inline and version in (None, format_version(spec))
        problems = list(read(text, name).problems)
    except BadResource:
        return  # that has been said
    except LocatedError as error:
        strict = inline and _version_of(error.located.text) in (None, format_version(spec))
        version, problems = None, list(error.problems)
    for problem in problems:
        where = ".".join(map(str, problem.path))
        message = f"{name}: {where}: {problem.message}" if where else f"{name}: {problem.message}"
        yield Problem(at, message, problem.hint, problem.severity if strict else "warning")
    if inline and version is not None and not strict and not problems:
        yield Problem(at, f"{name} is of version {version}, this one of {format_version(spec)}", None, "warning")


def _version_of(text: str) -> str | None:
    """The version that a config says it is of; ``None`` for what is no JSON with a version in it."""
    try:
        version = json.loads(text)["ignition"]["version"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    return version if isinstance(version, str) else None

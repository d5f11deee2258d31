"""Names that turn out to be wrong long after a definition was read, shown at the line that has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.core.errors import InputError
from builder.definition.findings import Findings, read_yaml
from builder.definition.resolved import Resolved, ResolvedContainer
from builder.definition.shipped import DirectoryKind, make_search_path
from firstboot.config.located import Located, LocatedError, Problem
from firstboot.config.text import Path as ConfigPath

# Where definitions and features name packages and units.
KEYS = ("packages", "exclude", "presets", "tools", "kernel", "apps")


@contextmanager
def point_at_names(resolved: Resolved | ResolvedContainer) -> Iterator[None]:
    """Let errors about names say where the user wrote them: in the definition, a container's, or a feature.

    Raises:
        InputError: the one of the block; with the lines if it has :attr:`InputError.names` that are found.
    """
    try:
        yield
    except InputError as error:
        if not error.names:
            raise
        findings = Findings()
        left = dict(error.names)
        for path in _files(resolved):
            try:
                located = read_yaml(path)
            except LocatedError:
                continue
            for place, name in _names(located):
                if name in left:
                    findings.add(located, [Problem(place, left.pop(name), error.hint)])
        if len(left) == len(error.names):
            raise
        try:
            findings.raise_errors()
        except InputError as shown:
            raise type(error)(shown.what, details=[*left.values()]) from error


def describe_at_entry(
    path: Path, keys: tuple[str, ...], name: str, key: str, message: str, hint: str | None = None
) -> str:
    """A complaint about the element ``name`` of a list in a definition, shown at its line; the bare message if that
    cannot be found any more.

    Args:
        path: the file.
        keys: of the list, or of one value where ``name`` is empty.
        key: of the element, that is complained about; if it has none, its name is.
    """
    try:
        located = read_yaml(path)
    except LocatedError:
        return message
    data: object = located.data
    for step in keys:
        data = data.get(step) if isinstance(data, dict) else None
    if not name:
        return str(LocatedError(located, [Problem(keys, message, hint)]))
    for index, element in enumerate(data if isinstance(data, list) else ()):
        if isinstance(element, dict) and element.get("name") == name:
            place: ConfigPath = (*keys, index, key if key in element else "name")
            return str(LocatedError(located, [Problem(place, message, hint)]))
    return message


def _files(resolved: Resolved | ResolvedContainer) -> Iterator[Path]:
    yield resolved.path
    if isinstance(resolved, Resolved):
        for container in resolved.containers:
            if isinstance(container.image, ResolvedContainer):
                yield container.image.path
        search = make_search_path(resolved.path)
        for feature in resolved.features:
            if (path := search.find(DirectoryKind.FEATURE, feature)) is not None:
                yield path


def _names(located: Located) -> Iterator[tuple[ConfigPath, str]]:
    """Each name of a package or unit, and its place; of ``NAME=VERSION`` the name."""
    data = located.data if isinstance(located.data, dict) else {}
    pending: list[tuple[ConfigPath, object]] = [((key,), data[key]) for key in KEYS if key in data]
    while pending:
        place, value = pending.pop(0)
        if isinstance(value, dict):
            pending += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            pending += [((*place, index), inner) for index, inner in enumerate(value)]
        elif isinstance(value, str):
            yield place, value
            if "=" in value:
                yield place, value.partition("=")[0]

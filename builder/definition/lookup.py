"""From names to files: features in the order of the merge, overlays and units, each looked into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from builder.definition import checks
from builder.definition.container_risks import find_container_risks
from builder.definition.dependencies import find_dependency_problems
from builder.definition.entries import find_entry_problems
from builder.definition.findings import Findings, read_yaml
from builder.definition.model import Contents, Feature
from builder.definition.shipped import DirectoryKind, NamedDirectory, SearchPath
from builder.definition.template import Values, find_template_problems
from builder.definition.unitfile import find_unit_files, find_unit_problems
from firstboot.config.located import Located, LocatedError, Problem


@dataclass(frozen=True)
class Layer:
    """A file whose contents are merged, and where its problems are shown; a feature's has its path."""

    located: Located
    contents: Contents
    path: Path | None = None


def find_features(names: tuple[str, ...], located: Located, search: SearchPath, findings: Findings) -> dict[str, Layer]:
    """Features in the order of the merge: what one requires comes before it, each once."""
    features: dict[str, Layer] = {}
    refused: set[str] = set()

    def visit(name: str, origin: Located, place: tuple[str | int, ...], above: tuple[str, ...]) -> None:
        if name in above:
            circle = " -> ".join([*above[above.index(name) :], name])
            findings.add(origin, [Problem(place, f"features require each other: {circle}")])
            return
        if name in features or name in refused:
            return
        file = search.find(DirectoryKind.FEATURE, name)
        if file is None:
            findings.add(origin, [search.make_unknown_name_problem(DirectoryKind.FEATURE, name, place)])
            return
        try:
            here = read_yaml(file)
        except LocatedError as error:
            findings.add_error(error)
            refused.add(name)
            return
        feature = findings.parse(Feature, here)
        if feature is None:
            refused.add(name)
            return
        findings.add(here, checks.check_feature(feature))
        for index, required in enumerate(feature.requires):
            visit(required, here, ("requires", index), (*above, name))
        features[name] = Layer(here, feature, file)

    for index, name in enumerate(names):
        visit(name, located, ("features", index), ())
    return features


def find_directories(
    part: Literal[DirectoryKind.OVERLAY, DirectoryKind.UNITS],
    layers: list[Layer],
    search: SearchPath,
    findings: Findings,
) -> tuple[NamedDirectory, ...]:
    directories: dict[str, NamedDirectory] = {}
    for layer in layers:
        names = layer.contents.overlays if part is DirectoryKind.OVERLAY else layer.contents.units
        new = look_up(part, names, layer.located, search, findings, known=directories)
        if part is DirectoryKind.UNITS:
            for index, name in enumerate(names):
                if name in new:
                    findings.add(layer.located, _units_twice(new[name], directories, (part.value, index)))
                    directories[name] = new[name]
        directories |= new
    return tuple(directories.values())


def _units_twice(
    new: NamedDirectory, known: Mapping[str, NamedDirectory], where: tuple[str | int, ...]
) -> Iterator[Problem]:
    """Files that an earlier directory has as well: the later would silently take their place."""
    for name in find_unit_files(new.path):
        for other in known.values():
            if name in find_unit_files(other.path):
                message = f"'{name}' is in the units '{other.name}' as well, and an image has one"
                yield Problem(where, message, "a drop-in changes a unit: name it like app.service.d/10-mine.conf")


def look_up(
    part: Literal[DirectoryKind.OVERLAY, DirectoryKind.UNITS],
    names: tuple[str, ...],
    located: Located,
    search: SearchPath,
    findings: Findings,
    known: dict[str, NamedDirectory],
) -> dict[str, NamedDirectory]:
    directories: dict[str, NamedDirectory] = {}
    for index, name in enumerate(names):
        path = search.find(part, name)
        if path is None:
            findings.add(located, [search.make_unknown_name_problem(part, name, (part.value, index))])
        elif name not in known:
            directories[name] = NamedDirectory(name, path)
    return directories


def check_files(
    overlays: tuple[NamedDirectory, ...],
    units: tuple[NamedDirectory, ...],
    values: Values,
    findings: Findings,
) -> None:
    for overlay in overlays:
        # The first kind of problem would make looking for the second dangerous.
        for error in [*find_entry_problems(overlay.path)] or (
            *find_template_problems(overlay.path, values),
            *find_dependency_problems(overlay.path),
        ):
            findings.add_error(error)
    for directory in (*overlays, *units):
        for warning in find_container_risks(directory.path):
            findings.add_error(warning)
    for directory in units:
        for error in [*find_entry_problems(directory.path)] or find_unit_problems(directory.path, values):
            findings.add_error(error)

"""From ``matrix.yaml`` to its cells: what each builds, and its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

from builder.core.architecture import Arch
from builder.core.errors import InputError
from builder.definition.explain import parse
from builder.definition.findings import read_yaml
from builder.definition.variation import Variation
from builder.matrix.model import Addition, Matrix, Rule
from firstboot.config.located import LocatedError, Problem, find_suggestion


@dataclass(frozen=True)
class Cell:
    """One image of the matrix.

    Attributes:
        id: its name: the definition's, then what stands on each axis, joined by ``-``.
        definition: the path.
        written: the same as ``matrix.yaml`` has it.
        variables, features: the names of the sets.
    """

    id: str
    definition: Path
    written: str
    variation: Variation
    variables: str | None = None
    features: str | None = None


@dataclass(frozen=True)
class LoadedMatrix:
    """A matrix that can be planned.

    Attributes:
        path: its file.
        cells: in the order of the axes, additions last.
    """

    path: Path
    matrix: Matrix
    cells: tuple[Cell, ...]


def load_matrix(path: Path) -> LoadedMatrix:
    """Read a matrix.

    Raises:
        InputError: its text shows all problems at once, each under the user's own line.
    """
    try:
        located = read_yaml(path)
        matrix = parse(Matrix, located)
        problems = [*_check_names(matrix), *_check_definitions(matrix, path.absolute().parent)]
        cells = tuple(expand_matrix(matrix, path.parent))
        problems += _check_cells(matrix, cells)
        if problems:
            raise LocatedError(located, problems)
    except LocatedError as error:
        raise InputError(str(error)) from None
    return LoadedMatrix(path, matrix, cells)


def expand_matrix(matrix: Matrix, directory: Path) -> Iterator[Cell]:
    """The cells of the axes that no rule leaves out, then the additions."""
    axes = product(
        matrix.definitions,
        matrix.arch or (None,),
        matrix.outputs or ((),),
        matrix.variables or (None,),
        matrix.features or (None,),
    )
    for definition, arch, outputs, variables, features in axes:
        if not any(_fits(rule, definition, arch, outputs, variables, features) for rule in matrix.exclude):
            yield _make_cell(matrix, directory, definition, arch, outputs, variables, features)
    for more in matrix.include:
        yield _make_cell(matrix, directory, more.definition, more.arch, more.outputs, more.variables, more.features)


def _make_cell(
    matrix: Matrix,
    directory: Path,
    definition: str,
    arch: Arch | None,
    outputs: Sequence[str],
    variables: str | None,
    features: str | None,
) -> Cell:
    words = [Path(definition).stem, arch, "+".join(outputs), variables, features]
    variation = Variation(
        arch,
        tuple(outputs),
        tuple(matrix.variables.get(variables or "", {}).items()),
        matrix.features.get(features or "", ()),
    )
    name = "-".join(word for word in words if word)
    return Cell(name, directory / definition, definition, variation, variables, features)


def _fits(
    rule: Rule, definition: str, arch: Arch | None, outputs: Sequence[str], variables: str | None, features: str | None
) -> bool:
    return (
        rule.definition in (None, definition)
        and rule.arch in (None, arch)
        and (rule.outputs is None or rule.outputs in outputs)
        and rule.variables in (None, variables)
        and rule.features in (None, features)
    )


def _check_names(matrix: Matrix) -> Iterator[Problem]:
    """Rules and additions name what there is."""
    rows: list[tuple[str, Sequence[Rule | Addition]]] = [("exclude", matrix.exclude), ("include", matrix.include)]
    for key, rules in rows:
        for index, rule in enumerate(rules):
            for axis in ("variables", "features"):
                name, known = getattr(rule, axis), getattr(matrix, axis)
                if name is not None and name not in known:
                    hint = find_suggestion(name, known) or f"{axis} has {', '.join(known) or 'none'}"
                    yield Problem((key, index, axis), f"there is no set '{name}' under {axis}", hint)
    for index, rule in enumerate(matrix.exclude):
        if rule == Rule():
            yield Problem(("exclude", index), "this leaves out every cell", "say which: arch, outputs ...")
        for axis, axis_values in (("definition", matrix.definitions), ("arch", matrix.arch)):
            value = getattr(rule, axis)
            if value is not None and value not in axis_values:
                yield Problem(("exclude", index, axis), f"no cell has '{value}', so this leaves out nothing")


def _check_definitions(matrix: Matrix, directory: Path) -> Iterator[Problem]:
    """The definitions are there, and named apart."""
    if not matrix.definitions and not matrix.include:
        yield Problem((), "a matrix needs definitions", "definitions: [os.yaml]")
    stems: dict[str, str] = {}
    places = [(("definitions", index), name) for index, name in enumerate(matrix.definitions)]
    more = [(("include", index, "definition"), row.definition) for index, row in enumerate(matrix.include)]
    for where, name in [*places, *more]:
        if not (directory / name).is_file():
            yield Problem(where, f"there is no file {name}")
        other = stems.setdefault(Path(name).stem, name)
        if other != name:
            yield Problem(where, f"{other} has the same name, and a cell is named by it", "rename one of the files")


def _check_cells(matrix: Matrix, cells: Sequence[Cell]) -> Iterator[Problem]:
    if len(cells) > matrix.limits.cells:
        message = f"these are {len(cells)} cells, and limits.cells is {matrix.limits.cells}"
        yield Problem(("limits", "cells"), message, "leave some out (exclude), or raise it")
    if not cells and (matrix.definitions or matrix.include):
        yield Problem(("exclude",), "every cell is left out")
    names: set[str] = set()
    for cell in cells:
        if cell.id in names:
            yield Problem(
                (), f"two cells are called {cell.id}", "a value stands twice on an axis, or in include as well"
            )
        names.add(cell.id)


def choose_cells(cells: Sequence[Cell], patterns: Iterable[str]) -> tuple[Cell, ...]:
    """Those whose name is given, or fits a glob.

    Raises:
        InputError: one of the patterns fits none.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        names = [cell.id for cell in cells if fnmatchcase(cell.id, pattern)]
        if not names:
            hint = find_suggestion(pattern, [cell.id for cell in cells])
            raise InputError(f"no cell is called '{pattern}'", hint=hint or "'build-os matrix plan' lists them")
        chosen.update(names)
    return tuple(cell for cell in cells if cell.id in chosen)

"""Everything that is wrong with a definition and the files it names, gathered to be shown at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from builder.core.errors import InputError
from builder.core.once import remember_answer
from builder.definition.explain import parse
from firstboot.config.located import Located, LocatedError, Mark, Problem, decode, load_yaml, render

M = TypeVar("M", bound=BaseModel)

# A required key that is wrong or missing gets one of these, so that the rest of the file can be checked.
_STAND_INS = {"name": "unnamed", "version": "0", "description": "none", "kind": "container"}


class Findings:
    """Problems by file. Fill it with :meth:`add`, then :meth:`raise_errors` once."""

    def __init__(self) -> None:
        self._groups: list[tuple[Located, list[Problem]]] = []
        self._doubtful: list[tuple[Located, frozenset[str]]] = []

    def add(self, located: Located, problems: Iterable[Problem]) -> None:
        """Note problems of one file. What is said about a key whose value was already refused is dropped."""
        doubtful = {key for other, keys in self._doubtful if other is located for key in keys}
        group = next((known for other, known in self._groups if other is located), None)
        if group is None:
            group = []
            self._groups.append((located, group))
        for problem in problems:
            if problem not in group and not (problem.path and problem.path[0] in doubtful):
                group.append(problem)

    def add_error(self, error: LocatedError) -> None:
        """Note all that an error carries."""
        self.add(error.located, error.problems)

    @property
    def has_errors(self) -> bool:
        """Whether anything found so far stops a build."""
        return any(problem.severity == "error" for _, group in self._groups for problem in group)

    def raise_errors(self) -> None:
        """Do nothing if all is well.

        Raises:
            InputError: its text shows every problem, warnings included, under the user's own lines.
        """
        if self.has_errors:
            raise InputError("\n".join(render(located, group) for located, group in self._groups if group))

    def render_warnings(self) -> tuple[str, ...]:
        """Each warning, drawn like an error."""
        return tuple(
            render(located, [problem])
            for located, group in self._groups
            for problem in group
            if problem.severity == "warning"
        )

    def parse(self, model: type[M], located: Located) -> M | None:
        """Validate a file. If parts of it are refused, note why and go on with the rest of it.

        Returns:
            the value, without the keys that were refused; ``None`` if nothing useful is left. A caller may
            look for more to complain about, but must :meth:`raise_errors` before it uses the value.
        """
        self.add(located, located.warnings)
        try:
            return parse(model, located)
        except LocatedError as error:
            self.add_error(error)
            refused = frozenset(str(problem.path[0]) for problem in error.problems if problem.path)
        if not isinstance(located.data, dict):
            return None
        rest = {key: value for key, value in located.data.items() if key not in refused}
        rest |= {key: _STAND_INS[key] for key in refused & _STAND_INS.keys() & model.model_fields.keys()}
        self._doubtful.append((located, refused))
        try:
            return parse(model, located._replace(data=rest))
        except LocatedError:
            return None


def shorten_path(path: Path) -> str:
    """A path as the user would type it: relative to the working directory if it is below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@remember_answer
def read_yaml(path: Path) -> Located:
    """Read a YAML file with its marks.

    Raises:
        LocatedError: it cannot be opened, is not UTF-8, not YAML, or says something twice.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        name = shorten_path(path)
        reason = "this file does not exist" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        raise LocatedError(Located(name, "", None, {}, {}), [Problem((), reason)]) from None
    return load_yaml(decode(data, shorten_path(path)), shorten_path(path))


def make_line_error(
    name: str, text: str, line: int, column: int, message: str, hint: str | None = None
) -> LocatedError:
    """A complaint about a place in a text that is neither YAML nor JSON: a unit, a template."""
    mark = _mark_line(text.split("\n"), line, column)
    return LocatedError(Located(name, text, None, {(): mark}, {}), [Problem((), message, hint)])


def make_lines_error(name: str, text: str, complaints: Sequence[tuple[int, str, str | None]]) -> LocatedError:
    """The same about several lines: the number of each, what is wrong with it, and a hint."""
    lines = text.split("\n")
    marks: dict[tuple[str | int, ...], Mark] = {(number,): _mark_line(lines, number, 1) for number, _, _ in complaints}
    problems = [Problem((number,), message, hint) for number, message, hint in complaints]
    return LocatedError(Located(name, text, None, marks, {}), problems)


def _mark_line(lines: Sequence[str], line: int, column: int) -> Mark:
    """A line from a column to its end."""
    rest = lines[line - 1][column - 1 :] if 0 < line <= len(lines) else ""
    return Mark(line, column, max(1, len(rest.rstrip())))

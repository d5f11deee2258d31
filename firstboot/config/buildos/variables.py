"""``variables`` of ``variant: buildos``: names for values that differ between machines.

A config that declares variables may use them in any value::

    variables:
      name: web-1          # a default
      port: 8080
      site:                # none: it must be given
    hostname: ${name}.${site}.example.org

A value that is nothing but one variable becomes what the setting takes: text, a number, true or false. ``$${`` stands
for ``${``. Values are put in once: what a value says is never looked at again. A config without ``variables`` and
``secrets`` is taken as it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from firstboot.config.buildos.secrets import PREFIX, Secrets, can_hold_secrets
from firstboot.config.butane import Surroundings
from firstboot.config.explain import describe_kind, find_suggestion
from firstboot.config.fields import Field
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import MAX_BYTES, Located, Mark, Path, Problem, find_value
from firstboot.config.yaml_text import parse_scalar

_AS_WRITTEN = ("variant", "version", "variables")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What is escaped, a reference, or something that looks like one.
_TOKEN = re.compile(r"\$\$\{|\$\{([^{}\n]*)\}|\$\{")
_REACH = 1000
_SUGGESTIONS = 100  # looking for a similar name takes time
ESCAPE_HINT = "write $${ for a ${ that is meant as it stands"


class Filled(NamedTuple):
    """A document with values in place of names.

    Attributes:
        located: the document. Its text is still what the user wrote, so that nothing drawn of it shows a secret.
        problems: at paths of the document.
        whole: paths of values that are nothing but a variable, as text.
        secrets: names of the secrets whose values are in it now.
        values: of its variables, as text, for the fragments that it includes.
    """

    located: Located
    problems: list[Problem]
    whole: frozenset[Path]
    secrets: frozenset[str]
    values: dict[str, str]


def fill_in(located: Located, surroundings: Surroundings) -> Filled:
    """Put the values of variables and secrets where their names are."""
    problems: list[Problem] = []
    values = read_variables(located, surroundings.values, problems)
    secrets = Secrets(located.data.get("secrets"), surroundings)
    filling = _Filling(located, values, secrets, problems)
    data = {key: value if key in _AS_WRITTEN else filling.fill(value, (key,)) for key, value in located.data.items()}
    problems += secrets.protect(data, filling.used)
    filled = located._replace(data=data, marks={**located.marks, **filling.marks})
    return Filled(filled, problems, frozenset(filling.whole), frozenset().union(*filling.used.values()), values)


def read_variables(located: Located, given: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    """The variables of a document by name, as text; those that are wrong are left out and complained about."""
    values: dict[str, str] = {}
    variables = located.data.get("variables")
    if variables is None:
        return values
    if not isinstance(variables, dict):
        problems.append(Problem(("variables",), f"expected names with values, found {describe_kind(variables)}"))
        return values
    for name, default in variables.items():
        at = ("variables", name)
        if not _NAME.fullmatch(name):
            hint = "letters, digits and '_', not beginning with a digit"
            problems.append(Problem(at, f"'{name}' cannot be the name of a variable", hint, on_key=True))
        elif isinstance(default, dict | list):
            problems.append(Problem(at, f"expected text, a number, true or false, found {describe_kind(default)}"))
        elif name in given:
            if not _is_like(default, given[name]):
                kind = "true or false" if isinstance(default, bool) else "a number"
                message = f"the variable '{name}' is {kind}, and '{given[name]}' was given"
                problems.append(Problem(at, message))
            values[name] = given[name]
        elif default is None:
            hint = f"give it with --set {name}=..., or a default here"
            problems.append(Problem(at, f"the variable '{name}' has no value", hint, on_key=True))
        else:
            values[name] = _text(default, located.plain.get(at))
    return values


def _is_like(default: Any, text: str) -> bool:
    """Whether a value from outside has its default's type."""
    if default is None or isinstance(default, str):
        return True
    value = parse_scalar(text)
    if isinstance(default, bool):
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: str | float | bool, written: str | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else written or str(value)


class _Filling:
    """Replaces names by values in a copy of the data.

    Attributes:
        marks: better ones than the document's: of the line in a longer text that a problem is about.
        whole: see :class:`Filled`.
        used: the secrets in each value that has some, by path.
    """

    def __init__(self, located: Located, values: Mapping[str, str], secrets: Secrets, problems: list[Problem]) -> None:
        self.marks: dict[Path, Mark] = {}
        self.whole: set[Path] = set()
        self.used: dict[Path, set[str]] = {}
        self._located = located
        self._values = values
        self._secrets = secrets
        self._problems = problems
        self._size = 0

    def fill(self, value: Any, path: Path) -> Any:
        """A value with everything that is in it."""
        if isinstance(value, str):
            return self._filled(value, path) if "${" in value else value
        if isinstance(value, dict):
            return {key: self.fill(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    def _filled(self, text: str, path: Path) -> str:
        whole = _TOKEN.fullmatch(text)
        if whole is not None and whole[1] in self._values:
            self.whole.add(path)
            return self._bounded([self._values[whole[1]]], text, path)
        pieces: list[str] = []
        end = 0
        for token in _TOKEN.finditer(text):
            pieces += (text[end : token.start()], self._token(token, path))
            end = token.end()
        pieces.append(text[end:])
        return self._bounded(pieces, text, path)

    def _bounded(self, pieces: Sequence[str], text: str, path: Path) -> str:
        """The pieces as one, unless all that has been put in is too much by now."""
        self._size += sum(map(len, pieces))
        if self._size > MAX_BYTES:
            self._complain(path, text, f"with its variables the config is larger than {MAX_BYTES} bytes", None)
            return ""
        return "".join(pieces)

    def _token(self, token: re.Match[str], path: Path) -> str:
        name: str | None = token[1]
        if token[0] == "$${":
            return "${"
        if name is None or not _NAME.fullmatch(name.removeprefix(PREFIX)):
            self._complain(path, token[0], f"'{token[0]}' is not the name of a variable", ESCAPE_HINT)
        elif name.startswith(PREFIX):
            return self._secret(name.removeprefix(PREFIX), token[0], path)
        elif name in self._values:
            return self._values[name]
        elif name not in (self._located.data.get("variables") or {}):  # else that has been said
            few = len(self._problems) < _SUGGESTIONS and len(self._values) < _SUGGESTIONS
            hint = (
                find_suggestion(name, self._values) if few else None
            ) or f"declare it under variables:, or {ESCAPE_HINT}"
            self._complain(path, token[0], f"there is no variable '{name}'", hint)
        return token[0]

    def _secret(self, name: str, written: str, path: Path) -> str:
        if not can_hold_secrets(path):
            hint = "in inline contents of storage.files and in password_hash"
            self._complain(path, written, "a secret cannot be used here: others could read it", hint)
            return written
        value = self._secrets.get_text(name)
        if isinstance(value, Problem):
            self._complain(path, written, value.message, value.hint)
            return written
        self.used.setdefault(path, set()).add(name)
        return value

    def _complain(self, path: Path, written: str, message: str, hint: str | None) -> None:
        if path not in self.marks:
            mark = self._line_of(written, path)
            if mark is not None:
                self.marks[path] = mark
        self._problems.append(Problem(path, message, hint))

    def _line_of(self, written: str, path: Path) -> Mark | None:
        """Where in a text of several lines something is written: all of the line, of which nothing may be shown."""
        mark, text, value = self._located.marks.get(path), self._located.text, find_value(self._located.data, path)
        if mark is None or "\n" not in value:
            return None
        start = self._line_starts[mark.line - 1]
        # No further than the value can reach, however it is indented: there may be many to look for.
        start_of_value = text.find(written, start + mark.column - 1, start + mark.column + 8 * len(value) + _REACH)
        number = bisect_right(self._line_starts, start_of_value)
        if start_of_value < 0 or number == mark.line:
            return None
        line = text[self._line_starts[number - 1] : self._end_of_line(start_of_value)].rstrip("\r")
        indent = len(line) - len(line.lstrip())
        return Mark(number, indent + 1, max(1, len(line) - indent))

    def _end_of_line(self, position: int) -> int:
        end = self._located.text.find("\n", position)
        return len(self._located.text) if end < 0 else end

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self._located.text))]


def adapt_variable(whole: frozenset[Path], field: Field, value: Any, path: Path) -> Any:
    """A variable as the setting it stands in wants it; what does not fit is left to the models."""
    if path not in whole or field.of is str or not isinstance(value, str):
        return value
    scalar = parse_scalar(value)
    return scalar if type(scalar) is field.of else value

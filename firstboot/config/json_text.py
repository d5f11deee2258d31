"""Read JSON into plain data with marks, in the dialect of Ignition (Go's encoding/json).

Strict JSON, and two things the standard library's reader cannot do: say where each value stands, and notice
keys that are set twice (the last one wins, objects are merged, with a warning).
"""

from __future__ import annotations

import json.decoder
import re
from bisect import bisect_right
from typing import Any

from firstboot.config.text import (
    MAX_DEPTH,
    MAX_VALUES,
    Located,
    Mark,
    Path,
    Problem,
    check_text,
    refuse,
)

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}
_MAX_DIGITS = 40
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def load_json(text: str, name: str, *, secret_keys: frozenset[str] = frozenset()) -> Located:
    """Read one JSON document; :attr:`Located.warnings` names keys that are set twice.

    Raises:
        LocatedError: syntax errors, NUL characters; a text over 10 MB, nesting over 100, over 100000 values.
    """
    check_text(text, name)
    reader = _Reader(text)
    try:
        data = reader.read_document()
    except _Bad as bad:
        mark = reader.mark(bad.position, 1)
        raise refuse(name, f"JSON syntax: {bad}", text=text, mark=mark, secret_keys=secret_keys) from None
    return Located(name, text, data, reader.marks, reader.key_marks, tuple(reader.warnings), secret_keys)


class _Bad(Exception):
    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.marks: dict[Path, Mark] = {}
        self.key_marks: dict[Path, Mark] = {}
        self.warnings: list[Problem] = []
        self._values = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def mark(self, position: int, length: int) -> Mark:
        line = bisect_right(self._line_starts, position)
        return Mark(line, position - self._line_starts[line - 1] + 1, length)

    def read_document(self) -> Any:
        data, end = self._value(self._skip(0), ())
        end = self._skip(end)
        if end != len(self.text):
            raise _Bad("something follows the end of the document", end)
        return data

    def _skip(self, position: int) -> int:
        match = _SPACE.match(self.text, position)
        assert match is not None
        return match.end()

    def _at(self, position: int) -> str:
        if position >= len(self.text):
            raise _Bad("the text ends too early", max(0, len(self.text) - 1))
        return self.text[position]

    def _value(self, start: int, path: Path) -> tuple[Any, int]:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _Bad(f"more than {MAX_VALUES} values", start)
        char = self._at(start)
        if char in "{[":
            if len(path) >= MAX_DEPTH:
                raise _Bad(f"nested deeper than {MAX_DEPTH} levels", start)
            self.marks[path] = self.mark(start, 1)
            return self._object(start, path) if char == "{" else self._array(start, path)
        value, end = self._string(start) if char == '"' else self._word(start)
        self.marks[path] = self.mark(start, end - start)
        return value, end

    def _string(self, start: int) -> tuple[str, int]:
        try:
            value, end = json.decoder.scanstring(self.text, start + 1, True)  # type: ignore[attr-defined]
        except json.JSONDecodeError as error:
            raise _Bad(error.msg[:1].lower() + error.msg[1:].removesuffix(" at"), error.pos) from None
        # As Go does: half of a UTF-16 pair means nothing on its own.
        return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value), end

    def _word(self, start: int) -> tuple[Any, int]:
        for word, meaning in _WORDS.items():
            if self.text.startswith(word, start):
                return meaning, start + len(word)
        match = _NUMBER.match(self.text, start)
        if match is None:
            raise _Bad(f"a value cannot begin with {self.text[start]!r}", start)
        digits = match[0]
        if match[1] is None and match[2] is None and len(digits) <= _MAX_DIGITS:
            return int(digits), match.end()
        value = float(digits)
        if abs(value) == float("inf"):
            raise _Bad("this number is too large", start)
        return value, match.end()

    def _array(self, start: int, path: Path) -> tuple[list[Any], int]:
        items: list[Any] = []
        position = self._skip(start + 1)
        if self._at(position) == "]":
            return items, position + 1
        while True:
            value, position = self._value(position, (*path, len(items)))
            items.append(value)
            position = self._skip(position)
            char = self._at(position)
            if char == "]":
                return items, position + 1
            if char != ",":
                raise _Bad("expected ',' or ']' after a list element", position)
            position = self._skip(position + 1)

    def _object(self, start: int, path: Path) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        position = self._skip(start + 1)
        if self._at(position) == "}":
            return members, position + 1
        while True:
            if self._at(position) != '"':
                raise _Bad("expected a key in double quotes", position)
            key_start = position
            key, position = self._string(position)
            here = (*path, key)
            if key in members:
                first = self.key_marks[here].line
                hint = f"it is already set on line {first}; the last one counts"
                self.warnings.append(Problem(here, f"'{key}' is set twice", hint, "warning", on_key=True))
            self.key_marks[here] = self.mark(key_start, position - key_start)
            position = self._skip(position)
            if self._at(position) != ":":
                raise _Bad("expected ':' after a key", position)
            value, position = self._value(self._skip(position + 1), here)
            before = members.get(key)
            members[key] = merge_members(before, value) if isinstance(before, dict) else value
            position = self._skip(position)
            char = self._at(position)
            if char == "}":
                return members, position + 1
            if char != ",":
                raise _Bad("expected ',' or '}' after a value", position)
            position = self._skip(position + 1)


def merge_members(before: dict[str, Any], after: Any) -> Any:
    """An object that is written twice: Go decodes the second into the first."""
    if not isinstance(after, dict):
        return after
    out = dict(before)
    for key, value in after.items():
        old = out.get(key)
        out[key] = merge_members(old, value) if isinstance(old, dict) else value
    return out

"""Read YAML into plain data with marks, without YAML 1.1's surprises and without its attacks.

PyYAML's own constructor turns ``no`` into false, ``12:30`` into 750, ``0o644`` into text and dates into
objects, keeps the last of two equal keys, forgets where things stood and expands any alias. So only its
parser is used (libyaml's where it is there, for speed) and data is built here from the parser's events, in
one pass without recursion.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Any

import yaml

from firstboot.config.text import (
    MAX_DEPTH,
    MAX_VALUES,
    Located,
    LocatedError,
    Mark,
    Path,
    Problem,
    check_text,
    refuse,
)

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(
    r"(?P<sign>[-+]?)(?:0b(?P<bin>[01_]+)|0x(?P<hex>[0-9a-fA-F_]+)|0o?(?P<oct>[0-7_]+)|(?P<dec>0|[1-9][0-9_]*))"
)
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*)?\.?[0-9]+(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*\.(?:[eE][-+]?[0-9]+)?")
_DIGITS = frozenset("+-.0123456789")
_MAX_DIGITS = 40  # far beyond 64 bits; what is longer stays text, so that no number takes long to print
_BASES = {"bin": 2, "hex": 16, "oct": 8, "dec": 10}
_TAG = "tag:yaml.org,2002:"


class _Bad(Exception):
    """Reading cannot go on."""

    def __init__(self, message: str, mark: Mark, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mark = mark
        self.hint = hint


def load_yaml(text: str, name: str, *, secret_keys: frozenset[str] = frozenset()) -> Located:
    """Read one YAML document.

    Plain scalars are null, ``true``/``false``, integers (``0644`` and ``0o644`` are both 420), floats or
    text; nothing else is guessed. Keys are always text, as written.

    Args:
        text: the document, with or without a byte order mark.
        name: what to call it in messages.
        secret_keys: settings whose values are never drawn into a message.

    Raises:
        LocatedError: syntax errors, duplicate keys, several documents, unknown tags, NUL characters; a text
            over 10 MB, nesting over 100, more than 100000 values once aliases are expanded.
    """
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    check_text(text, name)
    builder = _Builder()
    try:
        for event in _events(text):
            builder.feed(event)
    except _Bad as bad:
        raise refuse(name, bad.message, text=text, mark=bad.mark, hint=bad.hint, secret_keys=secret_keys) from None
    located = Located(
        name, text, builder.data, builder.marks, builder.key_marks, secret_keys=secret_keys, plain=builder.plain
    )
    if builder.problems:
        raise LocatedError(located, builder.problems)
    return located


def parse_scalar(text: str) -> Any:
    """What a plain (unquoted, untagged) scalar means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | float | None:
    if len(text) > _MAX_DIGITS or text[:1] not in _DIGITS:
        return None
    if match := _INT.fullmatch(text):
        kind = match.lastgroup
        assert kind is not None
        digits = match[kind].replace("_", "")
        if digits:
            return int(match["sign"] + digits, _BASES[kind])
        return None
    # A leading zero that is not octal (0999, a serial number, a telephone number) is text.
    if _FLOAT.fullmatch(text) and not re.match(r"[-+]?0[0-9]+$", text):
        value = float(text.replace("_", ""))
        return value if abs(value) != float("inf") else None
    return None


def _events(text: str) -> Iterator[Any]:
    """The parser's events, with its errors as ours."""
    try:
        yield from yaml.parse(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        mark = Mark(where.line + 1, where.column + 1) if where else Mark(1, 1)
        message = error.problem or "this is not YAML"
        raise _Bad(f"YAML syntax: {message}", mark, _syntax_hint(error)) from None
    except yaml.reader.ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        mark = Mark(text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))
        raise _Bad("the text contains a control character", mark, "is this a text file?") from None


def _syntax_hint(error: yaml.MarkedYAMLError) -> str | None:
    message = error.problem or ""
    if "cannot start any token" in message:
        return "indent with spaces, never tabs, and put text that begins with @ ` % or a tab in quotes"
    if "mapping values are not allowed" in message:
        return "check the indentation; put text that contains ': ' in quotes"
    if error.context and error.context_mark:
        return f"{error.context} that begins on line {error.context_mark.line + 1}"
    return None


class _Open:
    """A mapping or list that is being filled."""

    def __init__(self, path: Path, value: dict[str, Any] | list[Any], anchor: _Anchor | None) -> None:
        self.path = path
        self.value = value
        self.anchor = anchor
        self.key: str | None = None
        self.key_mark: Mark | None = None
        self.seen: dict[str, Mark] = {}


class _Anchor:
    """``&name``: its value and which slice of the journal holds the marks below it."""

    def __init__(self, path: Path, start: int, value: Any = None, end: int | None = None) -> None:
        self.path = path
        self.start = start
        self.value = value
        self.end = end


class _Builder:
    """Builds data and marks from events."""

    def __init__(self) -> None:
        self.data: Any = None
        self.marks: dict[Path, Mark] = {(): Mark(1, 1)}  # an empty document stands at its beginning
        self.key_marks: dict[Path, Mark] = {}
        self.plain: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchor] = {}
        # Every (path, mark, key mark) in the order written: an alias repeats what its anchor holds.
        self._journal: list[tuple[Path, Mark, Mark | None]] = []
        self._documents = 0
        self._second: Any = None

    def feed(self, event: Any) -> None:
        """Take the next event."""
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._second = event
            case yaml.ScalarEvent() | yaml.AliasEvent() | yaml.CollectionStartEvent() if self._second is not None:
                # Nothing after a last '---' is no document to anybody.
                if not isinstance(event, yaml.ScalarEvent) or event.value or event.style or event.tag or event.anchor:
                    raise _Bad("a second document begins here; only one is read", _mark(self._second))
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case _:
                pass

    def _scalar(self, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(top, event.value, _mark(event), event.anchor)
            return
        path, key_mark = self._next_path()
        anchor = self._anchor(event.anchor, path)
        value = _resolve(event)
        self._note(path, _mark(event), key_mark)
        if value is not None and (not isinstance(value, str) or (event.implicit[0] and value[:1] in _DIGITS)):
            self.plain[path] = event.value
        self._put(value)
        if anchor is not None:
            anchor.value, anchor.end = value, len(self._journal)

    def _key(self, top: _Open, key: str, mark: Mark, anchor_name: str | None) -> None:
        if anchor_name is not None:
            self._anchors[anchor_name] = _Anchor((), 0, key, 0)
        if key in top.seen:
            first = top.seen[key].line
            path = (*top.path, key)
            self.problems.append(
                Problem(path, f"'{key}' is set twice", f"it is already set on line {first}", on_key=True)
            )
        top.seen.setdefault(key, mark)
        top.key, top.key_mark = key, mark

    def _start(self, event: Any) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        # go-yaml pays no attention to !!str on a mapping, and configs that rely on that exist.
        _require_tag(event, ("map", "str") if is_map else ("seq",))
        if len(self._stack) >= MAX_DEPTH:
            raise _Bad(f"nested deeper than {MAX_DEPTH} levels", _mark(event))
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            raise _Bad("a key must be plain text, not a mapping or a list", _mark(event))
        path, key_mark = self._next_path()
        anchor = self._anchor(event.anchor, path)
        value: dict[str, Any] | list[Any] = {} if is_map else []
        self._note(path, _mark(event), key_mark)
        if anchor is not None:
            anchor.value = value
        self._stack.append(_Open(path, value, anchor))

    def _end(self) -> None:
        done = self._stack.pop()
        if done.anchor is not None:
            done.anchor.end = len(self._journal)
        self._put(done.value)

    def _alias(self, event: Any) -> None:
        mark = _mark(event)
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            raise _Bad(f"'*{event.anchor}' refers to nothing: there is no '&{event.anchor}' before it", mark)
        if anchor.end is None:
            raise _Bad(f"'*{event.anchor}' refers to itself", mark)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            if not isinstance(anchor.value, str):
                raise _Bad("a key must be plain text", mark)
            self._key(top, anchor.value, mark, None)
            return
        path, key_mark = self._next_path()
        depth = max((len(below) for below, _, _ in self._journal[anchor.start : anchor.end]), default=0)
        if len(path) + depth - len(anchor.path) > MAX_DEPTH:
            raise _Bad(f"nested deeper than {MAX_DEPTH} levels", mark)
        self._note(path, mark, key_mark)
        # What is inside is pointed at where it is written: that is the line to mend.
        for below, its_mark, its_key_mark in self._journal[anchor.start + 1 : anchor.end]:
            self._note(path + below[len(anchor.path) :], its_mark, its_key_mark)
        for below, _, _ in self._journal[anchor.start : anchor.end]:
            if below in self.plain:
                self.plain[path + below[len(anchor.path) :]] = self.plain[below]
        self._put(anchor.value)

    def _anchor(self, name: str | None, path: Path) -> _Anchor | None:
        if name is None:
            return None
        self._anchors[name] = _Anchor(path, len(self._journal))
        return self._anchors[name]

    def _next_path(self) -> tuple[Path, Mark | None]:
        if not self._stack:
            return (), None
        top = self._stack[-1]
        if isinstance(top.value, list):
            return (*top.path, len(top.value)), None
        assert top.key is not None
        return (*top.path, top.key), top.key_mark

    def _note(self, path: Path, mark: Mark, key_mark: Mark | None) -> None:
        if len(self._journal) >= MAX_VALUES:
            raise _Bad(f"more than {MAX_VALUES} values (aliases counted as often as they are used)", mark)
        self._journal.append((path, mark, key_mark))
        self.marks[path] = mark
        if key_mark is not None:
            self.key_marks[path] = key_mark

    def _put(self, value: Any) -> None:
        if not self._stack:
            self.data = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        else:
            assert top.key is not None
            top.value[top.key] = value
            top.key = top.key_mark = None


def _mark(event: Any) -> Mark:
    start, end = event.start_mark, event.end_mark
    length = end.column - start.column if end.line == start.line else 1
    return Mark(start.line + 1, start.column + 1, max(1, length))


def _require_tag(event: Any, kinds: tuple[str, ...]) -> None:
    """Refuse tags that would build anything but plain data."""
    tag = event.tag
    if tag in (None, "!") or tag in {_TAG + kind for kind in kinds}:
        return
    shown = "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
    raise _Bad(f"the tag {shown} is not supported here", _mark(event), "remove it")


def _resolve(event: Any) -> Any:
    if event.tag is None:
        return parse_scalar(event.value) if event.implicit[0] else event.value
    _require_tag(event, ("str", "int", "float", "bool", "null", "binary"))
    kind = event.tag.removeprefix(_TAG)
    if kind == "binary":
        return _binary(event)
    if kind in ("!", "str"):
        return event.value
    value = parse_scalar(event.value)
    wanted = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}[kind]
    if type(value) not in wanted:
        raise _Bad(f"this is not what its tag !!{kind} says", _mark(event))
    return float(value) if kind == "float" else value


def _binary(event: Any) -> str:
    """``!!binary``: base64 of what must be text here."""
    try:
        return binascii.a2b_base64("".join(event.value.split()), strict_mode=True).decode()
    except (ValueError, UnicodeDecodeError):
        raise _Bad("this is not base64 of UTF-8 text", _mark(event)) from None

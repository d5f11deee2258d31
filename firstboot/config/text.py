"""Values that remember where in the user's text they came from, and the drawing that points there.

The front door for callers is :mod:`firstboot.config.located`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from firstboot.config.lazy import import_lazily
from firstboot.config.named_tuple import NamedTuple

if TYPE_CHECKING:
    from firstboot.config import redaction
    from firstboot.config.redaction import Secrets
else:
    redaction = import_lazily("firstboot.config.redaction")

# A JSON path without its ``$``: mapping keys are text, list positions are numbers.
Path = tuple[str | int, ...]

# Bounds on what is read at all. A first boot must answer within seconds and 100 MB whatever it is fed.
MAX_BYTES = 10_000_000
MAX_DEPTH = 100
MAX_VALUES = 100_000  # after aliases are expanded

_WINDOW = 110  # columns of a source line that are shown
_CONTEXT = 40  # columns shown left of the caret when a line is longer than that


class Mark(NamedTuple):
    """A place in a text. Lines and columns count from 1, columns in characters.

    ``length`` is how many characters the thing takes on its first line; it only sizes the caret and so plays
    no part in comparisons.
    """

    line: int
    column: int
    length: int = 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and self[:2] == other[:2]

    def __hash__(self) -> int:
        return hash(self[:2])


class Problem(NamedTuple):
    """Something to tell the user about the value at ``path``, or about its key if ``on_key``."""

    path: Path
    message: str
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"
    on_key: bool = False


class Located(NamedTuple):
    """A document: plain JSON-like data, and where each value stands.

    Treat the data as read-only: aliases share objects.

    Attributes:
        name: what to call the text in messages, usually its file name.
        text: the whole text.
        data: dict, list, str, int, float, bool or None.
        marks: where the value at a path begins.
        key_marks: where the key of the value at a path begins; absent for list elements.
        warnings: what was noticed while reading that does not stop it.
        secret_keys: names of settings whose values are never drawn into a message.
        plain: what YAML has without quotes and looks like a number or a word with a meaning, as it is written:
            ``0o644`` for 420, ``0999`` for itself.
    """

    name: str
    text: str
    data: Any
    marks: dict[Path, Mark]
    key_marks: dict[Path, Mark]
    warnings: tuple[Problem, ...] = ()
    secret_keys: frozenset[str] = frozenset()
    plain: Mapping[Path, str] = MappingProxyType({})

    def get_secrets(self) -> redaction.Secrets:
        """What of it is never shown."""
        known = _known_secrets.get("last")
        # A check may have pointed into a text since: that is a mark more.
        if known is None or known[0] is not self or known[1] != len(self.marks):
            secrets = redaction.Secrets(self.text, self.data, self.marks, self.key_marks, self.secret_keys)
            _known_secrets["last"] = known = (self, len(self.marks), secrets)
        return known[2]

    def mark_of(self, path: Path, *, on_key: bool = False) -> Mark | None:
        """Where to point for ``path``: the thing itself, else its nearest ancestor that was written."""
        if on_key and path in self.key_marks:
            return self.key_marks[path]
        if path in self.marks:
            return self.marks[path]
        for length in range(len(path) - 1, -1, -1):
            parent = path[:length]
            # A whole block is pointed at by its key: its first line is usually something unrelated.
            if parent in self.key_marks:
                return self.key_marks[parent]
            if parent in self.marks:
                return self.marks[parent]
        return None


# Of the document that was spoken of last: a text may have very many problems that are drawn one by one.
_known_secrets: dict[str, tuple[Located, int, Secrets]] = {}


class LocatedError(Exception):
    """A text that cannot be used, with everything that is wrong with it. ``str()`` is :func:`render`."""

    def __init__(self, located: Located, problems: Sequence[Problem]) -> None:
        super().__init__(located.name)
        self.located = located
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return render(self.located, self.problems)


def format_path(path: Path) -> str:
    """``$.files[0].mode``; keys that are not plain words are quoted."""
    parts = ["$"]
    for segment in path:
        if isinstance(segment, int):
            parts.append(f"[{segment}]")
        elif re.fullmatch(r"[\w<-]+", segment):
            parts.append(f".{segment}")
        else:
            parts.append("[" + repr(segment[:80]) + "]")
    return "".join(parts)


def render(located: Located, problems: Iterable[Problem]) -> str:
    """Draw problems under the lines they are about, in the order they stand in the text."""
    return "\n".join(draw_each(located, problems))


def draw_each(located: Located, problems: Iterable[Problem]) -> list[str]:
    """The same, each by itself. A text may be large and have very many problems: it is gone through once."""
    marked = [(located.mark_of(problem.path, on_key=problem.on_key), problem) for problem in problems]
    marked.sort(key=lambda pair: (pair[0].line, pair[0].column) if pair[0] else (0, 0))
    numbers = sorted({mark.line for mark, _ in marked if mark})
    lines = {number: (begin, end) for number, begin, end in _line_bounds(located.text, numbers)}
    secrets = located.get_secrets() if marked else None
    return [_draw(located, mark, problem, lines, secrets) for mark, problem in marked if secrets is not None]


def _draw(
    located: Located, mark: Mark | None, problem: Problem, lines: dict[int, tuple[int, int]], secrets: Secrets
) -> str:
    label = "warning: " if problem.severity == "warning" else ""
    message = make_printable(secrets.conceal(problem.message))
    if mark is None:
        drawn = [f"{located.name}: {label}{message}"]
        pad = "  "
    else:
        drawn = [f"{located.name}:{mark.line}:{mark.column}: {label}{message}"]
        number = str(mark.line)
        pad = " " * (len(number) + 2)
        shown, caret_at, caret_length = _excerpt(mark, lines[mark.line], secrets)
        where = f" {format_path(problem.path)}" if problem.path else ""
        drawn += [
            f"{pad}|",
            f" {number} | {shown}".rstrip(),
            f"{pad}| {' ' * caret_at}{'^' * caret_length}{where}",
        ]
    if problem.hint:
        drawn.append(f"{pad}= {make_printable(secrets.conceal(problem.hint))}")
    return "\n".join(drawn)


def make_printable(text: str) -> str:
    """``text`` without characters that could move the cursor or colour the console."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _excerpt(mark: Mark, line: tuple[int, int], secrets: Secrets) -> tuple[str, int, int]:
    """The part of the line to show, where the caret starts in it and how long it is."""
    begin, end = line
    length = end - begin
    column = min(mark.column - 1, length)
    start = max(0, column - _CONTEXT) if length > _WINDOW else 0
    shown = secrets.show_line(mark.line, begin, end, start, min(start + _WINDOW, length)).replace("\t", " ")
    caret = max(1, min(mark.length, len(shown) - (column - start)))
    if start:
        shown = "..." + shown[3:]
    if start + _WINDOW < length:
        shown = shown[:-3] + "..."
    return make_printable(shown), column - start, caret


def _line_bounds(text: str, numbers: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """Where each of these lines, in ascending order, begins and ends. No copies: a line can be a whole large text."""
    begin, at = 0, 1
    for number in numbers:
        while at < number:
            newline = text.find("\n", begin)
            if newline < 0:
                break  # a parser may call the end of the text one line more
            begin, at = newline + 1, at + 1
        if at < number:
            yield number, len(text), len(text)
            continue
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        yield number, begin, end - 1 if end > begin and text[end - 1] == "\r" else end


def find_value(data: Any, path: Path) -> Any:
    """The value at ``path``, or ``None`` where the path leads nowhere."""
    for segment in path:
        if isinstance(data, dict):
            data = data.get(segment)
        elif isinstance(data, list) and isinstance(segment, int) and 0 <= segment < len(data):
            data = data[segment]
        else:
            return None
    return data


def decode(data: bytes, name: str) -> str:
    """The text of a config file.

    Raises:
        LocatedError: it is larger than :data:`MAX_BYTES`, not UTF-8 (UTF-16 is named), or holds a NUL byte.
    """
    if len(data) > MAX_BYTES:
        raise refuse(name, describe_too_large(len(data)))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(data) > 1 and 0 in data[:2]):
        raise refuse(name, "this is UTF-16 or binary data, not text", hint="save the file as UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        mark = Mark(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        # Only what is shown of it: binary data takes four times its size as text.
        line = before.rfind(b"\n") + 1
        text = "\n" * (mark.line - 1) + data[line : error.start + _WINDOW].decode("utf-8", "replace")
        raise refuse(name, "this is not UTF-8 text", text=text, mark=mark, hint="save the file as UTF-8") from None


def describe_too_large(size: int) -> str:
    """The message for a text of ``size`` bytes or characters."""
    return f"the text is {size} bytes long; at most {MAX_BYTES} are read"


def refuse(
    name: str,
    message: str,
    *,
    text: str = "",
    mark: Mark | None = None,
    hint: str | None = None,
    secret_keys: frozenset[str] = frozenset(),
) -> LocatedError:
    """An error about a text as a whole, pointing at ``mark`` if there is one."""
    located = Located(name, text, None, {} if mark is None else {(): mark}, {}, secret_keys=secret_keys)
    return LocatedError(located, [Problem((), message, hint)])


def check_text(text: str, name: str) -> None:
    """Refuse what no parser should see: too much, NUL.

    Raises:
        LocatedError
    """
    if len(text) > MAX_BYTES:
        raise refuse(name, describe_too_large(len(text)))
    where = text.find("\0")
    if where >= 0:
        mark = Mark(text.count("\n", 0, where) + 1, where - text.rfind("\n", 0, where))
        raise refuse(name, "the text contains a NUL character", text=text, mark=mark, hint="is this a text file?")

"""What is never shown of a config: one rule for every line that is drawn, said, logged or kept.

A secret is known by its place (the hash of a password, the value of a header, inline contents, a data URL) or by its
looks, wherever it stands: what a URL has before ``@`` and after ``?``, ``Environment=`` of a unit, a value that is
called a password or a token, the hash of a password, a private key.

What is hidden too much costs somebody a look into their own file; what is shown is in a log for ever.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from firstboot.config.lazy import import_lazily
from firstboot.config.named_tuple import NamedTuple

if TYPE_CHECKING:
    import difflib
else:
    difflib = import_lazily("difflib")

Path = tuple[str | int, ...]
Span = tuple[int, int]

NOT_SHOWN = "(not shown)"
_CONTENTS = "inline"  # secret as a whole, but its words are ordinary ones
_HEADERS = frozenset({"httpHeaders", "http_headers"})
_SHORTEST = 6  # characters: less is found in too many words
_BEFORE = 2048  # characters of a long line that are looked at before what is shown of it
_MOST = 1 << 16  # characters of one value that are looked through

# All have bounds: a text can be ten megabytes of whatever somebody thought of. None wants the beginning of a word: in a
# quoted text '\\n' is before it.
_NAMES = (
    r"passw(?:or)?d|passphrase|(?<![a-z])pass|secret|token|(?:api|private|access|preshared)[_-]?key|signature"
    r"|(?<![a-z])psk|cookie"
)
# Of a line that does not go on in the next one, also of one inside a quoted text.
_END = r"(?<!\\)(?=\\[nr]|[\r\n]|\Z)|\Z"
_PLAIN = r"/|%[dt]/|[\[{|>]|(?:true|false|yes|no|null|~|\d{1,5})\b"  # a path, a list, a switch, a number
_BY_LOOKS = (
    # Units (systemd.exec(5)), and what systemd says of them.
    rf"(?<!Pass)(?<!Unset)(?:Environment|SetCredential|SetCredentialEncrypted)=(?P<unit>[^\s\"'].*?|[\"'].*?)(?:{_END})",
    rf"environment assignment, ignoring: (?P<said>.*?)(?:{_END})",
    rf"Authorization[\"']?[ \t]{{0,3}}[:=][ \t]{{0,3}}(?P<authorization>\S.*?)(?:{_END})",
    r"Bearer[ \t]{1,3}(?P<bearer>[\w+/=.~-]{8,})",
    # NAME=VALUE, --name value; of credentials on a kernel's command line the name is free (systemd(1)).
    rf"(?:{_NAMES})[\w-]{{0,40}}[\"']?[ \t]{{0,3}}=[ \t]{{0,3}}(?!{_PLAIN})(?P<equals>\"[^\"]*\"|'[^']*'|[^\s\"',;&]+)",
    rf"--[\w-]{{0,40}}?(?:{_NAMES})[\s,=\"']{{1,6}}(?!{_PLAIN}|--)(?P<option>[^\s\"',\]]+)",
    r"systemd\.set_credential(?:_binary)?=(?P<credential>[^\s\"']+)",
    r"(?P<hash>\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|md5)\$[^\s:\"',]+)",
    rf"-----BEGIN [A-Z ]{{0,30}}PRIVATE KEY-----(?P<pem>.+?)(?:{_END})",
    r"(?P<known>(?:(?<![A-Za-z0-9])|(?<=\\n))(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,})\b)",
    r"data:(?P<data>[^\s\"',]{0,200},[^\s\"']*)",
)
# Only in lines of a config: in a sentence a colon comes after many words.
_IN_LINES = (
    rf"(?:{_NAMES})[\w-]{{0,40}}[\"']?[ \t]{{0,3}}:[ \t]{{1,3}}(?!{_PLAIN})(?P<colon>\"[^\"]*\"|'[^']*'|[^\s\"',#]+)",
    rf"(?:{_NAMES})[\w-]{{0,40}}\":(?P<quoted>\"[^\"]*\")",
)
# What may be shown of a line of a text that cannot be read, where nobody knows what belongs to what.
_KEY = re.compile(r"(?:(?<=[\s{,\[])|^)[\"']?(?P<key>[A-Za-z_]{1,32})[\"']?[ \t]{0,3}:(?=[\s\"'\[{]|$)")
_WORD = re.compile(r"[ \t]*[\"']?(?P<word>[\w./@+-]{1,64})[\"']?(?=[ \t]*(?:[,}\]]|$|#))")
_HARMLESS = frozenset(
    (
        *("device", "enabled", "format", "gid", "group", "groups", "hard", "home_dir", "homeDir", "hostname", "id"),
        *("label", "level", "locale", "mask", "mode", "name", "number", "overwrite", "path", "shell", "should_exist"),
        *("shouldExist", "system", "target", "timezone", "type", "uid", "user", "variant", "version"),
        *("with_mount_unit", "wipe_filesystem", "wipeFilesystem", "wipe_table", "wipeTable"),
    )
)
_URL = r"://[^\s\"<>]+"


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], ...], tuple[re.Pattern[str], ...], re.Pattern[str]]:
    compiled = [
        tuple(re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in group) for group in (_BY_LOOKS, _IN_LINES)
    ]
    return compiled[0], compiled[1], re.compile(_URL)


def list_spans(text: str, *, line: bool = False) -> Iterator[Span]:
    """Where something stands that looks like a secret; ``line`` says that it is a line of a config."""
    if not any(mark in text for mark in ("=", ":", "$", "--", "_", "Bearer")):
        return
    by_looks, in_lines, url = _patterns()
    if "://" in text:
        for match in url.finditer(text):
            yield from _of_url(match[0].rstrip("'),.;:]"), match.start())
    for pattern in (*by_looks, *(in_lines if line else ())):
        for match in pattern.finditer(text):
            if match[match.lastgroup or 0] != NOT_SHOWN:
                yield match.span(match.lastgroup or 0)


def _of_url(url: str, at: int) -> Iterator[Span]:
    begin = len("://")
    head, question, query = url.partition("?")
    if question and query and not query.startswith(("...", NOT_SHOWN)):
        yield at + len(head) + 1, at + len(url)
    authority = url[begin:].partition("/")[0]
    last = url.rfind("@")
    if "@" not in authority and ":" not in url[begin:last]:
        return  # at a later '@' there is a name or a version
    if last > begin and not url.startswith(("@sha256:", "@sha512:"), last):
        yield at + begin, at + last


def conceal(text: str) -> str:
    """A text for people without what looks like a secret."""
    return _cover(text, list_spans(text))


def conceal_lines(text: str) -> list[str]:
    """The lines of a file without what looks like a secret; as many as there are."""
    spans = list(list_spans(text, line=True))
    lines = []
    at = 0
    for line in text.splitlines(keepends=True):
        end = at + len(line.rstrip("\r\n"))
        inside = [(max(left, at) - at, min(right, end) - at) for left, right in spans if left < end and right > at]
        lines.append(_cover(text[at:end], inside))
        at += len(line)
    return lines


def _cover(text: str, spans: Iterable[Span], *, keep_width: bool = False) -> str:
    """Replace spans; with ``keep_width`` a caret under the line stays true."""
    end = len(text)
    for left, right in sorted(_joined(spans), reverse=True):
        right = min(right, end)
        width = right - left
        if width <= 0:
            continue
        cover = NOT_SHOWN
        if keep_width:
            cover = NOT_SHOWN.ljust(width) if width >= len(NOT_SHOWN) else "*" * width
        text = text[:left] + cover + text[right:]
    return text


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for left, right in sorted(spans):
        if joined and left <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(right, joined[-1][1]))
        else:
            joined.append((left, right))
    return joined


class Start(NamedTuple):
    """Where a value begins, in lines and columns that count from 1, and how long it is in that line."""

    line: int
    column: int
    length: int


class Secrets:
    """The secrets of one document.

    Args:
        text: the document.
        data: what it says; ``None`` if it could not be read.
        marks: where values begin.
        key_marks: where keys begin.
        names: names of settings whose values are secret; none where a text has no such settings.
    """

    def __init__(
        self,
        text: str,
        data: Any,
        marks: Mapping[Path, Sequence[int]],
        key_marks: Mapping[Path, Sequence[int]],
        names: frozenset[str],
    ) -> None:
        self._text = text
        self._data = data
        self._names = names
        self._secret_at: dict[int, list[Start]] = {}
        self._values: set[str] = set()
        self._lines: set[str] = set()
        self._starts: list[tuple[int, int, bool]] = []
        self._like: dict[tuple[str, frozenset[str]], bool] = {}
        if data is not None and names:
            self._gather(marks, key_marks)

    def _gather(self, marks: Mapping[Path, Sequence[int]], key_marks: Mapping[Path, Sequence[int]]) -> None:
        scalars = dict(_scalars(self._data))
        for path, mark in marks.items():
            # A line inside a text has a mark as well.
            place = path[:-1] if path[:-1] in scalars else path
            value = scalars.get(place)
            secret = isinstance(value, str) and self._is_secret(place, value)
            self._starts.append((mark[0], mark[1], secret))
            if secret:
                self._secret_at.setdefault(mark[0], []).append(Start(*mark))
        self._starts += [(mark[0], mark[1], False) for mark in key_marks.values()]
        self._starts.sort()
        for path, value in scalars.items():
            if not isinstance(value, str):
                continue
            if not self._is_secret(path, value):
                for left, right in list_spans(value[:_MOST], line=True):
                    self._add(value[left:right])
            elif _CONTENTS in path:
                self._lines.update(
                    stripped for line in value.splitlines() if len(stripped := line.strip()) >= _SHORTEST
                )
            elif not value.startswith("data:"):
                self._add(value)

    def _add(self, value: str) -> None:
        """A secret, and its words: messages quote those as well. Names of variables and paths are none."""
        for word in (value, *re.split(r"[\s\"'&]+", value)):
            secret = word.partition("=")[2] or word
            if len(secret) >= _SHORTEST and not secret.startswith("/"):
                self._values.add(secret)

    def _is_secret(self, path: Path, value: str) -> bool:
        """Data URLs are contents under whatever name."""
        return (
            value.startswith("data:")
            or any(self._is_like(segment, self._names) for segment in path)
            or (path[-1:] != ("name",) and any(self._is_like(segment, _HEADERS) for segment in path[:-1]))
            or (len(path) > 1 and path[-2] == "custom" and path[-1] != "pin")
        )

    def conceal(self, message: str) -> str:
        """A message about the document, without its secrets."""
        message = conceal(message)
        if self._values or self._lines:
            message = re.sub(r"'([^'\n]+)'", self._unless_known, message)
        if self._values:
            message = re.sub(r"([^\s\"'&]+)", self._unless_known, message)
            message = re.sub(r"([^\s:=\"'&,;()]+)", self._unless_known, message)
        return message

    def _unless_known(self, match: re.Match[str]) -> str:
        word = match[1]
        if word in self._values or (match[0] != word and word.strip() in self._lines):
            return match[0].replace(word, NOT_SHOWN)
        return match[0]

    def show_line(self, number: int, begin: int, end: int, start: int, stop: int) -> str:
        """What may be shown of a line, from column ``start`` to ``stop`` (counted from 0), as wide as it is.

        Args:
            number: of the line.
            begin: where it begins in the text.
            end: where it ends.
        """
        before = max(0, start - _BEFORE)
        looked_at = self._text[begin + before : min(begin + stop, end)]
        spans = [(left - before, right - before) for left, right in self._in_line(number, begin, end)]
        spans += list_spans(looked_at, line=True)
        if before and not re.search(r"[\s\"']", looked_at[: start - before]):
            spans.append((0, len(looked_at)))  # one word of thousands of characters
        spans = [(max(left, 0), right) for left, right in spans if right > 0]
        return _cover(looked_at, spans, keep_width=True)[start - before :]

    def _in_line(self, number: int, begin: int, end: int) -> Iterator[Span]:
        """By place, in columns of the line."""
        if not self._names:
            return
        if self._data is None:
            yield from _apart(self._text[begin:end], self._of_unreadable(begin, end))
            return
        for start in self._secret_at.get(number, ()):
            yield start.column - 1, start.column - 1 + start.length
        # What began in a line above and may go on in this one: up to the first thing that begins here.
        at = bisect_left(self._starts, (number, 0, False))
        if (at and self._starts[at - 1][2]) or self._continues_environment(begin):
            line = self._text[begin:end]
            here = at < len(self._starts) and self._starts[at][0] == number
            upto = self._starts[at][1] - 1 if here else len(line)
            if line[:upto].strip(" \t-?[]{},"):
                yield len(line) - len(line.lstrip()), upto

    def _continues_environment(self, begin: int) -> bool:
        """Whether the line goes on with an option of a unit that began above with a secret."""
        while begin > 0:
            above = self._text.rfind("\n", 0, begin - 1) + 1
            line = self._text[above : begin - 1].rstrip("\r")
            if not line.endswith("\\"):
                return False
            if next(list_spans(line, line=True), None) is not None:
                return True
            begin = above
        return False

    def _of_unreadable(self, begin: int, end: int) -> Iterator[Span]:
        """All but the names of settings, and the values of those that never have a secret."""
        line = self._text[begin:end]
        if self._is_below_a_secret(begin, line):
            yield 0, len(line)
            return
        at = 0
        for match in _KEY.finditer(line):
            yield at, match.start()
            at = match.end()
            word = _WORD.match(line, at) if match["key"] in _HARMLESS else None
            at = at if word is None else word.end()
        yield at, len(line)

    def _is_below_a_secret(self, begin: int, line: str) -> bool:
        """Whether the lines above, by their indentation, say that this one is part of a secret value."""
        depth = len(line) - len(line.lstrip())
        while begin > 0 and depth > 0:
            above = self._text.rfind("\n", 0, begin - 1) + 1
            other = self._text[above : begin - 1]
            indent = len(other) - len(other.lstrip())
            if other.strip() and indent < depth:
                depth = indent
                key = _KEY.search(other)
                if key is not None and self._is_like(key["key"], self._names):
                    return True
            begin = above
        return False

    def _is_like(self, name: str | int, names: frozenset[str]) -> bool:
        """Whether it is one of the names, or one with a slip in it."""
        if not isinstance(name, str):
            return False
        if (name, names) not in self._like:
            close = [other for other in names if _could_be(name, other)]
            self._like[name, names] = name in names or bool(close and difflib.get_close_matches(name, close, 1, 0.8))
        return self._like[name, names]


def _could_be(name: str, other: str) -> bool:
    """Whether a closer look is worth its time: a text may have very many names."""
    return abs(len(name) - len(other)) <= 3 and len({*name} & {*other}) >= len({*other}) - 2


def _apart(line: str, spans: Iterable[Span]) -> Iterator[Span]:
    """The words of spans; what is between them, and brackets at the ends, is shown."""
    for left, right in spans:
        for match in re.finditer(r"[^\s{}\[\],](?:[^\n]*[^\s{}\[\],])?", line[left:right]):
            if match[0] not in ("-", '"', "'", ":"):
                yield left + match.start(), left + match.end()


def _scalars(data: Any) -> Iterator[tuple[Path, Any]]:
    pending: list[tuple[Path, Any]] = [((), data)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            pending += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            pending += [((*path, index), item) for index, item in enumerate(value)]
        else:
            yield path, value

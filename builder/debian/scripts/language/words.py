"""Words and what is inside them: quotes, parameters, substitutions. The half of the parser that knows no commands.

Source: POSIX.1-2024, "Shell Command Language", 2.2 (quoting), 2.3 (tokens), 2.6 (expansions).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.debian.scripts.language.syntax import Arithmetic, Literal, Parameter, Part, Substitution, Word

if TYPE_CHECKING:
    from builder.debian.scripts.language.syntax import Command

MAX_DEPTH = 60  # nested substitutions and commands; Debian's deepest is under ten
_PLAIN = re.compile(r"[^\s|&;<>()$`\"'\\]+")
_PLAIN_IN_QUOTES = re.compile(r"[^\"$`\\]+")
_PLAIN_IN_DOCUMENT = re.compile(r"[^$`\\]+")
_PLAIN_IN_BRACES = re.compile(r"[^}$`\"'\\]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#?$!-]")
_BRACED_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_OPERATOR = re.compile(r":?[-=?+]|##?|%%?|//|/[#%]?|\^\^?|,,?|:")
_INDIRECT = re.compile(r"!([A-Za-z_][A-Za-z0-9_]*)(\[[@*]\])?\}")


class ScriptSyntaxError(Exception):
    """A script is not what the grammar allows, or uses what we do not know (arrays ...)."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


class WordReader:
    """A position in a script's text. The parser of commands builds on it, because ``$(...)`` has commands in it."""

    def __init__(self, text: str, line: int = 1, depth: int = 0) -> None:
        self.text = text
        self.at = 0
        self._first_line = line
        self._depth = depth
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        if depth > MAX_DEPTH:
            raise ScriptSyntaxError(line, "it is nested too deeply")

    # --- position ----------------------------------------------------------------------------------

    @property
    def line(self) -> int:
        """The line of the current position, counted from 1."""
        return self.locate_line(self.at)

    def locate_line(self, position: int) -> int:
        """The line of a position."""
        low, high = 0, len(self._newlines)
        while low < high:
            middle = (low + high) // 2
            if self._newlines[middle] < position:
                low = middle + 1
            else:
                high = middle
        return self._first_line + low

    def peek(self, count: int = 1) -> str:
        """The next characters, without taking them."""
        return self.text[self.at : self.at + count]

    def fail(self, what: str) -> ScriptSyntaxError:
        """An error at the current position."""
        return ScriptSyntaxError(self.line, what)

    # --- words -------------------------------------------------------------------------------------

    def read_word(self, *, regex: bool = False) -> Word | None:
        """The word that begins here, or ``None`` if none does.

        Args:
            regex: it is what ``=~`` of bash compares with, to which parentheses and ``|`` belong.
        """
        start, depth = self.at, 0
        parts: list[Part] = []
        text, end = self.text, len(self.text)
        while self.at < end:
            match = _PLAIN.match(text, self.at)
            if match:
                parts.append(Literal(match[0], quoted=False))
                self.at = match.end()
                continue
            if self._special(parts):
                continue
            char = self.peek()
            if not regex or (char not in "()|" and not depth) or (char == ")" and not depth):
                break
            depth += (char == "(") - (char == ")")
            parts.append(Literal(char, quoted=False))
            self.at += 1
        if self.at == start:
            return None
        return Word(_joined(parts), text[start : self.at])

    def _special(self, parts: list[Part]) -> bool:
        """One quoted or expanded part; ``False`` at what ends a word."""
        char = self.peek()
        if char == "\\":
            following = self.text[self.at + 1 : self.at + 2]
            if following != "\n":
                parts.append(Literal(following or "\\", quoted=True))
            self.at += 2
        elif char == "'":
            parts.append(self._single_quoted())
        elif char == '"':
            self.at += 1
            inner = self._until('"', _PLAIN_IN_QUOTES)
            parts.extend(inner or [Literal("", quoted=True)])  # "" is a word although nothing is in it
            self.at += 1
        elif char in "$`" and char:
            parts.append(self._expansion(quoted=False))
        else:
            return False
        return True

    def _single_quoted(self) -> Literal:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise self.fail("a quote is not closed")
        part = Literal(self.text[self.at + 1 : end], quoted=True)
        self.at = end + 1
        return part

    def _until(self, closing: str, plain: re.Pattern[str]) -> list[Part]:
        """The parts of a double-quoted string or here-document, up to ``closing`` (empty: the end of the text)."""
        parts: list[Part] = []
        while True:
            if self.at >= len(self.text):
                if closing:
                    raise self.fail("a quote is not closed")
                return parts
            match = plain.match(self.text, self.at)
            if match:
                parts.append(Literal(match[0], quoted=True))
                self.at = match.end()
                continue
            char = self.peek()
            if char == closing:
                return parts
            if char == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                if following == "\n":
                    pass
                elif following and following in '$`\\"':
                    parts.append(Literal(following if following != '"' or closing else '\\"', quoted=True))
                else:
                    parts.append(Literal("\\" + following, quoted=True))
                self.at += 2
            else:
                parts.append(self._expansion(quoted=True))

    def read_document(self) -> Word:
        """All the text as the body of a here-document whose delimiter was not quoted."""
        parts = self._until("", _PLAIN_IN_DOCUMENT)
        return Word(_joined(parts), self.text)

    # --- expansions --------------------------------------------------------------------------------

    def _expansion(self, *, quoted: bool) -> Part:
        if self.peek() == "`":
            return Substitution(self._backquoted(quoted=quoted), quoted)
        following = self.text[self.at + 1 : self.at + 2]
        if following == "(":
            if self.peek(3) == "$((" and (part := self._arithmetic(quoted=quoted)) is not None:
                return part
            self.at += 2
            body = self.parse_commands_until_parenthesis()
            return Substitution(body, quoted)
        if following == "{":
            return self._braced(quoted=quoted)
        match = _NAME.match(self.text, self.at + 1)
        if match:
            self.at = match.end()
            return Parameter(match[0], "", None, quoted)
        self.at += 1
        return Literal("$", quoted)

    def parse_commands_until_parenthesis(self) -> Command:
        """The commands up to the closing parenthesis, which is taken."""
        raise NotImplementedError

    def parse_inner(self, text: str, line: int) -> Command:
        """The commands of another text, as nested deeper than this one."""
        raise NotImplementedError

    def _backquoted(self, *, quoted: bool) -> Command:
        line = self.line
        end = self.at + 1
        while end < len(self.text) and self.text[end] != "`":
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            raise self.fail("a backquote is not closed")
        inner = self.text[self.at + 1 : end]
        escaped = '[$`\\\\"]' if quoted else "[$`\\\\]"
        self.at = end + 1
        return self.parse_inner(re.sub(rf"\\({escaped})", r"\1", inner), line)

    def _arithmetic(self, *, quoted: bool) -> Arithmetic | None:
        depth, position = 0, self.at + 3
        while position < len(self.text):
            char = self.text[position]
            if char == "(":
                depth += 1
            elif char == ")":
                if depth == 0:
                    break
                depth -= 1
            position += 1
        if self.text[position : position + 2] != "))":
            return None  # $( (a subshell) )
        inner = type(self)(self.text[self.at + 3 : position], self.line, self._depth + 1)
        expression = inner.read_document()
        self.at = position + 2
        return Arithmetic(expression, quoted)

    def _braced(self, *, quoted: bool) -> Parameter:
        self.at += 2
        if match := _INDIRECT.match(self.text, self.at):
            self.at = match.end()
            return Parameter(match[1], "keys" if match[2] else "indirect", None, quoted)
        length = self.peek() == "#" and self.text[self.at + 1 : self.at + 2] not in ("}", "")
        if length and (match := _BRACED_NAME.match(self.text, self.at + 1)):
            before, self.at = self.at, match.end()
            subscript = self._subscript()
            if self.peek() == "}":
                self.at += 1
                return Parameter(match[0], "length", None, quoted, subscript)
            self.at = before
        match = _BRACED_NAME.match(self.text, self.at)
        if not match:
            raise self.fail("an expansion that is not understood")
        name = match[0]
        self.at = match.end()
        subscript = self._subscript()
        if self.peek() == "}":
            self.at += 1
            return Parameter(name, "", None, quoted, subscript)
        match = _OPERATOR.match(self.text, self.at)
        if not match:
            raise self.fail(f"an expansion that is not understood: ${{{name}{self.peek(10)}")
        self.at = match.end()
        operator = match[0]
        stop = "/" if operator.startswith("/") else ":" if operator == ":" else ""
        word = self._word_in_braces(quoted=quoted, stop=stop)
        second = self._word_in_braces(quoted=quoted) if stop and self.text[self.at - 1] == stop else None
        return Parameter(name, operator, word, quoted, subscript, second)

    def _subscript(self) -> Word | None:
        """``[key]`` after an array's name; the key is a word of its own."""
        if self.peek() != "[":
            return None
        depth, end = 0, self.at
        while end < len(self.text):
            depth += {"[": 1, "]": -1}.get(self.text[end], 0)
            if depth == 0:
                break
            end += 1
        else:
            raise self.fail("a subscript is not closed")
        key = self.text[self.at + 1 : end]
        self.at = end + 1
        return type(self)(key.strip("'\""), self.line, self._depth + 1).read_document()

    def _word_in_braces(self, *, quoted: bool, stop: str = "") -> Word:
        """The word up to the closing brace, or to ``stop``, which is taken."""
        start = self.at
        parts: list[Part] = []
        plain = re.compile(rf"[^}}$`\"'\\{stop}]+") if stop else _PLAIN_IN_BRACES
        while True:
            match = plain.match(self.text, self.at)
            if match:
                parts.append(Literal(match[0], quoted=False))
                self.at = match.end()
                continue
            char = self.peek()
            if not char:
                raise self.fail("a brace is not closed")
            if char == "}" or (stop and char == stop):
                self.at += 1
                return Word(_joined(parts), self.text[start : self.at - 1])
            if char == "'" and quoted:
                parts.append(Literal("'", quoted=False))
                self.at += 1
            else:
                self._special(parts)


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """The parts with literals of one kind next to each other made one."""
    result: list[Part] = []
    for part in parts:
        last = result[-1] if result else None
        if isinstance(part, Literal) and isinstance(last, Literal) and part.quoted == last.quoted:
            result[-1] = Literal(last.text + part.text, part.quoted)
        else:
            result.append(part)
    return tuple(result)

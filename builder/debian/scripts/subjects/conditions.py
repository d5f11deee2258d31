"""``test``, ``[`` and bash's ``[[``: what is where, and how texts and numbers compare. test(1)."""

from __future__ import annotations

import re

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.language.patterns import PatternError, convert_glob
from builder.debian.scripts.subjects.builtins import find_program_path
from builder.debian.scripts.target_system import DEVICES, NOT_OURS, UNKNOWN, NotModelled
from builder.tree.node import Kind

_NUMBERS = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
}
_TEXTS = frozenset(("=", "==", "!=", "<", ">", "=~"))
_FILES = frozenset("abcdefghkprstuwxLNOGS")
_BINARY = frozenset((*_TEXTS, *_NUMBERS, "-nt", "-ot", "-ef"))


def test(shell: Shell, arguments: list[str]) -> Status:
    """``test``: 0, 1, or ``None`` if only a running machine knows."""
    return _status(_Reader(shell, arguments, patterns=False).all())


def bracket(shell: Shell, arguments: list[str]) -> Status:
    """``[ ... ]``."""
    if not arguments or arguments[-1] != "]":
        raise NotModelled("a [ without its ]")
    return test(shell, arguments[:-1])


def double_bracket(shell: Shell, arguments: list[str]) -> Status:
    """``[[ ... ]]``."""
    words = [{"&&": "-a", "||": "-o"}.get(word, word) for word in arguments[:-1]]
    return _status(_Reader(shell, words, patterns=True).all())


def _status(value: bool | None) -> Status:
    return None if value is None else int(not value)


class _Reader:
    """An expression from left to right: ``-o`` binds less than ``-a``, and that less than ``!``."""

    def __init__(self, shell: Shell, words: list[str], *, patterns: bool) -> None:
        self._shell = shell
        self._words = words
        self._at = 0
        self._patterns = patterns

    def all(self) -> bool | None:
        if not self._words:
            return False
        if len(self._words) == 1:
            return self._text(self._words[0])
        result = self._or()
        if self._at < len(self._words):
            raise NotModelled(f"the test of {' '.join(self._words)}")
        return result

    def _next(self) -> str:
        if self._at >= len(self._words):
            raise NotModelled("a test that ends too early")
        self._at += 1
        return self._words[self._at - 1]

    def _or(self) -> bool | None:
        result = self._and()
        while self._words[self._at : self._at + 1] == ["-o"]:
            self._at += 1
            other = self._and()
            result = True if result or other else None if result is None or other is None else False
        return result

    def _and(self) -> bool | None:
        result = self._not()
        while self._words[self._at : self._at + 1] == ["-a"]:
            self._at += 1
            other = self._not()
            result = False if result is False or other is False else None if None in (result, other) else True
        return result

    def _not(self) -> bool | None:
        if self._words[self._at : self._at + 1] == ["!"] and len(self._words) - self._at > 1:
            self._at += 1
            value = self._not()
            return None if value is None else not value
        return self._primary()

    def _primary(self) -> bool | None:
        first = self._next()
        following = self._words[self._at] if self._at < len(self._words) else None
        if following in _BINARY and self._at + 1 < len(self._words):
            self._at += 1
            return self._compare(first, following, self._next())
        if first == "(":
            value = self._or()
            if self._next() != ")":
                raise NotModelled("a test with an open parenthesis")
            return value
        if len(first) == 2 and first[0] == "-" and following is not None:
            if first == "-n":
                return self._text(self._next())
            if first == "-z":
                value = self._text(self._next())
                return None if value is None else not value
            if first == "-v":
                return self._shell.get_value(self._next()) is not None
            if first[1] in _FILES:
                return self._file(first[1], self._next())
        return self._text(first)

    def _text(self, word: str) -> bool | None:
        return None if word == UNKNOWN else bool(word)

    def _compare(self, left: str, operator: str, right: str) -> bool | None:
        if UNKNOWN in left or UNKNOWN in right:
            return None
        if operator in _NUMBERS:
            try:
                return bool(_NUMBERS[operator](int(left), int(right)))
            except ValueError:
                return False
        if operator in ("=", "==", "!="):
            if self._patterns:
                try:
                    equal = re.fullmatch(convert_glob([(right, False)]), left) is not None
                except (PatternError, re.error):
                    raise NotModelled(f"the pattern {right}") from None
            else:
                equal = left == right
            return equal == (operator != "!=")
        if operator in ("<", ">"):
            return left < right if operator == "<" else left > right
        if operator == "-ef":
            return self._resolved(left) == self._resolved(right)
        if operator in ("-nt", "-ot"):
            one, other = (
                self._shell.system.get(self._shell.resolve_path(left)),
                self._shell.system.get(self._shell.resolve_path(right)),
            )
            if one is None or other is None:
                return one is not None if operator == "-nt" else other is not None
            return one.mtime > other.mtime if operator == "-nt" else one.mtime < other.mtime
        raise NotModelled(f"the test {operator}")

    def _resolved(self, path: str) -> str:
        return self._shell.system.tree.resolve(self._shell.resolve_path(path))

    def _file(self, kind: str, name: str) -> bool | None:
        if UNKNOWN in name:
            return None
        if not name:
            return False
        if kind == "t":
            return False
        path = self._shell.resolve_path(name)
        if path in DEVICES:
            return kind in "aecrw"
        if NOT_OURS.match(path):
            return False if path not in ("/proc", "/sys", "/dev") else kind in "aedrx"
        node = self._shell.system.get(path, follow=kind not in "hL")
        if node is None:
            # The package system is there while scripts run, whether it stays in the image or not.
            return kind in "aefrx" and path.startswith("/usr/") and find_program_path(self._shell, path) is not None
        match kind:
            case "f":
                return node.kind is Kind.FILE
            case "d":
                return node.kind is Kind.DIRECTORY
            case "h" | "L":
                return node.kind is Kind.SYMLINK
            case "p" | "S":
                return kind == "p" and node.kind is Kind.FIFO
            case "b" | "c":
                return node.kind is (Kind.BLOCK if kind == "b" else Kind.CHARACTER)
            case "s":
                return node.size > 0 or node.kind is Kind.DIRECTORY
            case "x":
                return node.kind is Kind.DIRECTORY or bool(node.mode & 0o111)
            case "u" | "g" | "k":
                return bool(node.mode & {"u": 0o4000, "g": 0o2000, "k": 0o1000}[kind])
            case "O" | "G":
                mine = self._shell.state.owner
                return node.uid == mine[0] if kind == "O" else node.gid == mine[1]
            case _:
                return True  # root may read and write all


COMMANDS = make_models(
    {"test": test, "[": bracket, "[[": double_bracket}, accept_unknown=("test", "[", "[["), match_patterns=("[[",)
)

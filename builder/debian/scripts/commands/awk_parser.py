"""A program of awk(1) as values: tuples whose first part says what they are, as :mod:`.awk` evaluates them.

Source: POSIX.1-2024, "awk", "Grammar" and "Lexical Conventions".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from builder.debian.scripts.language.patterns import PatternError, basic_regex
from builder.debian.scripts.target_system import NotModelled

Node = tuple[Any, ...]
KEYWORDS = frozenset(
    ("BEGIN", "END", "function", "func", "if", "else", "while", "for", "do", "break", "continue", "next", "exit",
     "return", "delete", "in", "getline", "print", "printf", "nextfile")
)  # fmt: skip
FUNCTIONS = frozenset(
    ("length", "substr", "index", "split", "sub", "gsub", "gensub", "match", "sprintf", "tolower", "toupper", "int",
     "sqrt", "exp", "log", "close", "system", "fflush")
)  # fmt: skip
MAX_DEPTH = 60
_TOKEN = re.compile(
    r"(?P<space>(?:[ \t\r]|\\\r?\n|#[^\n]*)+)|(?P<newline>\n)"
    r"|(?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<string>\"(?:[^\"\\\n]|\\[\s\S])*\")|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator>\*\*=|\+\+|--|\+=|-=|\*=|/=|%=|\^=|==|<=|>=|!=|!~|&&|\|\||>>|\*\*|[-+*/%^!<>|?:~$=(){}\[\];,])"
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "/": "/", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass
class Program:
    """Rules in order, with functions by name."""

    begin: list[Node] = field(default_factory=list)
    rules: list[tuple[Node | None, Node | None, Node | None]] = field(default_factory=list)  # from, to, action
    end: list[Node] = field(default_factory=list)
    functions: dict[str, tuple[list[str], Node]] = field(default_factory=dict)


def parse_awk(text: str) -> Program:
    """The rules of a program.

    Raises:
        NotModelled: it has what is not known.
    """
    return _Parser(text).program()


def awk_string(text: str) -> str:
    """A string's escapes read; what is none keeps its backslash, as a pattern needs it."""

    def one(match: re.Match[str]) -> str:
        found = match[1]
        if found[0] in "01234567":
            return chr(int(found, 8))
        if found[0] == "x" and len(found) > 1:
            return chr(int(found[1:], 16))
        return "" if found == "\n" else _ESCAPES.get(found, "\\" + found)

    return re.sub(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|[\s\S])", one, text)


class _Parser:
    """Recursive descent, one method for each level of precedence, the lowest first."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.kind, self.token, self.spaced = "", "", False
        self.groups = 0  # parentheses we are in: there ">" compares
        self.advance()

    # --- tokens ------------------------------------------------------------------------------------

    def fail(self) -> NotModelled:
        return NotModelled(f"the awk program {self.text.strip()}")

    def advance(self) -> str:
        """Take the current token; the next one becomes current."""
        taken = self.token
        self.spaced = False
        while True:
            if self.at >= len(self.text):
                self.kind, self.token = "end", ""
                return taken
            match = _TOKEN.match(self.text, self.at)
            if match is None:
                raise self.fail()
            self.at = match.end()
            if match.lastgroup != "space":
                break
            self.spaced = True
        self.kind, self.token = match.lastgroup or "", match[0]
        if self.kind == "name" and self.token in KEYWORDS:
            self.kind = "keyword"
        return taken

    def take(self, *tokens: str) -> str:
        """The current token if it is one of these, else nothing."""
        if self.kind != "string" and self.token in tokens and self.token:
            return self.advance()
        return ""

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.fail()

    def newlines(self) -> None:
        while self.kind == "newline" or (self.kind == "operator" and self.token == ";"):
            self.advance()

    def breaks(self) -> None:
        while self.kind == "newline":
            self.advance()

    def regex(self) -> re.Pattern[str]:
        """The pattern after a slash that was just seen as a token."""
        start = self.at - (2 if self.token == "/=" else 1) + 1
        at, inside = start, False
        while at < len(self.text):
            char = self.text[at]
            if char == "\\":
                at += 2
                continue
            if char == "\n":
                break
            if char == "[" and not inside:
                inside = True
                at += 2 if self.text[at + 1 : at + 2] == "]" else 3 if self.text[at + 1 : at + 3] == "^]" else 1
                continue
            if char == "[" and self.text[at + 1 : at + 2] == ":":
                at += 2
                continue
            if char == "]":
                inside = False
            if char == "/" and not inside:
                source = self.text[start:at].replace("\\/", "/").replace('\\"', '"')
                self.at = at + 1
                self.advance()
                try:
                    return basic_regex(source, extended=True)
                except PatternError as error:
                    raise NotModelled(f"the pattern {source} of awk") from error
            at += 1
        raise self.fail()

    # --- rules -------------------------------------------------------------------------------------

    def program(self) -> Program:
        result = Program()
        self.newlines()
        while self.kind != "end":
            if self.take("function", "func"):
                name = self.advance()
                self.expect("(")
                parameters = []
                while not self.take(")"):
                    parameters.append(self.advance())
                    self.breaks()
                    self.take(",")
                    self.breaks()
                self.breaks()
                result.functions[name] = (parameters, self.block())
            elif self.take("BEGIN"):
                result.begin.append(self.block())
            elif self.take("END"):
                result.end.append(self.block())
            else:
                first = second = None
                if self.token != "{":
                    first = self.expression()
                    if self.take(","):
                        self.breaks()
                        second = self.expression()
                result.rules.append((first, second, self.block() if self.token == "{" else None))
            self.newlines()
        return result

    def block(self) -> Node:
        self.expect("{")
        self.deeper()
        body: list[Node] = []
        self.newlines()
        while not self.take("}"):
            body.append(self.statement())
            self.newlines()
        self.depth -= 1
        return ("block", tuple(body))

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail()

    # --- statements --------------------------------------------------------------------------------

    def statement(self) -> Node:
        self.deeper()
        try:
            return self.any_statement()
        finally:
            self.depth -= 1

    def any_statement(self) -> Node:
        if self.token == "{" and self.kind == "operator":
            return self.block()
        if self.take("if"):
            self.expect("(")
            condition = self.expression()
            self.expect(")")
            self.newlines_but_one()
            then = self.statement()
            mark = (self.at, self.kind, self.token, self.spaced)
            self.newlines()
            if self.take("else"):
                self.newlines_but_one()
                return ("if", condition, then, self.statement())
            self.at, self.kind, self.token, self.spaced = mark
            return ("if", condition, then, None)
        if self.take("while"):
            self.expect("(")
            condition = self.expression()
            self.expect(")")
            if self.take(";"):
                return ("while", condition, ("block", ()))
            self.breaks()
            return ("while", condition, self.statement())
        if self.take("do"):
            self.newlines_but_one()
            body = self.statement()
            self.newlines()
            self.expect("while")
            self.expect("(")
            condition = self.expression()
            self.expect(")")
            return ("do", condition, body)
        if self.take("for"):
            return self.loop()
        simple = self.simple()
        if self.token not in (";", "}", "") and self.kind != "newline":
            raise self.fail()
        return simple

    def newlines_but_one(self) -> None:
        self.breaks()
        self.take(";")
        self.breaks()

    def loop(self) -> Node:
        self.expect("(")
        first: Node | None = None
        if self.token != ";":
            first = self.simple()
            if first[0] == "expression" and first[1][0] == "in" and self.take(")"):
                self.breaks()
                _, (key, *others), array = first[1]
                if others or key[0] != "variable":
                    raise self.fail()
                return ("each", key, array, self.statement())
        self.expect(";")
        self.breaks()
        condition = None if self.token == ";" else self.expression()
        self.expect(";")
        self.breaks()
        step = None if self.token == ")" else self.simple()
        self.expect(")")
        if self.take(";"):
            return ("for", first, condition, step, ("block", ()))
        self.breaks()
        return ("for", first, condition, step, self.statement())

    def simple(self) -> Node:
        for word in ("break", "continue", "next", "nextfile"):
            if self.take(word):
                return (word,)
        if word := self.take("exit", "return"):
            return self.leaving(word)
        if self.take("delete"):
            name = self.advance()
            if self.take("["):
                keys = self.list_until("]")
                return ("delete", name, tuple(keys))
            return ("delete", name, None)
        if self.token in ("print", "printf") and self.kind == "keyword":
            return self.printing()
        return ("expression", self.expression())

    def leaving(self, word: str) -> Node:
        value = None if self.token in (";", "}", "") or self.kind == "newline" else self.expression()
        return (word, value)

    def printing(self) -> Node:
        name = self.advance()
        values: list[Node] = []
        if self.kind not in ("newline", "end") and self.token not in (";", "}", ">", ">>", "|"):
            mark = (self.at, self.kind, self.token, self.spaced)
            if self.take("("):
                # "print (a)(b)" is one value, "print (a, b)" two.
                self.groups += 1
                values = self.list_until(")")
                self.groups -= 1
                if len(values) == 1 or (self.token not in (";", "}", "", ">", ">>", "|") and self.kind != "newline"):
                    self.at, self.kind, self.token, self.spaced = mark
                    values = []
            if not values:
                values = [self.expression(printing=True)]
                while self.take(","):
                    self.breaks()
                    values.append(self.expression(printing=True))
        target = None
        if operator := self.take(">", ">>", "|"):
            target = (operator, self.concatenation())
        return (name, tuple(values), target)

    def list_until(self, closing: str) -> list[Node]:
        found: list[Node] = []
        self.breaks()
        while not self.take(closing):
            found.append(self.expression())
            self.breaks()
            if not self.take(","):
                self.expect(closing)
                break
            self.breaks()
        return found

    # --- expressions -------------------------------------------------------------------------------

    def expression(self, *, printing: bool = False) -> Node:
        self.deeper()
        left = self.conditional(printing)
        if operator := self.take("=", "+=", "-=", "*=", "/=", "%=", "^=", "**="):
            if left[0] not in ("variable", "field", "element"):
                raise self.fail()
            self.breaks()
            left = ("assign", operator.replace("**", "^")[:-1], left, self.expression(printing=printing))
        self.depth -= 1
        return left

    def conditional(self, printing: bool) -> Node:
        condition = self.either(printing)
        if not self.take("?"):
            return condition
        self.breaks()
        then = self.expression(printing=printing)
        self.breaks()
        self.expect(":")
        self.breaks()
        return ("?", condition, then, self.expression(printing=printing))

    def either(self, printing: bool) -> Node:
        left = self.both(printing)
        while self.take("||"):
            self.breaks()
            left = ("||", left, self.both(printing))
        return left

    def both(self, printing: bool) -> Node:
        left = self.member(printing)
        while self.take("&&"):
            self.breaks()
            left = ("&&", left, self.member(printing))
        return left

    def member(self, printing: bool) -> Node:
        left = self.matching(printing)
        while self.take("in"):
            left = ("in", (left,), self.advance())
        return left

    def matching(self, printing: bool) -> Node:
        left = self.comparison(printing)
        while operator := self.take("~", "!~"):
            left = (operator, left, self.comparison(printing))
        return left

    def comparison(self, printing: bool) -> Node:
        left = self.concatenation()
        allowed = ["<", "<=", "==", "!=", ">="] + ([] if printing and not self.groups else [">"])
        if self.kind == "operator" and (operator := self.take(*allowed)):
            return (operator, left, self.concatenation())
        return left

    def concatenation(self) -> Node:
        left = self.sum()
        while (
            self.kind in ("number", "string")
            or (self.kind == "name")
            or (self.kind == "operator" and self.token in ("$", "!", "(", "-", "+", "++", "--"))
        ):
            if self.token in ("-", "+") and self.kind == "operator":
                break
            left = ("join", left, self.sum())
        return left

    def sum(self) -> Node:
        left = self.product()
        while self.kind == "operator" and (operator := self.take("+", "-")):
            left = (operator, left, self.product())
        return left

    def product(self) -> Node:
        left = self.unary()
        while self.kind == "operator" and (operator := self.take("*", "/", "%")):
            left = (operator, left, self.unary())
        return left

    def unary(self) -> Node:
        if self.kind == "operator" and (operator := self.take("!", "-", "+")):
            self.deeper()
            inner = self.unary()
            self.depth -= 1
            return ("not" if operator == "!" else f"unary{operator}", inner)
        return self.power()

    def power(self) -> Node:
        left = self.increment()
        if self.take("^", "**"):
            return ("^", left, self.unary())
        return left

    def increment(self) -> Node:
        if operator := self.take("++", "--"):
            return ("before", operator[0], self.increment())
        left = self.primary()
        if left[0] in ("variable", "field", "element") and (operator := self.take("++", "--")):
            return ("after", operator[0], left)
        return left

    def primary(self) -> Node:
        if self.kind == "number":
            text = self.advance()
            return ("value", float(int(text, 16)) if text[:2].lower() == "0x" else float(text))
        if self.kind == "string":
            return ("value", awk_string(self.advance()[1:-1]))
        if self.kind == "operator" and self.token in ("/", "/="):
            return ("regex", self.regex())
        if self.take("$"):
            return ("field", self.increment() if self.token != "-" else self.unary())
        if self.take("("):
            self.groups += 1
            inner = self.list_until(")")
            self.groups -= 1
            if len(inner) == 1:
                return ("group", inner[0])
            if self.take("in"):
                return ("in", tuple(inner), self.advance())
            raise self.fail()
        if self.kind == "name":
            return self.named()
        raise self.fail()

    def named(self) -> Node:
        name = self.advance()
        if name in FUNCTIONS:
            if self.take("("):
                groups, self.groups = self.groups, self.groups + 1
                arguments = self.list_until(")")
                self.groups = groups
                return ("call", name, tuple(arguments))
            if name != "length":
                raise self.fail()
            return ("call", name, ())
        if self.token == "(" and not self.spaced:
            self.advance()
            return ("function", name, tuple(self.list_until(")")))
        if self.take("["):
            return ("element", name, tuple(self.list_until("]")))
        return ("variable", name)

"""A shell script's text as values (:mod:`builder.debian.scripts.language.syntax`).

A parser of our own, because none of those on offer is right about the shell that maintainer scripts are written for.
tree-sitter-bash is made for highlighting: it rejects nine of the 868 scripts we measured, and it reads
``cat <<E | a || b`` as ``cat | (a || b)``. bashlex knows neither ``case`` nor arithmetic. The grammar of POSIX fits
on three pages.

Source: POSIX.1-2024, "Shell Command Language", 2.9 (commands) and 2.10 (grammar).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from builder.debian.scripts.language.syntax import (
    AndOr,
    Case,
    Command,
    Elements,
    For,
    Function,
    Group,
    If,
    Literal,
    Loop,
    Pipeline,
    Redirect,
    Sequence,
    Simple,
    Word,
)
from builder.debian.scripts.language.words import MAX_DEPTH, ScriptSyntaxError, WordReader

MAX_BYTES = 4 << 20  # keyboard-configuration asks with 2 MB of names of keyboards
_BLANK = re.compile(r"(?:[ \t\r]|\\\n)+")
_LINES = re.compile(r"(?:[ \t\r]|\\\n|\n|#[^\n]*)+")
_REDIRECT = re.compile(r"([0-9]*)(<<<|<<-|<<|<&|<>|<|>>|>&|>\||>)")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\[[^]\n]*\])?)(\+?)=")
_KEY = re.compile(r"\[([^]\n]*)\]=")
_DECLARING = frozenset(("local", "declare", "typeset", "readonly", "export"))
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FUNCTION = re.compile(r"([A-Za-z_][A-Za-z0-9_.+-]*)[ \t]*\([ \t]*\)")
_KEYWORD = re.compile(r"[a-z]+|[{}!]")
_CONDITIONAL = re.compile(r"&&|\|\||[()<>!]")
_KEYWORD_FUNCTION = re.compile(r"function[ \t]+([A-Za-z_][A-Za-z0-9_.+-]*)[ \t]*(?:\([ \t]*\))?")  # bash's
_RESERVED = frozenset(
    ("if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "{", "}", "!", "in")
)
_ENDS = frozenset(("then", "elif", "else", "fi", "do", "done", "esac", "}"))


@lru_cache(maxsize=2048)
def parse(text: str) -> Command:
    """The commands of a script.

    Raises:
        ScriptSyntaxError: it is none that the grammar allows, or too large.
    """
    if len(text) > MAX_BYTES:
        raise ScriptSyntaxError(1, "it is too large for a maintainer script")
    return _Parser(text).parse_script()


def parse_word(text: str) -> Word:
    """A text in which parameters and substitutions are read, as between double quotes."""
    return _Parser(text.strip("'\"")).read_document()


class _Parser(WordReader):
    """Recursive descent, one method for each production."""

    def __init__(self, text: str, line: int = 1, depth: int = 0) -> None:
        super().__init__(text, line, depth)
        # Here-documents whose text begins after the current line, with (delimiter, whether it was quoted).
        self._documents: list[tuple[Redirect, str, bool]] = []

    def parse_script(self) -> Command:
        """All of it."""
        body = self._list()
        if self.at < len(self.text):
            raise self.fail(f"{self.peek(20)!r} was not expected here")
        return body

    def parse_commands_until_parenthesis(self) -> Command:
        body = self._nested(self._list)
        if self.peek() != ")":
            raise self.fail("a parenthesis is not closed")
        self.at += 1
        return body

    def parse_inner(self, text: str, line: int) -> Command:
        return _Parser(text, line, self._depth + 1).parse_script()

    def _nested(self, production: Callable[[], Command]) -> Command:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.fail("it is nested too deeply")
        result = production()
        self._depth -= 1
        return result

    # --- spaces and newlines -----------------------------------------------------------------------

    def _blank(self) -> None:
        if match := _BLANK.match(self.text, self.at):
            self.at = match.end()
        if self.peek() == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end

    def _skip_lines(self) -> None:
        """Skip blank lines and comments; the here-documents of a line are read at its end."""
        while True:
            self._blank()
            if self.peek() != "\n":
                return
            self.at += 1
            if self._documents:
                self._read_documents()
            elif match := _LINES.match(self.text, self.at):
                self.at = match.end()

    def _read_documents(self) -> None:
        for redirect, delimiter, quoted in self._documents:
            lines: list[str] = []
            first = self.line
            while True:
                if self.at >= len(self.text):
                    raise self.fail(f"the here-document that ends with {delimiter!r} does not end")
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                self.at = min(end + 1, len(self.text))
                if redirect.operator == "<<-":
                    line = line.lstrip("\t")
                if line == delimiter:
                    break
                lines.append(line + "\n")
            body = "".join(lines)
            if quoted:
                redirect.target = Word((Literal(body, quoted=True),), body)
            else:
                redirect.target = _Parser(body, first, self._depth + 1).read_document()
        self._documents = []

    # --- lists -------------------------------------------------------------------------------------

    def _list(self) -> Command:
        commands: list[Command] = []
        while True:
            self._skip_lines()
            if self.at >= len(self.text) or self.peek() == ")" or self.peek(2) == ";;" or self._reserved() in _ENDS:
                break
            commands.append(self._and_or())
            self._blank()
            if self.peek(2) == ";;":
                break
            if self.peek() in (";", "&") and self.peek(2) != "&&":
                if self.peek() == "&":
                    commands[-1] = self._in_background(commands[-1])
                self.at += 1
            elif self.peek() not in ("\n", ")", ""):
                if self._reserved() in _ENDS:
                    break
                raise self.fail(f"{self.peek(20)!r} was not expected here")
        return commands[0] if len(commands) == 1 else Sequence(tuple(commands))

    def _in_background(self, command: Command) -> Command:
        """``command &``: a process of its own, whose failure nobody waits for."""
        alone = Group(command, (), subshell=True, first=self.line, last=self.line)
        done = Simple((), (Word((Literal(":", quoted=False),), ":"),), (), self.line, self.line)
        return AndOr(alone, "||", done)

    def _and_or(self) -> Command:
        left = self._pipeline()
        while True:
            self._blank()
            operator = self.peek(2)
            if operator not in ("&&", "||"):
                return left
            self.at += 2
            self._skip_lines()
            left = AndOr(left, operator, self._pipeline())

    def _pipeline(self) -> Command:
        self._blank()
        negated = False
        while self._reserved() == "!":
            self.at += 1
            negated = not negated
            self._blank()
        commands = [self._command()]
        while True:
            self._blank()
            if self.peek() != "|" or self.peek(2) == "||":
                break
            self.at += 1
            self._skip_lines()
            commands.append(self._command())
        return commands[0] if len(commands) == 1 and not negated else Pipeline(tuple(commands), negated)

    # --- commands ----------------------------------------------------------------------------------

    def _reserved(self) -> str:
        """The reserved word that begins here, without taking it; empty if there is none."""
        match = _KEYWORD.match(self.text, self.at)
        if match is None or match[0] not in _RESERVED:
            return ""
        after = self.text[match.end() : match.end() + 1]
        return match[0] if not after or after in " \t\n\r;&|()<>" else ""

    def _expect(self, word: str) -> None:
        self._skip_lines()
        if self._reserved() != word:
            raise self.fail(f"{word!r} is missing here")
        self.at += len(word)

    def _let(self, start: int) -> Command:
        """``((expression))``, which is ``let "expression"``."""
        self.at -= 1  # it is read like $((expression))
        arithmetic = self._arithmetic(quoted=True)
        if arithmetic is None:
            raise self.fail("a subshell in a subshell, or arithmetic that does not end")
        words = (Word((Literal("let", quoted=False),), "let"), arithmetic.expression)
        return Simple((), words, (), start, self.line)

    def _command(self) -> Command:
        start = self.line
        reserved = self._reserved()
        compound: Command
        if self.peek() == "(":
            if self.peek(2) == "((":
                return self._let(start)
            self.at += 1
            compound = Group(self.parse_commands_until_parenthesis(), (), subshell=True, first=start, last=self.line)
        elif reserved == "{":
            self.at += 1
            body = self._nested(self._list)
            self._expect("}")
            compound = Group(body, (), subshell=False, first=start, last=self.line)
        elif reserved == "if":
            compound = self._nested(self._if)
        elif reserved in ("while", "until"):
            compound = self._nested(self._loop)
        elif reserved == "for":
            compound = self._nested(self._for)
        elif reserved == "case":
            compound = self._nested(self._case)
        elif match := _FUNCTION.match(self.text, self.at) or _KEYWORD_FUNCTION.match(self.text, self.at):
            self.at = match.end()
            self._skip_lines()
            return Function(match[1], self._command())
        else:
            return self._simple()
        redirects = self._redirects()
        if redirects:
            if isinstance(compound, Group):
                return Group(compound.body, redirects, compound.subshell, start, self.line)
            return Group(compound, redirects, subshell=False, first=start, last=self.line)
        return compound

    def _if(self) -> Command:
        first = self.line
        branches: list[tuple[Command, Command]] = []
        otherwise: Command | None = None
        word = "if"
        while True:
            self.at += len(word)
            if word == "else":
                otherwise = self._list()
                self._expect("fi")
                break
            condition = self._list()
            self._expect("then")
            branches.append((condition, self._list()))
            self._skip_lines()
            word = self._reserved()
            if word == "fi":
                self.at += 2
                break
            if word not in ("elif", "else"):
                raise self.fail("'fi' is missing here")
        return If(tuple(branches), otherwise, first, self.line)

    def _loop(self) -> Command:
        first = self.line
        until = self._reserved() == "until"
        self.at += 5
        condition = self._list()
        return Loop(condition, self._do(), until, first, self.line)

    def _do(self) -> Command:
        self._expect("do")
        body = self._list()
        self._expect("done")
        return body

    def _for(self) -> Command:
        first = self.line
        self.at += 3
        self._blank()
        if self.peek(2) == "((":
            return self._for_expressions(first)
        match = _IDENTIFIER.match(self.text, self.at)
        if not match:
            raise self.fail("'for' needs a name")
        self.at = match.end()
        self._skip_lines()
        words: list[Word] | None = None
        if self._reserved() == "in":
            self.at += 2
            words = []
            while True:
                self._blank()
                word = self.read_word()
                if word is None:
                    break
                words.append(word)
        self._blank()
        if self.peek() == ";":
            self.at += 1
        return For(match[0], None if words is None else tuple(words), self._do(), first, self.line)

    def _for_expressions(self, first: int) -> Command:
        """``for ((start; condition; step))`` of bash: each is what ``let`` takes, and one that is not there is true."""
        end = self.text.find("))", self.at)
        while end != -1 and self.text[end : end + 3] == ")))":
            end += 1
        texts = self.text[self.at + 2 : end].split(";")
        if end == -1 or len(texts) != 3:
            raise self.fail("'for ((' needs three expressions")
        start, condition, step = (self._expressions(text) for text in texts)
        self.at = end + 2
        self._blank()
        if self.peek() == ";":
            self.at += 1
        always = Simple((), (Word((Literal(":", quoted=False),), ":"),), (), first, first)
        return Loop(condition or always, self._do(), until=False, first=first, last=self.line, start=start, step=step)

    def _expressions(self, text: str) -> Command | None:
        if not text.strip():
            return None
        expressions = text.split(",") if "(" not in text else [text]
        words = (type(self)(one.strip(), self.line, self._depth + 1).read_document() for one in expressions)
        return Simple((), (Word((Literal("let", quoted=False),), "let"), *words), (), self.line, self.line)

    def _case(self) -> Command:
        first = self.line
        self.at += 4
        self._blank()
        subject = self.read_word()
        if subject is None:
            raise self.fail("'case' needs a word")
        self._expect("in")
        items: list[tuple[tuple[Word, ...], Command]] = []
        while True:
            self._skip_lines()
            if self._reserved() == "esac":
                self.at += 4
                return Case(subject, tuple(items), first, self.line)
            if self.peek() == "(":
                self.at += 1
            patterns = []
            while True:
                self._blank()
                pattern = self.read_word()
                if pattern is None:
                    raise self.fail("a pattern of 'case' is missing")
                patterns.append(pattern)
                self._blank()
                separator = self.peek()
                self.at += 1
                if separator == ")":
                    break
                if separator != "|":
                    raise self.fail("a pattern of 'case' does not end")
            items.append((tuple(patterns), self._list()))
            self._skip_lines()
            if self.peek(2) == ";;":
                self.at += 2
            elif self._reserved() != "esac":
                raise self.fail("'esac' is missing here")

    def _redirects(self) -> tuple[Redirect, ...]:
        redirects: list[Redirect] = []
        while True:
            self._blank()
            redirect = self._redirect()
            if redirect is None:
                return tuple(redirects)
            redirects.append(redirect)

    def _redirect(self) -> Redirect | None:
        match = _REDIRECT.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        operator = match[2]
        fd = int(match[1]) if match[1] else (0 if operator.startswith("<") else 1)
        self._blank()
        target = self.read_word()
        if target is None:
            raise self.fail("a redirection has no target")
        redirect = Redirect(fd, operator, target)
        if operator in ("<<", "<<-"):
            delimiter = "".join(part.text for part in target.parts if isinstance(part, Literal))
            quoted = any(not isinstance(part, Literal) or part.quoted for part in target.parts)
            self._documents.append((redirect, delimiter, quoted))
        return redirect

    def _simple(self) -> Command:
        first = self.line
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        arrays: list[tuple[str, Word]] = []
        conditional = False  # bash's [[ ... ]], in which operators are words
        while True:
            self._blank()
            if not conditional and (redirect := self._redirect()) is not None:
                redirects.append(redirect)
                continue
            match = _ASSIGNMENT.match(self.text, self.at)
            if match and not words:
                self.at = match.end()
                value = self._elements() if self.peek() == "(" else self.read_word()
                assignments.append((match[1] + match[2], value or Word((), "")))
                continue
            if match and words[0].text in _DECLARING and self.text[match.end() : match.end() + 1] == "(":
                self.at = match.end()
                arrays.append((match[1] + match[2], self._elements()))
                words.append(Word((Literal(match[1], quoted=True),), match[1]))
                continue
            word = self.read_word(regex=conditional and bool(words) and words[-1].text == "=~")
            if word is None and conditional and (match := _CONDITIONAL.match(self.text, self.at)):
                self.at = match.end()
                word = Word((Literal(match[0], quoted=False),), match[0])
            if word is None:
                break
            words.append(word)
            if len(words) == 1 and word.text == "[[":
                conditional = True
            elif conditional and word.text == "]]":
                conditional = False
        if not words and not assignments and not redirects:
            raise self.fail(f"{self.peek(20)!r} was not expected here")
        return Simple(tuple(assignments), tuple(words), tuple(redirects), first, self.line, tuple(arrays))

    def _elements(self) -> Word:
        """What bash assigns to an array, in parentheses."""
        start = self.at
        self.at += 1
        items: list[tuple[Word | None, Word]] = []
        while True:
            self._skip_lines()
            if self.peek() == ")":
                self.at += 1
                return Word((Elements(tuple(items)),), self.text[start : self.at])
            key = None
            if match := _KEY.match(self.text, self.at):
                key = _Parser(match[1].strip("'\""), self.line, self._depth + 1).read_document()
                self.at = match.end()
            word = self.read_word()
            if word is None:
                raise self.fail("an array does not end")
            items.append((key, word))

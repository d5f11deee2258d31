"""Words become fields: parameters, substitutions, arithmetic, splitting, patterns.

Source: POSIX.1-2024, "Shell Command Language", 2.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from builder.debian.scripts.language.patterns import PatternError, convert_glob
from builder.debian.scripts.language.process import Process
from builder.debian.scripts.language.syntax import Arithmetic, Command, Elements, Literal, Parameter, Part, Word
from builder.debian.scripts.target_system import UNKNOWN, NotModelled, join_path
from builder.tree.node import Kind
from firstboot.config.account_files import find_row, parse_rows

# (text, quoted, whether unquoted text is split into fields)
Segment = tuple[str, bool, bool]
_FIELD_END: Segment = ("", True, True)  # between the fields of "$@"
_WILD = re.compile(r"[*?\[]")
_GLOB = re.compile(r"[*?\[\]\\]")
_COMPARED = frozenset(("=", "==", "!="))
_NUMBER = re.compile(r"[0-9]+")
_ARITHMETIC = re.compile(r"[\s0-9()+*/%<>=!&|^~?:-]+")
_VARIABLE = re.compile(r"\$?\b([A-Za-z_][A-Za-z0-9_]*)")


class Expander:
    """Expansion in the state of a process."""

    def __init__(self, process: Process, get_output: Callable[[Command], str]) -> None:
        self._process = process
        self._get_output = get_output

    def expand_fields(self, words: Iterable[Word]) -> list[str]:
        """Words as the arguments of a command."""
        result: list[str] = []
        for word in words:
            parts = word.parts
            if (
                len(parts) == 1
                and isinstance(parts[0], Literal)
                and (parts[0].quoted or not _WILD.search(parts[0].text))
            ):
                result.append(self._tilde(parts[0], alone=True))
            else:
                result.extend(self._split(self._segments(parts)))
        return result

    def expand_condition(self, words: Iterable[Word]) -> list[str]:
        """Words of bash's ``[[ ... ]]``: nothing is split and no pattern becomes paths, bash(1), "Compound Commands".

        What is quoted on the right of ``==`` stands for itself in the pattern.
        """
        result: list[str] = []
        for word in words:
            if result and result[-1] in _COMPARED:
                segments = self._segments(word.parts, one_field=True)
                result.append("".join(_GLOB.sub(r"\\\g<0>", text) if quoted else text for text, quoted, _ in segments))
            else:
                result.append(self.expand_text(word))
        return result

    def expand_text(self, word: Word) -> str:
        """A word as one text: the value of an assignment, the target of a redirection."""
        return "".join(
            " " if segment is _FIELD_END else segment[0] for segment in self._segments(word.parts, one_field=True)
        )

    def make_pattern(self, word: Word, *, shortest: bool = False) -> re.Pattern[str]:
        """A word as a pattern.

        Raises:
            NotModelled: it is not known, or no pattern.
        """
        segments = [(text, quoted) for text, quoted, _ in self._segments(word.parts, one_field=True)]
        if any(UNKNOWN in text for text, _ in segments):
            raise NotModelled("a pattern that is not known")
        try:
            return re.compile(convert_glob(segments, shortest=shortest))
        except (PatternError, re.error) as error:
            raise NotModelled(f"the pattern {word.text}") from error

    # --- parts -------------------------------------------------------------------------------------

    def _segments(self, parts: tuple[Part, ...], *, one_field: bool = False) -> list[Segment]:
        segments: list[Segment] = []
        for index, part in enumerate(parts):
            if isinstance(part, Literal):
                text = self._tilde(part, alone=len(parts) == 1) if index == 0 else part.text
                segments.append((text, part.quoted, False))
            elif isinstance(part, Parameter):
                segments.extend(self._parameter(part, one_field))
            elif isinstance(part, Elements):
                raise NotModelled("an array where there can be none")
            elif isinstance(part, Arithmetic):
                segments.append((self.evaluate_arithmetic(self.expand_text(part.expression)), part.quoted, True))
            else:
                segments.append((self._get_output(part.body).rstrip("\n"), part.quoted, True))
        return segments

    def _parameter(self, part: Parameter, one_field: bool) -> list[Segment]:
        process = self._process
        if part.name in ("@", "*") and not part.operator:
            arguments = process.get_arguments()
            if not part.quoted or (part.name == "@" and not one_field):
                result: list[Segment] = []
                for index, argument in enumerate(arguments):
                    result += [_FIELD_END] * bool(index) + [(argument, part.quoted, True)]
                # "$@" without arguments is no field at all.
                return result or [("", False, True)]
            return [(" ".join(arguments), True, True)]
        operator, word = part.operator, part.word
        if operator == "keys" or (part.subscript is not None and part.subscript.text in ("@", "*")):
            return self._all_of_array(part, one_field)
        if part.subscript is not None:
            value = process.state.variables.get(f"{part.name}[{self.make_key(part.name, part.subscript)}]")
        else:
            value = process.get_value(part.name)
        if operator == "indirect":
            return [(process.get_value(value or "") or "", part.quoted, True)]
        if not operator:
            return [(value or "", part.quoted, True)]
        if operator == "length":
            return [(UNKNOWN if UNKNOWN in (value or "") else str(len(value or "")), part.quoted, True)]
        assert word is not None
        if operator[0] in "/^," or operator == ":":
            return [(self._changed(value or "", part), part.quoted, True)]
        if operator in ("#", "##", "%", "%%"):
            return [(self._trimmed(value or "", operator, word), part.quoted, True)]
        missing = value is None or (operator.startswith(":") and value == "")
        match operator[-1]:
            case "+":
                return [("", part.quoted, True)] if missing else self._inner(word, part.quoted, one_field)
            case "-":
                return self._inner(word, part.quoted, one_field) if missing else [(value or "", part.quoted, True)]
            case "=":
                if missing:
                    value = self.expand_text(word)
                    process.assign(part.name, value)
                return [(value or "", part.quoted, True)]
            case _:
                if missing:
                    raise NotModelled(f"{part.name} is not set, and the script ends over it")
                return [(value or "", part.quoted, True)]

    def make_key(self, name: str, subscript: Word) -> str:
        """An array's key: a text, or a number that is calculated."""
        text = self.expand_text(subscript)
        if name in self._process.state.associative:
            return text
        number = self.evaluate_arithmetic(text)
        if not number.startswith("-"):
            return number
        items = self._process.get_elements(name)  # from the end
        return str(int(items[-1][0]) + 1 + int(number)) if items else number

    def _all_of_array(self, part: Parameter, one_field: bool) -> list[Segment]:
        """``${name[@]}`` and what is done to each element of it."""
        items = self._process.get_elements(part.name)
        if part.operator == "length":
            return [(str(len(items)), part.quoted, True)]
        values = [key if part.operator == "keys" else value for key, value in items]
        if part.operator[:1] in tuple("/^,") and part.operator:
            values = [self._changed(value, part) for value in values]
        elif part.operator[:1] in tuple("#%") and part.operator:
            assert part.word is not None
            values = [self._trimmed(value, part.operator, part.word) for value in values]
        elif part.operator.lstrip(":") in ("-", "+") and part.word is not None:
            if bool(items) == part.operator.endswith("+"):
                return self._inner(part.word, part.quoted, one_field)
        elif part.operator not in ("", "keys"):
            raise NotModelled(f"${{{part.name}[@]{part.operator}}}")
        joined_ = part.quoted and part.subscript is not None and part.subscript.text == "*"
        if joined_ or (one_field and part.quoted):
            return [(" ".join(values), True, True)]
        result: list[Segment] = []
        for index, value in enumerate(values):
            result += [_FIELD_END] * bool(index) + [(value, part.quoted, True)]
        return result or [("", False, True)]

    def _changed(self, value: str, part: Parameter) -> str:
        """bash's ``${name/pattern/text}``, ``${name:offset:length}``, ``${name^^}`` and ``${name,,}``."""
        assert part.word is not None
        if UNKNOWN in value:
            return UNKNOWN
        if part.operator == ":":
            start = int(self.evaluate_arithmetic(self.expand_text(part.word)))
            end = len(value)
            if part.second is not None:
                count = int(self.evaluate_arithmetic(self.expand_text(part.second)))
                end = (start if start >= 0 else len(value) + start) + count if count >= 0 else len(value) + count
            return value[start:end]
        if part.operator[0] in "^,":
            if part.word.parts:
                raise NotModelled(f"${{{part.name}{part.operator}{part.word.text}}}")
            change = str.upper if part.operator[0] == "^" else str.lower
            return change(value) if len(part.operator) == 2 else change(value[:1]) + value[1:]
        new = self.expand_text(part.second) if part.second is not None else ""
        regex = self.make_pattern(part.word)
        if part.operator in ("/#", "/%"):
            source = rf"\A(?:{regex.pattern})" if part.operator == "/#" else rf"(?:{regex.pattern})\Z"
            return re.sub(source, lambda _: new, value, count=1)
        return re.sub(f"(?:{regex.pattern})", lambda match: new if match[0] else "", value, count=part.operator == "/")

    def _inner(self, word: Word, quoted: bool, one_field: bool) -> list[Segment]:
        segments = self._segments(word.parts, one_field=one_field)
        return [(text, quoted or inner, True) for text, inner, _ in segments] or [("", quoted, True)]

    def _trimmed(self, value: str, operator: str, word: Word) -> str:
        if UNKNOWN in value:
            return UNKNOWN
        regex = self.make_pattern(word, shortest=len(operator) == 1)
        if operator.startswith("#"):
            match = regex.match(value)
            return value[match.end() :] if match else value
        # The suffix: of all places where the pattern reaches the end, the last (% ) or the first (%%).
        places = range(len(value), -1, -1) if operator == "%" else range(len(value) + 1)
        return next((value[:at] for at in places if regex.fullmatch(value, at)), value)

    def evaluate_arithmetic(self, text: str) -> str:
        """The value of an arithmetic expression, without assignments.

        Raises:
            NotModelled: it is none, or one with something else in it.
        """
        names = _VARIABLE.sub(lambda match: (self._process.get_value(match[1]) or "0").strip(), text)
        if UNKNOWN in names:
            return UNKNOWN
        if not _ARITHMETIC.fullmatch(names) or "**" in names or "<<" in names or len(names) > 200:
            raise NotModelled(f"the arithmetic $(({text}))")
        python = re.sub(r"\b0+(?=[0-9])", "", names)
        python = python.replace("&&", " and ").replace("||", " or ").replace("/", "//")
        python = re.sub(r"!(?!=)", " not ", python)
        try:
            return str(int(eval(python, {"__builtins__": {}}, {})))
        except (ArithmeticError, SyntaxError, TypeError, ValueError, MemoryError, RecursionError) as error:
            raise NotModelled(f"the arithmetic $(({text}))") from error

    # --- fields ------------------------------------------------------------------------------------

    def _split(self, segments: list[Segment]) -> list[str]:
        """Fields of a word: what was expanded unquoted is split at white space, then patterns become paths."""
        separators = self._process.get_value("IFS")
        splitter = (
            re.compile(r"[ \t\n]+" if separators in (None, " \t\n") else f"[{re.escape(separators)}]")
            if separators != ""
            else None
        )
        fields: list[list[tuple[str, bool]]] = []
        current: list[tuple[str, bool]] = []
        began = False
        for segment in segments:
            text, quoted, split = segment
            if segment is _FIELD_END:
                fields.append(current)
                current, began = [], True
            elif quoted or not split or splitter is None:
                current.append((text, quoted))
                began = began or quoted or bool(text)
            else:
                pieces = splitter.split(text)
                for index, piece in enumerate(pieces):
                    if index:
                        if began and (current or fields):
                            fields.append(current)
                        current, began = [], False
                    if piece:
                        current.append((piece, False))
                        began = True
        if began:
            fields.append(current)
        return [path for field in fields for path in self._paths(field)]

    def _paths(self, field: list[tuple[str, bool]]) -> list[str]:
        text = "".join(part for part, _ in field)
        if UNKNOWN in text or not any(_WILD.search(part) for part, quoted in field if not quoted):
            return [text]
        if self._process.state.no_glob is None:
            raise NotModelled("whether patterns are files depends on what only a running machine knows")
        if self._process.state.no_glob:
            return [text]
        return self._matches(field, text) or [text]

    def _matches(self, field: list[tuple[str, bool]], text: str) -> list[str]:
        try:
            steps = [convert_glob(step, path=True) for step in _steps(field)]
            patterns = [re.compile(step) for step in steps]
        except (PatternError, re.error):
            return []
        system = self._process.system
        paths = [""]
        base = "" if text.startswith("/") else self._process.resolve_path(".")
        for index, (step, pattern) in enumerate(zip(steps, patterns, strict=True)):
            if step == "":
                # Of two slashes the second means nothing; one at the end leaves directories.
                last = index == len(steps) - 1 and index > 0
                paths = [f"{prefix}/" for prefix in paths if self._is_directory(base, prefix)] if last else paths
                continue
            following = []
            for prefix in paths:
                # The index of names belongs to the real directory.
                where = join_path("/", f"{base}/{prefix}")
                for name in system.list_children(where):
                    if (pattern.fullmatch(name)) and (not name.startswith(".") or step.startswith("\\.")):
                        path = f"{prefix}/{name}" if prefix or text.startswith("/") else name
                        last = index == len(steps) - 1
                        if last or self._is_directory(base, path):
                            following.append(path)
            paths = following
        return paths

    def _tilde(self, part: Literal, *, alone: bool) -> str:
        """The start of a word with its tilde expanded (POSIX.1-2024, "Tilde Expansion"): root's home, or a login's.

        Args:
            alone: nothing follows in the same word; what does could belong to the name, which then is no name.
        """
        text = part.text
        if part.quoted or not text.startswith("~"):
            return text
        login, slash, rest = text[1:].partition("/")
        if not slash and not alone:
            return text
        if not login:
            return f"/root{slash}{rest}"
        user = find_row(parse_rows(self._process.system.read("/etc/passwd") or ""), login)
        return text if user is None or len(user) < 6 else f"{user[5]}{slash}{rest}"

    def _is_directory(self, base: str, path: str) -> bool:
        node = self._process.system.get(join_path("/", f"{base}/{path}"))
        return node is not None and node.kind is Kind.DIRECTORY


def _steps(field: list[tuple[str, bool]]) -> list[list[tuple[str, bool]]]:
    """The parts of a pattern between its slashes."""
    steps: list[list[tuple[str, bool]]] = [[]]
    for text, quoted in field:
        first, *others = text.split("/")
        steps[-1].append((first, quoted))
        steps.extend([(other, quoted)] for other in others)
    return steps

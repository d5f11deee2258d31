"""awk(1), evaluated. What reads or writes more than its files and its output is not understood.

Source: POSIX.1-2024, "awk"; ``gensub`` is GNU's.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

from builder.debian.scripts.commands.awk_parser import Node, Program, awk_string, parse_awk
from builder.debian.scripts.commands.text import input_of
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell
from builder.debian.scripts.language.patterns import PatternError, basic_regex, replaced
from builder.debian.scripts.subjects.builtins import modest
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import UNKNOWN, NotModelled

MAX_STEPS = 500_000
MAX_CALLS = 60
_NUMBER = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_FORMAT = re.compile(r"%([-+ #0]*)(\*|[0-9]+)?(?:\.([0-9]+))?([a-zA-Z%])")

Value = str | float
program_of = lru_cache(maxsize=64)(parse_awk)


class Read(str):
    """A text that came from outside: it is compared as a number if it looks like one."""

    __slots__ = ()


class _Leave(Exception):
    """``break``, ``continue``, ``next``, ``exit``, ``return``."""

    def __init__(self, word: str, value: Value = "") -> None:
        super().__init__(word)
        self.word = word
        self.value = value


def awk(shell: Shell, arguments: list[str]) -> Status:
    """``awk [-F c] [-v name=value] [-f file] 'program' [file ...]``."""
    variables: list[tuple[str, str]] = []
    rest = list(arguments)
    given: list[str] = []
    while rest and rest[0].startswith("-") and len(rest[0]) > 1 and rest[0] != "--":
        word = rest.pop(0)
        value = rest.pop(0) if word in ("-v", "-F", "-f") and rest else ""
        if word.startswith("-v"):
            name, _, text = (value or word[2:]).partition("=")
            variables.append((name, awk_string(text)))
        else:
            given += [word, *([value] if word in ("-F", "-f") else [])]
    options = read_options("awk", [*given, "--", *rest[rest[:1] == ["--"] :]], "", "F f", mixed=False)
    operands = list(options.operands)
    program = shell.system.read(shell.path(options.given["f"])) if "f" in options else None
    if "f" not in options and operands:
        program = operands.pop(0)
    if program is None:
        return 2
    if UNKNOWN in program or any(UNKNOWN in value for _, value in variables):
        shell.say(UNKNOWN)
        return 0
    machine = _Machine(shell, program_of(program))
    separator = options.get("F")
    if separator is not None:
        machine.variables["FS"] = awk_string(separator)
    machine.variables.update((name, Read(value)) for name, value in variables)
    return machine.run(operands)


def number(value: Value) -> float:
    """A value as a number: what a text begins with."""
    if isinstance(value, float):
        return value
    match = _NUMBER.match(value)
    return float(match[0]) if match else 0.0


def text_of(value: Value) -> str:
    """A value as a text."""
    if isinstance(value, str):
        return value
    if value == int(value) if math.isfinite(value) else False:
        return str(int(value))
    return f"{value:.6g}"


def _is_number(value: Value) -> bool:
    return isinstance(value, float) or (isinstance(value, Read) and bool(re.fullmatch(_NUMBER.pattern + r"\s*", value)))


class _Machine:
    """The state of a program that runs."""

    def __init__(self, shell: Shell, program: Program) -> None:
        self.shell = shell
        self.program = program
        self.variables: dict[str, Value] = {
            "FS": " ", "OFS": " ", "ORS": "\n", "RS": "\n", "NR": 0.0, "FNR": 0.0, "NF": 0.0, "SUBSEP": "\x1c",
            "RSTART": 0.0, "RLENGTH": -1.0, "FILENAME": "", "CONVFMT": "%.6g", "OFMT": "%.6g",
        }  # fmt: skip
        self.arrays: dict[str, dict[str, Value]] = {"ENVIRON": {k: Read(v) for k, v in shell.state.variables.items()}}
        self.locals: list[dict[str, Any]] = []
        self.fields: list[str] = [""]
        self.ranges: set[int] = set()
        self.written: dict[str, list[str]] = {}
        self.piped: dict[str, list[str]] = {}
        self.appended: set[str] = set()
        self.steps = 0

    # --- input and output --------------------------------------------------------------------------

    def run(self, operands: list[str]) -> Status:
        status = 0
        try:
            try:
                for action in self.program.begin:
                    self.execute(action)
                if self.program.rules or self.program.end:
                    missing = self.read(operands)
                    status = 2 if missing else 0
            except _Leave as leave:
                if leave.word != "exit":
                    raise NotModelled(f"awk's {leave.word} where it means nothing") from leave
                status = int(number(leave.value))
            for action in self.program.end:
                self.execute(action)
        except _Leave as leave:
            if leave.word != "exit":
                raise NotModelled(f"awk's {leave.word} where it means nothing") from leave
            status = int(number(leave.value)) if leave.value != "" else status
        self.flush()
        return status

    def read(self, operands: list[str]) -> bool:
        missing, read = False, False
        for operand in [*operands, None] if operands else [None]:
            if operand is None:
                if read:
                    break
                operand = "-"
            elif match := re.fullmatch(r"([A-Za-z_]\w*)=([\s\S]*)", operand):
                self.variables[match[1]] = Read(awk_string(match[2]))
                continue
            read = True
            text = input_of(self.shell, [operand])
            if text is None:
                missing = True
                continue
            if UNKNOWN in text:
                self.shell.say(UNKNOWN)
                return False
            self.variables["FILENAME"] = Read("" if operand == "-" else operand)
            self.variables["FNR"] = 0.0
            try:
                self.read_records(text)
            except _Leave as leave:
                if leave.word != "nextfile":
                    raise
        return missing

    def read_records(self, text: str) -> None:
        for record in self.records(text):
            self.variables["NR"] = number(self.variables["NR"]) + 1
            self.variables["FNR"] = number(self.variables["FNR"]) + 1
            self.set_record(record)
            try:
                self.rules()
            except _Leave as leave:
                if leave.word != "next":
                    raise

    def records(self, text: str) -> list[str]:
        separator = text_of(self.variables["RS"])
        if separator == "":
            return [part for part in re.split(r"\n\n+", text.strip("\n")) if part]
        parts = text.split(separator) if len(separator) == 1 else self.regex(separator).split(text)
        return parts[:-1] if parts[-1] == "" else parts

    def rules(self) -> None:
        for index, (first, second, action) in enumerate(self.program.rules):
            if second is None:
                matched = first is None or self.truth(first)
            else:
                assert first is not None
                matched = index in self.ranges or self.truth(first)
                if matched:
                    self.ranges.add(index)
                    if self.truth(second):
                        self.ranges.discard(index)
            if matched:
                if action is None:
                    self.write(self.fields[0] + text_of(self.variables["ORS"]), None)
                else:
                    self.execute(action)

    def write(self, text: str, target: tuple[str, str] | None) -> None:
        if target is None or target[1] in ("/dev/stdout", "-"):
            self.shell.say(text)
        elif target[1] in ("/dev/stderr", "/dev/null"):
            return
        elif target[0] == "|":
            self.piped.setdefault(target[1], []).append(text)
        else:
            self.written.setdefault(target[1], []).append(text)
            if target[0] == ">>":
                self.appended.add(target[1])

    def flush(self, only: str | None = None) -> None:
        for name in [only] if only is not None else [*self.written, *self.piped]:
            if name in self.written:
                text = "".join(self.written.pop(name))
                self.shell.system.write(self.shell.path(name), text, append=name in self.appended)
                self.appended.add(name)  # it is opened once more, after what is there
            elif name in self.piped:
                saved, self.shell.state.input = self.shell.state.input, "".join(self.piped.pop(name))
                try:
                    self.shell.run_text(name)
                finally:
                    self.shell.state.input = saved

    # --- records and variables ---------------------------------------------------------------------

    def set_record(self, record: str) -> None:
        self.fields = [record, *self.split(record, text_of(self.variables["FS"]))]
        self.variables["NF"] = float(len(self.fields) - 1)

    def split(self, text: str, separator: str) -> list[str]:
        if separator == " ":
            return text.split()
        if text == "":
            return []
        if self.variables["RS"] == "" and separator != "\n":
            return [part for line in text.split("\n") for part in self.split_line(line, separator)]
        return self.split_line(text, separator)

    def split_line(self, text: str, separator: str) -> list[str]:
        if separator == "":
            return list(text)
        return text.split(separator) if len(separator) == 1 else self.regex(separator).split(text)

    def join_record(self) -> None:
        self.fields[0] = text_of(self.variables["OFS"]).join(self.fields[1:])

    def get_field(self, index: int) -> Value:
        if index < 0:
            raise NotModelled("a field of awk's before the first")
        return Read(self.fields[index]) if index < len(self.fields) else Read("")

    def set_field(self, index: int, value: str) -> None:
        if index == 0:
            self.set_record(value)
            return
        if index > 10_000 or index < 0:
            raise NotModelled("a field of awk's that is far away")
        while len(self.fields) <= index:
            self.fields.append("")
        self.fields[index] = value
        self.variables["NF"] = float(len(self.fields) - 1)
        self.join_record()

    def array(self, name: str) -> dict[str, Value]:
        if self.locals and name in self.locals[-1]:
            found = self.locals[-1][name]
            if not isinstance(found, dict):
                found = self.locals[-1][name] = {}
            return found
        return self.arrays.setdefault(name, {})

    def key(self, keys: tuple[Node, ...]) -> str:
        return text_of(self.variables["SUBSEP"]).join(text_of(self.value(key)) for key in keys)

    def assign(self, target: Node, value: Value) -> Value:
        match target[0]:
            case "variable":
                name = target[1]
                if self.locals and name in self.locals[-1]:
                    self.locals[-1][name] = value
                else:
                    self.variables[name] = value
                    if name == "NF":
                        count = int(number(value))
                        self.fields = (self.fields + [""] * count)[: count + 1]
                        self.join_record()
            case "field":
                self.set_field(int(number(self.value(target[1]))), text_of(value))
            case "element":
                self.array(target[1])[self.key(target[2])] = value
            case _:
                raise NotModelled("an assignment of awk's")
        return value

    # --- statements --------------------------------------------------------------------------------

    def step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise NotModelled("an awk program that does not come to an end")

    def execute(self, node: Node) -> None:
        self.step()
        match node[0]:
            case "block":
                for each in node[1]:
                    self.execute(each)
            case "expression":
                self.value(node[1])
            case "print":
                texts = [text_of(self.value(each)) for each in node[1]] if node[1] else [self.fields[0]]
                self.write(
                    text_of(self.variables["OFS"]).join(texts) + text_of(self.variables["ORS"]), self.to(node[2])
                )
            case "printf":
                form, *values = [self.value(each) for each in node[1]]
                self.write(self.formatted(text_of(form), values), self.to(node[2]))
            case "if":
                if self.truth(node[1]):
                    self.execute(node[2])
                elif node[3] is not None:
                    self.execute(node[3])
            case "while" | "do" | "for" | "each":
                self.loop(node)
            case "delete":
                if node[2] is None:
                    self.array(node[1]).clear()
                else:
                    self.array(node[1]).pop(self.key(node[2]), None)
            case "exit" | "return":
                raise _Leave(node[0], "" if node[1] is None else self.value(node[1]))
            case word:
                raise _Leave(word)

    def to(self, target: tuple[str, Node] | None) -> tuple[str, str] | None:
        return None if target is None else (target[0], text_of(self.value(target[1])))

    def loop(self, node: Node) -> None:
        if node[0] == "each":
            _, key, name, body = node
            for each in list(self.array(name)):
                self.assign(key, Read(each))
                if not self.turn(body):
                    return
            return
        if node[0] == "for":
            _, first, condition, after, body = node
            if first is not None:
                self.execute(first)
        else:
            (kind, condition, body), after = node, None
            if kind == "do" and not self.turn(body):
                return
        while condition is None or self.truth(condition):
            self.step()
            if not self.turn(body):
                return
            if after is not None:
                self.execute(after)

    def turn(self, body: Node) -> bool:
        """The body once; whether the loop goes on."""
        try:
            self.execute(body)
        except _Leave as leave:
            if leave.word == "break":
                return False
            if leave.word != "continue":
                raise
        return True

    # --- expressions -------------------------------------------------------------------------------

    def truth(self, node: Node) -> bool:
        value = self.value(node)
        return number(value) != 0 if _is_number(value) else value != ""

    def regex(self, source: str) -> re.Pattern[str]:
        try:
            return basic_regex(source, extended=True)
        except PatternError as error:
            raise NotModelled(f"the pattern {source} of awk") from error

    def pattern(self, node: Node) -> re.Pattern[str]:
        return node[1] if node[0] == "regex" else self.regex(text_of(self.value(node)))

    def value(self, node: Node) -> Value:
        self.step()
        match node[0]:
            case "value":
                return node[1]  # type: ignore[no-any-return]  # nodes are tuples of anything
            case "group":
                return self.value(node[1])
            case "regex":
                return float(node[1].search(self.fields[0]) is not None)
            case "variable":
                if self.locals and node[1] in self.locals[-1]:
                    found: Value | dict[str, Value] = self.locals[-1][node[1]]
                    if isinstance(found, dict):
                        raise NotModelled("an array of awk's that is used as a value")
                    return found
                return self.variables.get(node[1], Read(""))
            case "field":
                return self.get_field(int(number(self.value(node[1]))))
            case "element":
                return self.array(node[1]).setdefault(self.key(node[2]), Read(""))
            case "in":
                return float(self.key(node[1]) in self.array(node[2]))
            case "assign":
                value = self.value(node[3])
                if node[1]:
                    value = _calculated(node[1], number(self.value(node[2])), number(value))
                return self.assign(node[2], value)
            case "before" | "after":
                old = number(self.value(node[2]))
                new = old + (1 if node[1] == "+" else -1)
                self.assign(node[2], new)
                return new if node[0] == "before" else old
            case "?":
                return self.value(node[2] if self.truth(node[1]) else node[3])
            case "&&":
                return float(self.truth(node[1]) and self.truth(node[2]))
            case "||":
                return float(self.truth(node[1]) or self.truth(node[2]))
            case "not":
                return float(not self.truth(node[1]))
            case "unary-":
                return -number(self.value(node[1]))
            case "unary+":
                return number(self.value(node[1]))
            case "join":
                return text_of(self.value(node[1])) + text_of(self.value(node[2]))
            case "~" | "!~":
                text = text_of(self.value(node[1]))
                return float((self.pattern(node[2]).search(text) is not None) == (node[0] == "~"))
            case "<" | "<=" | "==" | "!=" | ">" | ">=":
                return float(_compared(node[0], self.value(node[1]), self.value(node[2])))
            case "+" | "-" | "*" | "/" | "%" | "^":
                return _calculated(node[0], number(self.value(node[1])), number(self.value(node[2])))
            case "function":
                return self.function(node[1], node[2])
            case _:
                return self.call(node[1], node[2])

    def function(self, name: str, arguments: tuple[Node, ...]) -> Value:
        if name not in self.program.functions or len(self.locals) > MAX_CALLS:
            raise NotModelled(f"awk's function {name}")
        parameters, body = self.program.functions[name]
        frame: dict[str, Any] = dict.fromkeys(parameters, Read(""))
        for parameter, argument in zip(parameters, arguments, strict=False):
            if argument[0] == "variable" and self.is_array(argument[1]):
                frame[parameter] = self.array(argument[1])
            else:
                frame[parameter] = self.value(argument)
        self.locals.append(frame)
        try:
            self.execute(body)
        except _Leave as leave:
            if leave.word != "return":
                raise
            return leave.value
        finally:
            self.locals.pop()
        return Read("")

    def is_array(self, name: str) -> bool:
        if self.locals and name in self.locals[-1]:
            return isinstance(self.locals[-1][name], dict)
        return name in self.arrays

    def call(self, name: str, arguments: tuple[Node, ...]) -> Value:
        if name in ("length", "split", "sub", "gsub", "match"):
            return self.call_with_names(name, arguments)
        values = [self.value(argument) for argument in arguments]
        texts = [text_of(value) for value in values]
        match name, len(values):
            case "substr", 2 | 3:
                return _substring(texts[0], number(values[1]), number(values[2]) if len(values) > 2 else None)
            case "index", 2:
                return float(texts[0].find(texts[1]) + 1)
            case "tolower", 1:
                return texts[0].lower()
            case "toupper", 1:
                return texts[0].upper()
            case "sprintf", _ if values:
                return self.formatted(texts[0], values[1:])
            case "int", 1:
                return float(int(number(values[0])))
            case "sqrt", 1 if number(values[0]) >= 0:
                return math.sqrt(number(values[0]))
            case "close", 1:
                self.flush(texts[0])
                return 0.0
            case "fflush", _:
                return 0.0
            case _:
                raise NotModelled(f"awk's function {name}")

    def call_with_names(self, name: str, arguments: tuple[Node, ...]) -> Value:
        """Functions that want an array, a pattern or something to change among their arguments."""
        if name == "length":
            if arguments and arguments[0][0] == "variable" and self.is_array(arguments[0][1]):
                return float(len(self.array(arguments[0][1])))
            return float(len(text_of(self.value(arguments[0])) if arguments else self.fields[0]))
        if len(arguments) < 2:
            raise NotModelled(f"awk's function {name}")
        if name == "split":
            return self.split_into(arguments)
        if name == "match":
            found = self.pattern(arguments[1]).search(text_of(self.value(arguments[0])))
            self.variables["RSTART"] = float(found.start() + 1) if found else 0.0
            self.variables["RLENGTH"] = float(len(found[0])) if found else -1.0
            return self.variables["RSTART"]
        target = arguments[2] if len(arguments) > 2 else ("field", ("value", 0.0))
        pattern, new = self.pattern(arguments[0]), text_of(self.value(arguments[1]))
        text, count = replaced(
            pattern, text_of(self.value(target)), lambda match: _replacement(new, match), once=name == "sub"
        )
        if count:
            self.assign(target, text)
        return float(count)

    def split_into(self, arguments: tuple[Node, ...]) -> float:
        text = text_of(self.value(arguments[0]))
        if len(arguments) > 2 and arguments[2][0] == "regex":
            parts = arguments[2][1].split(text) if text else []
        else:
            given = self.value(arguments[2]) if len(arguments) > 2 else self.variables["FS"]
            parts = self.split(text, text_of(given))
        array = self.array(arguments[1][1])
        array.clear()
        array.update((str(index), Read(part)) for index, part in enumerate(parts, 1))
        return float(len(parts))

    def formatted(self, form: str, values: list[Value]) -> str:
        rest = list(values)

        def one(match: re.Match[str]) -> str:
            flags, width, precision, kind = match.groups()
            if kind == "%":
                return "%"
            if width == "*":
                width = text_of(rest.pop(0)) if rest else ""
            value = rest.pop(0) if rest else ""
            head = f"%{flags}" + modest((width or "") + (f".{precision}" if precision is not None else ""))
            if kind in "di":
                return f"{head}d" % int(number(value))
            if kind in "oxXu":
                return f"{head}{kind if kind != 'u' else 'd'}" % int(number(value))
            if kind in "eEfFgG":
                return f"{head}{kind}" % number(value)
            if kind == "c":
                return f"{head}s" % (chr(int(value)) if isinstance(value, float) else text_of(value)[:1])
            if kind == "s":
                return f"{head}s" % text_of(value)
            raise NotModelled(f"awk's format {match[0]}")

        return _FORMAT.sub(one, form)


def _compared(operator: str, left: Value, right: Value) -> bool:
    if _is_number(left) and _is_number(right):
        order = (number(left) > number(right)) - (number(left) < number(right))
    elif (left == "" and isinstance(left, Read) and isinstance(right, float)) or (
        right == "" and isinstance(right, Read) and isinstance(left, float)
    ):
        order = (number(left) > number(right)) - (number(left) < number(right))  # a variable that was never set
    else:
        one, other = text_of(left), text_of(right)
        order = (one > other) - (one < other)
    return {"<": order < 0, "<=": order <= 0, "==": order == 0, "!=": order != 0, ">": order > 0, ">=": order >= 0}[
        operator
    ]


def _calculated(operator: str, left: float, right: float) -> float:
    try:
        match operator:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "/":
                return left / right
            case "%":
                return math.fmod(left, right)
            case _:
                return float(left**right)
    except (ArithmeticError, ValueError) as error:
        raise NotModelled("awk's arithmetic") from error


def _substring(text: str, start: float, length: float | None) -> str:
    first = round(start)
    last = len(text) if length is None else first + round(length) - 1
    return text[max(first, 1) - 1 : max(last, 0)]


def _replacement(text: str, match: re.Match[str]) -> str:
    return re.sub(r"\\\\&|\\&|&", lambda found: match[0] if found[0] == "&" else found[0][-1:], text)


AWK = {"awk": awk, "mawk": awk, "gawk": awk, "original-awk": awk}

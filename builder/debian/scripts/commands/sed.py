"""sed(1): the small programs that scripts contain. What is not understood is not guessed.

Source: POSIX.1-2024, "sed", with GNU's additions (``0,/re/``, ``first~step``, ``addr,+n``, ``T``, ``z``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from builder.debian.scripts.commands.text import input_of
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell
from builder.debian.scripts.language.patterns import PatternError, basic_regex, replaced
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import UNKNOWN, NotModelled

MAX_COMMANDS = 400
MAX_STEPS = 500_000
_PLAIN = frozenset("=dDgGhHnNpPxz")
_TEXT = re.compile(r"[ \t]*(?:\\\n|\\(?=[ \t]))?[ \t]*((?:[^\n\\]|\\[\s\S])*)")


@dataclass(frozen=True)
class Address:
    """A line: by number, ``$``, pattern, or ``first~step``."""

    number: int = 0
    last: bool = False
    regex: re.Pattern[str] | None = None
    step: int = 0

    def matches(self, state: _State) -> bool:
        if self.regex is not None:
            return self.regex.search(state.space) is not None
        if self.step:
            return state.number >= self.number and (state.number - self.number) % self.step == 0
        return state.is_last() if self.last else state.number == self.number


@dataclass
class Edit:
    """One command; a range of addresses remembers whether it is inside (``until``: the line where it ends)."""

    first: Address | None
    second: Address | int | None  # a number: that many lines more
    negated: bool
    name: str
    regex: re.Pattern[str] | None = None
    text: str = ""
    flags: str = ""
    target: int = -1  # of a jump, and of "{" the place after its "}"
    inside: bool = False
    until: int = 0


@dataclass
class _State:
    """What sed knows while it works on one input."""

    lines: list[str]
    end: str
    ended: bool
    space: str = ""
    hold: str = ""
    number: int = 0
    out: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    replaced: bool = False
    unended: int = 0

    def is_last(self) -> bool:
        return self.number >= len(self.lines)

    def take(self) -> bool:
        """The next line into the pattern space."""
        if self.is_last():
            return False
        self.space = self.lines[self.number]
        self.number += 1
        return True

    def add(self, text: str) -> None:
        """Write a line; one before it that has no end gets it."""
        if self.unended and self.unended == len(self.out):
            self.out[-1] += self.end
        self.out.append(text + self.end)

    def show(self) -> None:
        """Write the pattern space; like the input, the last line may go without its end."""
        self.add(self.space)
        if self.is_last() and not self.ended:
            self.out[-1] = self.space
            self.unended = len(self.out)

    def flush(self) -> None:
        for text in self.after:
            self.add(text)
        self.after = []


def sed(shell: Shell, arguments: list[str]) -> Status:
    """``sed [-n] [-i] [-r|-E] [-z] [-e program] [-f file] program [file ...]``."""
    programs, words = _programs(shell, arguments)
    flags = (
        "n r E s u z i quiet silent regexp-extended follow-symlinks posix unbuffered separate null-data in-place debug"
    )
    in_place = [w for w in words if w.startswith(("-i", "--in-place")) or re.fullmatch(r"-[nErsuz]+i.*", w)]
    backup = ""
    if in_place:
        word = in_place[0]
        backup = word.partition("=")[2] if word.startswith("--") else word.partition("i")[2]
        letters = "" if word.startswith("--") else word.partition("i")[0].lstrip("-")
        words[words.index(word)] = f"-{letters}i"
    options = read_options("sed", words, flags)
    rest = list(options.operands)
    if not programs:
        if not rest:
            return 1
        programs = [rest.pop(0)]
    if any(UNKNOWN in program for program in programs):
        if in_place:
            raise NotModelled("a sed program that is only known on a running machine")
        shell.say(UNKNOWN)
        return 0
    extended = bool({"r", "E", "regexp-extended"} & options.given.keys())
    program = _Parser("\n".join(programs), extended=extended).program()
    quiet = bool({"n", "quiet", "silent"} & options.given.keys())
    end = "\0" if {"z", "null-data"} & options.given.keys() else "\n"
    if not in_place:
        text = input_of(shell, rest)
        if text is None:
            return 2
        if UNKNOWN in text:
            shell.say(UNKNOWN)
            return 0
        out, status = _run(shell, program, text, quiet, end)
        shell.say(out)
        return status
    status = 0
    for name in rest:
        path = shell.path(name)
        text = shell.system.read(path)
        if text is None:
            status = 2
            continue
        out, left = _run(shell, program, text, quiet, end)
        if backup:
            tail = path.rpartition("/")[2]
            shell.system.write(path[: -len(tail)] + backup.replace("*", tail) if "*" in backup else path + backup, text)
        shell.system.write(path, out)
        status = status or left
    return status


def _programs(shell: Shell, arguments: list[str]) -> tuple[list[str], list[str]]:
    """The programs of ``-e`` and ``-f``, and the other words."""
    programs: list[str] = []
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += ["--", *words]
            break
        bundle = re.fullmatch(r"-([nErsuz]*)([ef])(.*)", word, re.S)
        long = re.fullmatch(r"--(expression|file)(?:=(.*))?", word, re.S)
        if bundle is None and long is None:
            rest.append(word)
            continue
        if bundle is not None:
            rest += [f"-{bundle[1]}"] if bundle[1] else []
            kind, value = bundle[2], bundle[3] or None
        else:
            assert long is not None
            kind, value = long[1][0], long[2]
        if value is None:
            if not words:
                raise NotModelled(f"sed {word} without a value")
            value = words.pop(0)
        if kind == "f":
            text = shell.system.read(shell.path(value))
            if text is None:
                raise NotModelled(f"there is no {value}")
            value = text.removesuffix("\n")
        programs.append(value)
    return programs, rest


class _Parser:
    """Reads a program into a flat list, jumps resolved."""

    def __init__(self, text: str, *, extended: bool) -> None:
        self.text = text
        self.at = 0
        self.extended = extended
        self.regex_before: re.Pattern[str] | None = None

    def peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]

    def skip(self, characters: str) -> None:
        while self.peek() and self.peek() in characters:
            self.at += 1

    def fail(self) -> NotModelled:
        return NotModelled(f"the sed program {self.text}")

    def program(self) -> list[Edit]:
        edits: list[Edit] = []
        labels: dict[str, int] = {}
        open_braces: list[int] = []
        while True:
            self.skip(" \t\n;")
            if not self.peek():
                break
            if self.peek() == "#":
                self.line()
                continue
            edit = self.command()
            if edit.name == ":":
                labels[edit.text] = len(edits)
                continue
            if edit.name == "}":
                if not open_braces:
                    raise self.fail()
                edits[open_braces.pop()].target = len(edits)
                continue
            if edit.name == "{":
                open_braces.append(len(edits))
            edits.append(edit)
            if len(edits) > MAX_COMMANDS:
                raise NotModelled("a sed program that is too long")
        if open_braces:
            raise self.fail()
        for edit in edits:
            if edit.name in "btT":
                edit.target = labels.get(edit.text, -1) if edit.text else len(edits)
                if edit.target < 0:
                    raise self.fail()
        return edits

    def line(self) -> str:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        found, self.at = self.text[self.at : end], end
        return found

    def command(self) -> Edit:
        first = self.address()
        second: Address | int | None = None
        if first is not None:
            self.skip(" \t")
            if self.peek() == ",":
                self.at += 1
                self.skip(" \t")
                second = self.second()
        if first == Address() and not (isinstance(second, Address) and second.regex):
            raise self.fail()
        self.skip(" \t")
        negated = False
        while self.peek() == "!":
            negated = True
            self.at += 1
            self.skip(" \t")
        edit = Edit(first, second, negated, self.peek())
        self.at += 1
        self.arguments(edit)
        return edit

    def address(self) -> Address | None:
        if match := re.compile(r"([0-9]+)(?:~([0-9]+))?").match(self.text, self.at):
            self.at = match.end()
            return Address(int(match[1]), step=int(match[2] or 0))
        if self.peek() == "$":
            self.at += 1
            return Address(last=True)
        if self.peek() == "/" or (self.peek() == "\\" and self.peek(2)[1:]):
            self.at += 1 if self.peek() == "/" else 2
            source = self.delimited(self.text[self.at - 1])
            flags = re.compile("[IM]*").match(self.text, self.at)
            assert flags is not None
            self.at = flags.end()
            return Address(regex=self.regex(source, flags[0]))
        return None

    def second(self) -> Address | int:
        if match := re.compile(r"\+([0-9]+)").match(self.text, self.at):
            self.at = match.end()
            return int(match[1])
        found = self.address()
        if found is None:
            raise self.fail()
        return found

    def delimited(self, delimiter: str) -> str:
        """The text of a pattern up to a delimiter, which is taken; in brackets it is a character like others."""
        found = self.until(delimiter, brackets=True)
        return found.replace("\\" + delimiter, delimiter) if delimiter not in ".*[]^$+?(){}" else found

    def replacement(self, delimiter: str) -> str:
        """The same for a text that is no pattern."""
        found = self.until(delimiter)
        return found.replace("\\" + delimiter, delimiter) if delimiter != "&" else found

    def until(self, delimiter: str, *, brackets: bool = False) -> str:
        start = self.at
        while self.at < len(self.text):
            if brackets and self.peek() == "[" and (end := self.after_bracket()):
                self.at = end
            elif self.text[self.at] == "\\":
                self.at += 2
            elif self.text[self.at] == delimiter:
                self.at += 1
                return self.text[start : self.at - 1]
            else:
                self.at += 1
        raise self.fail()

    def after_bracket(self) -> int:
        """Where the bracket expression that begins here ends; 0 if it does not."""
        at = self.at + 1
        at += self.text[at : at + 1] == "^"
        at += self.text[at : at + 1] == "]"
        while at < len(self.text) and self.text[at] not in "]\n":
            closing = -1
            if self.text[at] == "[" and self.text[at + 1 : at + 2] in (":", ".", "="):
                closing = self.text.find(self.text[at + 1] + "]", at + 2)
            at = closing + 2 if closing > 0 else at + 1
        return at + 1 if self.text[at : at + 1] == "]" else 0

    def regex(self, source: str, flags: str = "") -> re.Pattern[str]:
        if not source:
            if self.regex_before is None:
                raise self.fail()
            return self.regex_before
        if "M" in flags or "m" in flags:
            raise NotModelled("a sed pattern over several lines")
        # In brackets as well, which is GNU's.
        source = re.sub(r"\\([\s\S])", lambda m: {"t": "\t", "n": "\n"}.get(m[1], m[0]), source)
        try:
            found = basic_regex(source, extended=self.extended, ignore_case="I" in flags or "i" in flags)
        except PatternError as error:
            raise NotModelled(f"the pattern {source} of sed") from error
        self.regex_before = found
        return found

    def arguments(self, edit: Edit) -> None:
        match edit.name:
            case "s":
                delimiter = self.peek()
                self.at += 1
                source = self.delimited(delimiter)
                edit.text = self.replacement(delimiter)
                flags = re.compile(r"[gpIiMm0-9]*").match(self.text, self.at)
                assert flags is not None
                edit.flags, self.at = flags[0], flags.end()
                edit.regex = self.regex(source, edit.flags)
            case "y":
                delimiter = self.peek()
                self.at += 1
                edit.text, edit.flags = (_characters(self.replacement(delimiter)) for _ in range(2))
                if len(edit.text) != len(edit.flags):
                    raise self.fail()
            case "a" | "i" | "c":
                found = _TEXT.match(self.text, self.at)
                assert found is not None
                edit.text = re.sub(r"\\([\s\S])", lambda m: {"t": "\t"}.get(m[1], m[1]), found[1])
                self.at = found.end()
                return
            case "b" | "t" | "T" | ":":
                self.skip(" \t")
                found = re.compile(r"[^\s;}]*" if edit.name != ":" else r"[^\s;]*").match(self.text, self.at)
                assert found is not None
                edit.text, self.at = found[0], found.end()
                if edit.name == ":":
                    return  # a command may follow at once
            case "r":
                self.skip(" \t")
                edit.text = self.line()
            case "q" | "Q":
                self.skip(" \t")
                found = re.compile("[0-9]*").match(self.text, self.at)
                assert found is not None
                edit.text, self.at = found[0], found.end()
            case "{" | "}":
                return
            case name if not name or name not in _PLAIN:
                raise self.fail()
            case _:
                pass
        self.skip(" \t")
        if self.peek() and self.peek() not in "\n;}#":
            raise self.fail()


def _characters(text: str) -> str:
    return re.sub(r"\\([\s\S])", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), text)


def _applies(edit: Edit, state: _State) -> bool:
    if edit.first is None:
        result = True
    elif edit.second is None:
        result = edit.first.matches(state)
    else:
        result = _in_range(edit, state)
    return result != edit.negated


def _in_range(edit: Edit, state: _State) -> bool:
    assert edit.first is not None
    from_zero = edit.first == Address()
    if not edit.inside:
        if from_zero and state.number == 1 and not edit.until:
            edit.inside, edit.until = True, -1
        elif from_zero or not edit.first.matches(state):
            return False
        else:
            edit.inside = True
            if isinstance(edit.second, int):
                edit.until = state.number + edit.second
                edit.inside = edit.second > 0
            elif isinstance(edit.second, Address) and edit.second.regex is None and not edit.second.last:
                edit.inside = edit.second.number > state.number
            return True
    if isinstance(edit.second, int):
        edit.inside = state.number < edit.until
    else:
        assert edit.second is not None
        if edit.second.regex is None and not edit.second.last:
            edit.inside = state.number < edit.second.number
            return state.number <= edit.second.number
        edit.inside = not edit.second.matches(state)
    return True


def _run(shell: Shell, edits: list[Edit], text: str, quiet: bool, end: str) -> tuple[str, Status]:
    for edit in edits:
        edit.inside, edit.until = False, 0
    lines = text.split(end)
    ended = lines[-1] == ""
    if ended:
        lines.pop()
    state = _State(lines, end, ended)
    steps, status, going = 0, 0, True
    restart = False
    while going and (restart or state.take()):
        at, printed, restart = 0, not quiet, False
        state.replaced = False
        while at < len(edits):
            steps += 1
            if steps > MAX_STEPS:
                raise NotModelled("a sed program that does not come to an end")
            edit = edits[at]
            at += 1
            if not _applies(edit, state):
                if edit.name == "{":
                    at = edit.target
                continue
            match edit.name:
                case "{":
                    continue
                case "b":
                    at = edit.target
                case "t" | "T":
                    if state.replaced == (edit.name == "t"):
                        at = edit.target
                    state.replaced = False
                case "d":
                    printed = False
                    break
                case "D":
                    printed = False
                    if "\n" in state.space:
                        state.space, restart = state.space.partition("\n")[2], True
                    break
                case "c":
                    if edit.second is None or edit.negated or not edit.inside:
                        state.add(edit.text)
                    printed = False
                    break
                case "n":
                    if state.is_last():
                        going = False
                        break
                    if not quiet:
                        state.show()
                    state.flush()
                    state.take()
                case "N":
                    before = state.space
                    state.flush()
                    if not state.take():
                        going = False  # GNU prints what there is
                        break
                    state.space = f"{before}\n{state.space}"
                case "q" | "Q":
                    printed = printed and edit.name == "q"
                    status, going = int(edit.text or 0), False
                    break
                case _:
                    _edit(shell, edit, state)
        if printed:
            state.show()
        state.flush()
    return "".join(state.out), status


def _edit(shell: Shell, edit: Edit, state: _State) -> None:
    """A command that does not change where we are in the program."""
    match edit.name:
        case "s":
            assert edit.regex is not None
            state.space, done = _substitute(edit, state.space)
            state.replaced = state.replaced or done
            if done and "p" in edit.flags:
                state.show()
        case "y":
            state.space = state.space.translate({ord(a): b for a, b in zip(edit.text, edit.flags, strict=True)})
        case "p":
            state.show()
        case "P":
            state.add(state.space.partition("\n")[0])
        case "=":
            state.add(str(state.number))
        case "a":
            state.after.append(edit.text)
        case "i":
            state.add(edit.text)
        case "r":
            text = (shell.state.input or "") if edit.text == "/dev/stdin" else shell.system.read(shell.path(edit.text))
            if text:
                state.after += text.removesuffix("\n").split("\n")
        case "h":
            state.hold = state.space
        case "H":
            state.hold += "\n" + state.space
        case "g":
            state.space = state.hold
        case "G":
            state.space += "\n" + state.hold
        case "x":
            state.space, state.hold = state.hold, state.space
        case _:  # "z"
            state.space = ""


def _substitute(edit: Edit, line: str) -> tuple[str, bool]:
    assert edit.regex is not None
    count, done = 0, 0
    wanted = int(re.sub(r"\D", "", edit.flags) or 1)

    def replace(match: re.Match[str]) -> str:
        nonlocal count, done
        count += 1
        if count < wanted or (count > wanted and "g" not in edit.flags):
            return match[0]
        done += 1
        return _replaced(edit.text, match)

    return replaced(edit.regex, line, replace)[0], done > 0


def _replaced(text: str, match: re.Match[str]) -> str:
    result, at = "", 0
    case, once = "", ""  # \U and \L until \E; \u and \l for one character

    def add(piece: str) -> None:
        nonlocal result, once
        piece = piece.upper() if case == "U" else piece.lower() if case == "L" else piece
        if once and piece:
            piece = (piece[0].upper() if once == "u" else piece[0].lower()) + piece[1:]
            once = ""
        result += piece

    while at < len(text):
        char = text[at]
        at += 1
        if char == "&":
            add(match[0])
        elif char == "\\" and at < len(text):
            following = text[at]
            at += 1
            if following.isdigit():
                if int(following) > match.re.groups:
                    raise NotModelled(f"the sed replacement {text}")
                add(match[int(following)] or "")
            elif following in "ULE":
                case = following if following != "E" else ""
            elif following in "ul":
                once = following
            else:
                add({"n": "\n", "t": "\t"}.get(following, following))
        else:
            add(char)
    return result


SED = {"sed": sed}

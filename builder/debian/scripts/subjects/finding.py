"""find(1): the expressions that scripts use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.language.patterns import PatternError, convert_glob, convert_regex
from builder.debian.scripts.subjects.accounts import find_group_id, find_user_id
from builder.debian.scripts.target_system import NotModelled
from builder.tree.node import Kind, Node


@dataclass(frozen=True)
class VisitedPath:
    """One path that find looks at.

    Attributes:
        name: as it is printed; path: where it is in the tree; start: the operand that led here.
    """

    name: str
    path: str
    start: str
    node: Node


Test = Callable[[VisitedPath], bool]
_GLOBAL = frozenset(("-xdev", "-mount", "-depth", "-d", "-follow", "-noleaf", "-ignore_readdir_race", "-daystart"))
_PRINTED = re.compile(r"%([pfPh%])|\\([n0t\\])")


@dataclass
class Expression:
    """What find looks for, how deep, and what it does with what it finds.

    Attributes:
        quits: nothing is looked at after this.
        pruned: paths below which nothing is looked at.
        together: commands that end with ``+``, and the names for them.
    """

    test: Test = lambda _: True
    least: int = 0
    most: int = 1000
    acts: bool = False
    quits: bool = False
    pruned: list[str] = field(default_factory=list)
    together: list[tuple[list[str], list[str]]] = field(default_factory=list)


def find(shell: Shell, arguments: list[str]) -> Status:
    """``find path ... [-maxdepth n] [-type t] [-name p] [( ... -o ... )] [-prune] [-print|-delete|-exec ... ]``."""
    rest = list(arguments)
    starts: list[str] = []
    while rest and rest[0] in ("-H", "-L", "-P"):
        rest.pop(0)
    while rest and not rest[0].startswith(("-", "(", "!")):
        starts.append(rest.pop(0))
    expression = read_expression(shell, rest)
    status: Status = 0
    for start in starts or ["."]:
        base = shell.system.tree.resolve(shell.resolve_path(start))
        if shell.system.get(base) is None:
            status = 1
            continue
        entries = list(shell.system.walk(base))
        for path, node in reversed(entries) if "-delete" in rest else entries:
            depth = path[len(base.rstrip("/")) :].count("/") if path != base else 0
            if not expression.least <= depth <= expression.most or _is_below(path, expression.pruned):
                continue
            entry = VisitedPath(start.rstrip("/") + path[len(base) :] if path != base else start, path, start, node)
            fits = expression.test(entry)
            if expression.quits:
                break
            if fits and not expression.acts:
                shell.say(entry.name + "\n")
        if expression.quits:
            break
    for words, names in expression.together:
        if names and shell.call([*(word for word in words if word != "{}"), *names]) != 0:
            status = 1
    return status


def _is_below(path: str, pruned: list[str]) -> bool:
    return any(path.startswith(f"{where}/") for where in pruned)


def read_expression(shell: Shell, words: list[str]) -> Expression:
    """The words after the paths.

    Raises:
        NotModelled: one that is not known.
    """
    reader = _Reader(shell, words)
    result = reader.result
    result.test = reader.either() if reader.rest else result.test
    if reader.rest:
        raise NotModelled(f"find {reader.rest[0]}")
    return result


class _Reader:
    """Recursive descent over find's words: ``-o`` binds less than what stands side by side."""

    def __init__(self, shell: Shell, words: list[str]) -> None:
        self.shell = shell
        self.rest = list(words)
        self.result = Expression()

    def either(self) -> Test:
        left = self.both()
        while self.rest[:1] in (["-o"], ["-or"]):
            self.rest.pop(0)
            left = _either(left, self.both())
        return left

    def both(self) -> Test:
        left = self.one()
        while self.rest and self.rest[0] not in ("-o", "-or", ")"):
            if self.rest[0] in ("-a", "-and"):
                self.rest.pop(0)
            left = _both(left, self.one())
        return left

    def one(self) -> Test:
        if not self.rest:
            raise NotModelled("a find expression that does not end")
        word = self.rest.pop(0)
        if word in ("!", "-not"):
            inner = self.one()
            return lambda entry: not inner(entry)
        if word == "(":
            inner = self.either()
            if self.rest[:1] != [")"]:
                raise NotModelled("a find expression that does not end")
            self.rest.pop(0)
            return inner
        return self.primary(word)

    def primary(self, word: str) -> Test:
        if word in _GLOBAL or word == "-true":
            return lambda _: True
        if word in ("-maxdepth", "-mindepth") and self.rest and self.rest[0].isdigit():
            depth = int(self.rest.pop(0))
            if word == "-mindepth":
                self.result.least = depth
            else:
                self.result.most = depth
            return lambda _: True
        if word == "-regextype" and self.rest:
            self.rest.pop(0)
            return lambda _: True
        if word == "-prune":
            return self.prune
        if word == "-quit":
            return self.quit
        if word in ("-print", "-print0", "-printf", "-delete", "-exec", "-execdir", "-ls"):
            return self.action(word)
        return _check(self.shell, word, self.rest.pop(0) if self.rest and word != "-empty" else "")

    def prune(self, entry: VisitedPath) -> bool:
        self.result.pruned.append(entry.path)
        return True

    def quit(self, _entry: VisitedPath) -> bool:
        self.result.quits = True
        return True

    def action(self, word: str) -> Test:
        self.result.acts = True
        shell = self.shell
        if word in ("-print", "-print0"):
            end = "\0" if word == "-print0" else "\n"
            return _always(lambda entry: shell.say(entry.name + end))
        if word == "-printf" and self.rest:
            form = self.rest.pop(0)
            if re.search(r"%[^pfPh%]", form):
                raise NotModelled(f"find -printf {form}")
            return _always(lambda entry: shell.say(_printed(form, entry)))
        if word == "-delete":
            return _always(lambda entry: shell.system.remove(entry.path))
        if word not in ("-exec", "-execdir"):
            raise NotModelled(f"find {word}")
        command: list[str] = []
        while self.rest and command[-1:] != [";"] and command[-2:] != ["{}", "+"]:
            command.append(self.rest.pop(0))
        if command[-1:] == ["+"]:
            names: list[str] = []
            self.result.together.append((command[:-1], names))
            return _always(lambda entry: names.append(entry.name))
        if command[-1:] != [";"]:
            raise NotModelled("find -exec without an end")
        return lambda entry: shell.call([word.replace("{}", entry.name) for word in command[:-1]]) == 0


def _always(act: Callable[[VisitedPath], None]) -> Test:
    def test(entry: VisitedPath) -> bool:
        act(entry)
        return True

    return test


def _either(left: Test, right: Test) -> Test:
    return lambda entry: left(entry) or right(entry)


def _both(left: Test, right: Test) -> Test:
    return lambda entry: left(entry) and right(entry)


def _printed(form: str, entry: VisitedPath) -> str:
    head, _, tail = entry.name.rpartition("/")
    values = {"p": entry.name, "f": tail, "h": head or ".", "P": entry.name[len(entry.start) :].lstrip("/"), "%": "%"}
    escapes = {"n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
    return _PRINTED.sub(lambda match: values[match[1]] if match[1] else escapes[match[2]], form)


def _check(shell: Shell, word: str, value: str) -> Test:
    if word in ("-user", "-group"):
        number = find_user_id(shell, value) if word == "-user" else find_group_id(shell, value)
        word, value = ("-uid" if word == "-user" else "-gid"), str(number)
    if word in ("-type", "-xtype"):
        return lambda entry: entry.node.kind.value in value.split(",")
    if word in ("-name", "-path", "-wholename", "-iname", "-ipath"):
        pattern = re.compile(convert_glob([(value, False)]), re.I if word.startswith("-i") else 0)
        whole = not word.endswith("name") or word == "-wholename"
        return lambda entry: pattern.fullmatch(entry.name if whole else entry.name.rpartition("/")[2]) is not None
    if word in ("-regex", "-iregex"):
        try:
            regex = convert_regex(value, ignore_case=word == "-iregex")
        except PatternError as error:
            raise NotModelled(f"find {word} {value}") from error
        return lambda entry: regex.fullmatch(entry.name) is not None
    if word == "-empty":
        return lambda entry: (
            (entry.node.kind is Kind.FILE and entry.node.size == 0)
            or (entry.node.kind is Kind.DIRECTORY and not shell.system.list_children(entry.path))
        )
    if word == "-lname":
        pattern = re.compile(convert_glob([(value, False)]))
        return lambda entry: entry.node.kind is Kind.SYMLINK and pattern.fullmatch(entry.node.target) is not None
    if word in ("-uid", "-gid") and value.isdigit():
        return lambda entry: (entry.node.uid if word == "-uid" else entry.node.gid) == int(value)
    if word in ("-nouser", "-nogroup"):
        raise NotModelled(f"find {word}")
    if word == "-perm" and re.fullmatch("[-/+]?[0-7]+", value):
        bits = int(value.lstrip("-/+"), 8)
        if value[0] in "/+":
            return lambda entry: bits == 0 or entry.node.mode & bits != 0
        return lambda entry: (entry.node.mode & bits if value[0] == "-" else entry.node.mode) == bits
    raise NotModelled(f"find {word} {value}")


COMMANDS = make_models({"find": find}, match_patterns=("find",))

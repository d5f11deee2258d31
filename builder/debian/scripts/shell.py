"""The evaluator: walks a script's commands under the facts of a fresh installation. Nothing is executed.

What a command does is a function in :mod:`builder.debian.scripts.commands`. What cannot be known while an image is made
is carried along as :data:`UNKNOWN`; where the course of a script depends on it, every way is tried, and they must come
to the same, or the lines are unaccounted for.

Source: POSIX.1-2024, "Shell Command Language", 2.8 (errors), 2.9 (commands), 2.15 (special built-ins).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager

from builder.debian.scripts.effects import Does, Effect, Unaccounted
from builder.debian.scripts.expand import Expander
from builder.debian.scripts.parser import parse, parse_word
from builder.debian.scripts.syntax import (
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
from builder.debian.scripts.words import ScriptSyntaxError
from builder.debian.scripts.world import DEVICES, UNKNOWN, NotModelled, World, joined

MAX_STEPS = 200_000  # php8.4-common takes 40,000
MAX_CALLS = 60
MAX_VALUE = 1 << 20  # characters; a variable that is doubled in a loop would fill the memory
BINARIES = frozenset(("/usr/bin", "/usr/sbin", "/bin", "/sbin"))
SHELLS = frozenset(("sh", "dash", "bash"))
Status = int | None  # None: not known


class Exit(Exception):
    """``exit``, or a failure under ``set -e``."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Return(Exit):
    """``return``."""


class Leave(Exception):
    """``break`` and ``continue``: out of ``levels`` loops."""

    def __init__(self, levels: int, *, again: bool) -> None:
        super().__init__(levels)
        self.levels = levels
        self.again = again


class TooLong(Exception):
    """The script did not come to an end."""


def interpreter(text: str) -> str:
    """The name of the program that a script is written for; empty if it is no script."""
    first = text.partition("\n")[0]
    words = first[2:].split() if first.startswith("#!") else []
    if words and words[0].endswith("/env"):
        words = words[1:]
    return words[0].rpartition("/")[2] if words else ""


class Shell:
    """The state of a shell while it evaluates a script.

    Attributes:
        directory: the current one.
        unaccounted: lines that nobody speaks for, in the order they were met.
        input: what a command reads from its standard input, or ``None``.
        answers: to debconf's questions, by name; templates: the package's questions; asked: those until the next
            ``db_go``.
        position: the lines of the last simple command.
        is_bash: the script is not for any shell, but for bash.
    """

    def __init__(self, world: World, text: str, arguments: Items[str], environment: dict[str, str]) -> None:
        self.world = world
        self.arguments = list(arguments)
        self.variables = dict(environment)
        self.functions: dict[str, Command] = {}
        self.directory = "/"
        self.name = f"/var/lib/dpkg/info/{world.package}.{environment.get('DPKG_MAINTSCRIPT_NAME', '')}"
        self.unaccounted: list[Unaccounted] = []
        self.input: str | None = None
        self.no_glob = False
        self.exit_on_error = False
        self.is_bash = interpreter(text) == "bash"
        self.status: Status = 0
        self.aliases: dict[str, str] = {}
        self.associative: set[str] = set()  # arrays whose keys are texts
        self.answers: dict[str, str] = {}
        self.templates: dict[str, dict[str, str]] = {}
        self.unasked = False
        self.asked: list[str] = []
        self.expander = Expander(self)
        self._lines = text.split("\n")
        self._descriptors: dict[int, str] = {}  # what is still to be read from those above 2
        self._out: list[list[str]] = []
        self._local: list[dict[str, str | None]] = []  # of each function we are in, what its variables were
        self._substituted: list[Status] = [0]
        self._tested = 0
        self._steps = 0
        self._calls = 0
        self._line = (1, 1)
        self.position = (1, 1)

    # --- for commands ------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Write to the standard output."""
        if self._out:
            self._out[-1].append(text)

    def value(self, name: str) -> str | None:
        """A parameter's value, or ``None`` if it is not set."""
        if name.isdigit():
            number = int(name)
            if number == 0:
                return self.name
            return self.arguments[number - 1] if number <= len(self.arguments) else None
        match name:
            case "#":
                return str(len(self.arguments))
            case "?":
                return UNKNOWN if self.status is None else str(self.status)
            case "@" | "*":
                return " ".join(self.arguments) if self.arguments else None
            case "$" | "!":
                return UNKNOWN
            case "-":
                return ""
            case _:
                return self.variables.get(name, self.variables.get(f"{name}[0]"))

    def assign(self, name: str, value: str) -> None:
        """Set a variable."""
        if len(value) > MAX_VALUE:
            raise TooLong
        self.variables[name] = value

    def elements(self, name: str) -> list[tuple[str, str]]:
        """An array's keys and values, by number; a variable that is none is an array of one."""
        start = f"{name}["
        found = [(key[len(start) : -1], value) for key, value in self.variables.items() if key.startswith(start)]
        if not found and name in self.variables:
            return [("0", self.variables[name])]
        return found if name in self.associative else sorted(found, key=lambda item: int(item[0]))

    def forget(self, name: str) -> None:
        """Unset a variable, an array with all in it, or ``name[key]``."""
        for key in [key for key in self.variables if key == name or key.startswith(f"{name}[")]:
            del self.variables[key]

    def _assign_word(self, target: str, word: Word) -> None:
        name = target.removesuffix("+")
        adds = target != name
        if word.parts and isinstance(word.parts[0], Elements):
            values = [
                (None if key is None else self.expander.key(name, key), value)
                for key, each in word.parts[0].items
                for value in (self.expander.fields([each]) if key is None else [self.expander.text(each)])
            ]
            if not adds:
                self.forget(name)
            following = 1 + max((int(key) for key, _ in self.elements(name) if key.isdigit()), default=-1)
            for given, value in values:
                key = str(following) if given is None else given
                following = int(key) + 1 if key.isdigit() else following
                self.assign(f"{name}[{key}]", value)
            return
        text = self.expander.text(word)
        if match := re.fullmatch(r"(\w+)\[(.*)\]", name):
            name = f"{match[1]}[{self.expander.key(match[1], parse_word(match[2]))}]"
        self.assign(name, (self.variables.get(name, "") if adds else "") + text)

    def path(self, argument: str) -> str:
        """An argument as an absolute path."""
        if UNKNOWN in argument:
            raise NotModelled("a path that is not known")
        return joined(self.directory, argument)

    def output_of(self, command: Command) -> str:
        """What commands write, run as in ``$(...)``."""
        with self._subshell(), self._captured() as out:
            self.status = self._protected(command)
        self._substituted = [self.status]
        return "".join(out)

    def run_text(self, text: str) -> Status:
        """``eval`` and ``sh -c``."""
        try:
            return self.run(parse(text))
        except ScriptSyntaxError as error:
            raise NotModelled(error.what) from error

    def run_inner(self, text: str, arguments: Items[str] = ()) -> Status:
        """A shell of its own that is given its commands as a text: what it changes of its state, it keeps to itself."""
        with self._subshell():
            self.arguments, self.exit_on_error = list(arguments), False
            try:
                return self.run_text(text)
            except Exit as leave:
                return leave.status

    def call(self, words: list[str]) -> Status:
        """Run a command whose words are expanded: a function of the script, or a model."""
        from builder.debian.scripts.commands import COMMANDS, COREUTILS, TOLERANT  # noqa: PLC0415 - they need this module

        name = words[0]
        if name in self.functions:
            return self._call_function(name, words[1:])
        if name in self.aliases:
            return self.run_text(shlex.join(["command", *shlex.split(self.aliases[name]), *words[1:]]))
        if UNKNOWN in name:
            raise NotModelled("a command whose name is not known")
        short = name.rpartition("/")[2] if name.startswith("/") else name
        model = COMMANDS.get(short)
        if model is None or (short in COREUTILS and "/" in name and name.rpartition("/")[0] not in BINARIES):
            return self._run_program(name, words[1:])
        if short not in TOLERANT and any(UNKNOWN in word for word in words[1:]):
            raise NotModelled(f"an argument of {short} is only known on a running machine")
        return model(self, words[1:])

    def find_program(self, name: str) -> str | None:
        """Where ``PATH`` leads for a name."""
        for place in (
            [name] if "/" in name else [f"/{where}/{name}" for where in ("usr/sbin", "usr/bin", "sbin", "bin")]
        ):
            path = joined(self.directory, place)
            node = self.world.get(path)
            if node is not None and node.is_executable:
                return path
        return None

    def _run_program(self, name: str, arguments: list[str]) -> Status:
        """A program that we have no model of: if it is a shell script, it is evaluated like any other."""
        path = self.find_program(name)
        if path is None and self._tested:
            return 127
        text = (self.world.read(path) or "") if path is not None else ""
        if interpreter(text) not in SHELLS:
            raise NotModelled(f"{name} is not known to build-os")
        if any(UNKNOWN in argument for argument in arguments):
            raise NotModelled(f"an argument of {name} is only known on a running machine")
        return self.run_script(text, arguments, path or name)

    def run_script(self, text: str, arguments: list[str], name: str) -> Status:
        """Another script as a process of its own; what is not accounted for in it is so in the line that calls it."""
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise TooLong
        # Where getopts is belongs to one shell.
        inner = Shell(self.world, text, arguments, {k: v for k, v in self.variables.items() if k != "OPTIND"})
        inner.answers, inner.templates, inner.input = self.answers, self.templates, self.input
        inner.unasked = self.unasked
        inner.asked = self.asked
        inner._out, inner._steps, inner._calls, inner._tested = self._out, self._steps, self._calls, 0
        inner.exit_on_error = " -e" in text.partition("\n")[0]
        inner.directory, inner.name = self.directory, name
        try:
            status = inner.run(parse(text))
        except ScriptSyntaxError as error:
            raise NotModelled(f"{name}: {error}") from error
        except Exit as leave:
            status = leave.status
        finally:
            self._steps = inner._steps
            self._calls -= 1
        if inner.unaccounted:
            worst = inner.unaccounted[0]
            raise NotModelled(f"{name}, line {worst.first}: {worst.reason}")
        return status

    def _call_function(self, name: str, arguments: list[str]) -> Status:
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise TooLong
        saved, self.arguments = self.arguments, arguments
        self._local.append({})
        try:
            return self.run(self.functions[name])
        except Return as leave:
            return leave.status
        finally:
            self.arguments = saved
            self._calls -= 1
            frame = self._local.pop()
            for variable in frame:
                self.forget(variable)
            for variable, value in frame.items():
                if value is None:
                    self.variables.pop(variable, None)
                else:
                    self.variables[variable] = value

    def make_local(self, name: str) -> None:
        """Give a variable its value back when the function ends; until then dash lets it keep it, and bash does not."""
        if self._local and name not in self._local[-1]:
            self._local[-1][name] = self.variables.get(name)
            self._local[-1] |= {key: value for key, value in self.variables.items() if key.startswith(f"{name}[")}
            if self.is_bash:
                self.forget(name)

    # --- evaluation --------------------------------------------------------------------------------

    def run(self, command: Command) -> Status:
        """Evaluate a command; its exit status."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TooLong
        match command:
            case Simple():
                self.status = self._simple(command)
                self._check()
            case Sequence(commands):
                self.status = 0
                for each in commands:
                    self.run(each)
            case AndOr():
                self.status = self._and_or(command)
            case Pipeline():
                self.status = self._pipeline(command)
                self._check()
            case If():
                self.status = self._if(command)
            case Case():
                self.status = self._case(command)
            case For() | Loop():
                self.status = self._loops(command)
            case Group():
                self.status = self._group(command)
            case Function(name, body):
                self.functions[name] = body
                self.status = 0
        return self.status

    def _check(self) -> None:
        """``set -e``."""
        if self.status and self.exit_on_error and not self._tested:
            raise Exit(self.status)

    def _simple(self, command: Simple) -> Status:
        outer, self._line = self._line, (command.first, command.last)
        self.position = self._line
        try:
            return self._simple_unguarded(command)
        except NotModelled as problem:
            self._report(str(problem), *self._line)
            return None
        finally:
            self._line = outer

    def _simple_unguarded(self, command: Simple) -> Status:
        if not command.words:
            # The status is that of the last substitution; until there is one, "$?" is that of the command before.
            self._substituted = [0]
            for name, word in command.assignments:
                self._assign_word(name, word)
            status = self._substituted[-1]
            with self._redirected(command.redirects):
                return status
        self._substituted = [0]
        words = self.expander.fields(command.words)
        if not words:
            return self._substituted[-1]
        saved = {name: self.variables.get(name) for name, _ in command.assignments}
        for name, word in command.assignments:
            self._assign_word(name, word)
        try:
            with self._redirected(command.redirects):
                status = self.call(words)
                for name, word in command.arrays:
                    self._assign_word(name, word)
                return status
        finally:
            for name, value in saved.items():
                if value is None:
                    self.variables.pop(name, None)
                else:
                    self.variables[name] = value

    def _report(self, reason: str, first: int, last: int) -> None:
        text = "\n".join(self._lines[first - 1 : last])
        found = Unaccounted(first, last, text, reason)
        if found not in self.unaccounted:
            self.unaccounted.append(found)

    def _test(self, command: Command) -> Status:
        """A condition: ``set -e`` does not apply in it."""
        self._tested += 1
        try:
            return self.run(command)
        finally:
            self._tested -= 1

    def _and_or(self, command: AndOr) -> Status:
        left = self._test(command.left)
        if left is None:

            def right() -> Status:
                return self.run(command.right)

            status = self._either([right, lambda: 0 if command.operator == "||" else None], command.left)
            return 0 if status == 0 and command.operator == "||" else None
        if (left == 0) == (command.operator == "&&"):
            return self.run(command.right)
        # The failure of a part that is not the last does not end the script.
        return left

    def _pipeline(self, command: Pipeline) -> Status:
        if command.negated:
            status = self._test(command.commands[0]) if len(command.commands) == 1 else self._piped(command.commands)
            return None if status is None else int(status == 0)
        return self._piped(command.commands)

    def _piped(self, commands: Items[Command]) -> Status:
        saved = self.input
        status: Status = 0
        try:
            for index, each in enumerate(commands):
                if index < len(commands) - 1:
                    with self._subshell(), self._captured() as out:
                        status = self._protected(each)
                    self.input = "".join(out)
                else:
                    with self._subshell():
                        status = self._protected(each)
        finally:
            self.input = saved
        return status

    def _if(self, command: If) -> Status:
        if not command.branches:
            return self.run(command.otherwise) if command.otherwise is not None else 0
        (condition, body), *others = command.branches
        rest = If(tuple(others), command.otherwise, command.first, command.last)
        status = self._test(condition)
        if status is None:
            return self._either([lambda: self.run(body), lambda: self._if(rest)], condition, command)
        return self.run(body) if status == 0 else self._if(rest)

    def _case(self, command: Case) -> Status:
        try:
            subject = self.expander.text(command.word)
            if UNKNOWN in subject:
                return self._case_of_unknown(command, subject.partition(UNKNOWN)[0])
            for patterns, body in command.items:
                if any(self.expander.pattern(pattern).fullmatch(subject) for pattern in patterns):
                    return self.run(body)
        except NotModelled as problem:
            self._report(str(problem), command.first, command.first)
            return None
        return 0

    def _case_of_unknown(self, command: Case, start: str) -> Status:
        """Every item that a text with this beginning may match, and none, unless one matches all."""
        ways: list[Callable[[], Status]] = []
        for patterns, body in command.items:
            texts = ["".join(part.text for part in word.parts if isinstance(part, Literal)) for word in patterns]
            plain = [re.split(r"[*?\[]", text)[0] if text in {w.text for w in patterns} else "" for text in texts]
            if any(start.startswith(text) or text.startswith(start) for text in plain):
                ways.append(lambda body=body: self.run(body))  # type: ignore[misc]  # mypy cannot type the default argument
            if "*" in texts:
                return self._either(ways, command, command)
        return self._either([*ways, lambda: 0], command, command)

    def _loops(self, command: For | Loop) -> Status:
        status: Status = 0
        try:
            for _ in self._turns(command):
                try:
                    status = self.run(command.body)
                except Leave as leave:
                    if leave.levels > 1:
                        raise Leave(leave.levels - 1, again=leave.again) from None
                    if not leave.again:
                        break
        except NotModelled as problem:
            self._report(str(problem), command.first, command.last)
            return None
        return status

    def _turns(self, command: For | Loop) -> Iterator[None]:
        if isinstance(command, For):
            values = self.arguments if command.words is None else self.expander.fields(command.words)
            if any(UNKNOWN in value for value in values):
                raise NotModelled("a loop over what is only known on a running machine")
            for value in values:
                self.assign(command.name, value)
                yield
            return
        while True:
            status = self._test(command.condition)
            if status is None:
                raise NotModelled("a loop that lasts as long as a running machine says")
            if (status == 0) == command.until:
                return
            yield

    def _group(self, command: Group) -> Status:
        try:
            with self._redirected(command.redirects):
                if command.subshell:
                    with self._subshell():
                        return self._protected(command.body)
                return self.run(command.body)
        except NotModelled as problem:
            self._report(str(problem), command.first, command.last)
            return None

    # --- what is not known -------------------------------------------------------------------------

    def _either(self, ways: Items[Callable[[], Status]], condition: Command, whole: Command | None = None) -> Status:
        """Go every way from here; they must have the same effects, or the lines are unaccounted for."""
        before = len(self.unaccounted)
        mark = self.world.mark()
        variables = dict(self.variables)
        outcomes: list[tuple[list[Effect], dict[str, str], Status, Exit | Leave | None]] = []
        for way in ways:
            self.world.back_to(mark)
            self.variables = dict(variables)
            ended: Exit | Leave | None = None
            try:
                status = way()
            except Leave as leave:
                status, ended = None, leave
            except Exit as leave:
                # A failure that ends the script ends the installation: no way that leads to an image.
                if not isinstance(leave, Return) and leave.status != 0:
                    continue
                status, ended = leave.status, leave
            outcomes.append((_real(self.world.journal[mark[0] :]), self.variables, status, ended))
        if not outcomes:
            raise Exit(1)
        effects, self.variables, status, ended = outcomes[-1]
        alike = all(other[0] == effects and _same_end(other[3], ended) for other in outcomes)
        if not alike and len(self.unaccounted) == before:
            first, last = _lines_of(whole or condition) or self._line
            self._report("what happens here depends on something that only a running machine knows", first, last)
        for other in outcomes[:-1]:
            for name in other[1].keys() | self.variables.keys():
                if other[1].get(name) != self.variables.get(name):
                    self.variables[name] = UNKNOWN
        if ended is not None and alike:
            raise ended
        return status if all(other[2] == status for other in outcomes) else None

    # --- surroundings ------------------------------------------------------------------------------

    @contextmanager
    def _captured(self) -> Iterator[list[str]]:
        out: list[str] = []
        self._out.append(out)
        try:
            yield out
        finally:
            self._out.pop()

    @contextmanager
    def _subshell(self) -> Iterator[None]:
        saved = (self.variables, self.directory, self.arguments, self.functions, self.exit_on_error)
        self.variables, self.functions, self.arguments = (
            dict(self.variables),
            dict(self.functions),
            list(self.arguments),
        )
        try:
            yield
        finally:
            self.variables, self.directory, self.arguments, self.functions, self.exit_on_error = saved

    def _protected(self, command: Command) -> Status:
        """A command whose ``exit`` ends only itself."""
        try:
            return self.run(command)
        except Exit as leave:
            return leave.status

    @contextmanager
    def _redirected(self, redirects: tuple[Redirect, ...]) -> Iterator[None]:
        """Input from files and here-documents, output into files; the error output is nobody's."""
        if not redirects:
            yield
            return
        saved = self.input
        target: tuple[str, bool] | None = None
        source: int | None = None
        silent = False
        for redirect in redirects:
            text = self.expander.text(redirect.target)
            match redirect.operator:
                case "<<" | "<<-":
                    self.input = text
                case "<<<":
                    self.input = text + "\n"
                case "<" if redirect.fd > 2 and self.path(text) not in DEVICES:
                    self._descriptors[redirect.fd] = self.world.read(self.path(text)) or ""
                case "<&" if text.isdigit() and int(text) in self._descriptors and redirect.fd == 0:
                    source = int(text)
                    self.input = self._descriptors[source]
                case "<":
                    content = UNKNOWN if UNKNOWN in text else self.world.read(self.path(text))
                    if content is None:
                        raise NotModelled(f"there is no {text}")
                    self.input = content
                case ">&" | "<&":
                    silent = silent or (redirect.fd == 1 and text not in ("1", "3", "5"))
                case ">" | ">>" | ">|" if redirect.fd == 1:
                    path = self.path(text)
                    silent, target = path in DEVICES, (path, redirect.operator == ">>")
                case ">" | ">>" if redirect.fd == 2 or self.path(text) in DEVICES:
                    pass
                case _:
                    raise NotModelled(f"the redirection {redirect.fd}{redirect.operator}")
        try:
            if target is None and not silent:
                yield
                return
            with self._captured() as out:
                yield
            if target is not None and not silent:
                self.world.write(target[0], "".join(out), append=target[1])
        finally:
            if source is not None:
                self._descriptors[source] = self.input or ""
            self.input = saved


def _same_end(one: Exit | Leave | None, other: Exit | Leave | None) -> bool:
    """Whether two ways go on at the same place."""
    if isinstance(one, Leave) and isinstance(other, Leave):
        return (one.levels, one.again) == (other.levels, other.again)
    return type(one) is type(other) and getattr(one, "status", None) == getattr(other, "status", None)


def _real(journal: list[Effect]) -> list[Effect]:
    """The effects that make a difference to the image."""
    return [effect for effect in journal if effect.does not in (Does.DROPPED, Does.GENERATED)]


def _lines_of(command: Command) -> tuple[int, int] | None:
    match command:
        case Simple() | If() | Case() | For() | Loop() | Group():
            return command.first, command.last
        case Pipeline(commands) | Sequence(commands):
            ends = [lines for each in commands if (lines := _lines_of(each))]
            return (ends[0][0], ends[-1][1]) if ends else None
        case AndOr():
            left, right = _lines_of(command.left), _lines_of(command.right)
            return (left[0], right[1]) if left and right else left or right
        case Function():
            return None

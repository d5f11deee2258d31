"""The evaluator: walks a script's commands under the facts of a fresh installation. No script is run.

What a command does is said by a table of models that the shell is given. What cannot be known while an image is made
is carried along as :data:`UNKNOWN`; where the course of a script depends on it, every way is tried, and they must come
to the same, or the lines are not modelled.

Source: POSIX.1-2024, "Shell Command Language", 2.8 (errors), 2.9 (commands), 2.15 (special built-ins).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass

from builder.debian.scripts.effects import UnmodelledLines
from builder.debian.scripts.language.branches import Outcome, get_lasting_effects
from builder.debian.scripts.language.control_flow import Exit, Leave, Return, Status, TooLong
from builder.debian.scripts.language.expand import Expander
from builder.debian.scripts.language.interpreter import SHELLS, find_interpreter
from builder.debian.scripts.language.parser import parse, parse_word
from builder.debian.scripts.language.process import Process
from builder.debian.scripts.language.redirections import open_redirects
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
from builder.debian.scripts.language.time_limit import limit_time
from builder.debian.scripts.language.words import ScriptSyntaxError
from builder.debian.scripts.state import State, join_states
from builder.debian.scripts.target_system import UNKNOWN, NotModelled, TargetSystem

MAX_STEPS = 200_000  # php8.4-common takes 40,000
MAX_CALLS = 60
BINARIES = frozenset(("/usr/bin", "/usr/sbin", "/bin", "/sbin"))


@dataclass(frozen=True, slots=True)
class Model:
    """What a command does.

    Attributes:
        run: changes the shell and its tree, given the arguments; returns the exit status.
        accepts_unknown: it knows what to do with arguments that are only known on a running machine.
        is_common_name: programs of packages may have the same name in directories of their own.
        matches_patterns: it matches texts with patterns of the script, which may take long.
        is_replayed: where a script is run, a call is only noted down, and the model does the rest afterwards.
    """

    run: Callable[[Shell, list[str]], Status]
    accepts_unknown: bool = False
    is_common_name: bool = False
    matches_patterns: bool = False
    is_replayed: bool = False


Commands = Mapping[str, Model]


def make_models(
    commands: Mapping[str, Callable[[Shell, list[str]], Status]],
    *,
    accept_unknown: Items[str] = (),
    match_patterns: Items[str] = (),
    replayed: Items[str] = (),
    are_common_names: bool = False,
) -> dict[str, Model]:
    """Models of commands by name: what each does, and the names of those for which more is true."""
    return {
        name: Model(run, name in accept_unknown, are_common_names, name in match_patterns, name in replayed)
        for name, run in commands.items()
    }


class Shell(Process):
    """A shell that evaluates a script.

    Attributes:
        unmodelled: lines that build-os does not model, in the order they were met.
        own_questions: those of the package, of all that debconf has.
        unasked: the script that asks debconf's questions is not understood.
        position: the lines of the last simple command.
        is_bash: the script is not for any shell, but for bash.
    """

    def __init__(
        self, system: TargetSystem, commands: Commands, text: str, arguments: Items[str], environment: dict[str, str]
    ) -> None:
        name = f"/var/lib/dpkg/info/{system.package}.{environment.get('DPKG_MAINTSCRIPT_NAME', '')}"
        super().__init__(system, name, State(variables=dict(environment), arguments=list(arguments)))
        self.commands = commands
        self.unmodelled: list[UnmodelledLines] = []
        self.is_bash = find_interpreter(text) == "bash"
        self.unasked = False
        self.own_questions: frozenset[str] = frozenset()
        self.expander = Expander(self, self.get_output)
        self._lines = text.split("\n")
        self._substituted: list[Status] = [0]
        self._tested = 0
        self._steps = 0
        self._calls = 0
        self._line = (1, 1)
        self.position = (1, 1)

    def _assign_word(self, target: str, word: Word) -> None:
        name = target.removesuffix("+")
        adds = target != name
        if word.parts and isinstance(word.parts[0], Elements):
            values = [
                (None if key is None else self.expander.make_key(name, key), value)
                for key, item in word.parts[0].items
                for value in (self.expander.expand_fields([item]) if key is None else [self.expander.expand_text(item)])
            ]
            if not adds:
                self.state.unset(name)
            following = 1 + max((int(key) for key, _ in self.get_elements(name) if key.isdigit()), default=-1)
            for given, value in values:
                key = str(following) if given is None else given
                following = int(key) + 1 if key.isdigit() else following
                self.assign(f"{name}[{key}]", value)
            return
        text = self.expander.expand_text(word)
        if match := re.fullmatch(r"(\w+)\[(.*)\]", name):
            name = f"{match[1]}[{self.expander.make_key(match[1], parse_word(match[2]))}]"
        self.assign(name, (self.state.variables.get(name, "") if adds else "") + text)

    def get_output(self, command: Command) -> str:
        """What commands write, run as in ``$(...)``."""
        with self._subshell(), self.capture_output() as out:
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
            self.state.arguments, self.state.exit_on_error = list(arguments), False
            try:
                return self.run_text(text)
            except Exit as leave:
                return leave.status

    def call(self, words: list[str]) -> Status:
        """Run a command whose words are expanded: a function of the script, or a model."""
        name = words[0]
        if name in self.state.unclear:
            raise NotModelled(f"what {name} is depends on what only a running machine knows")
        if name in self.state.functions:
            return self._call_function(name, words[1:])
        if name in self.state.aliases:
            return self.run_text(shlex.join(["command", *shlex.split(self.state.aliases[name]), *words[1:]]))
        if UNKNOWN in name:
            raise NotModelled("a command whose name is not known")
        short = name.rpartition("/")[2] if name.startswith("/") else name
        model = self.commands.get(short)
        if model is None or (model.is_common_name and "/" in name and name.rpartition("/")[0] not in BINARIES):
            return self.run_program(name, words[1:])
        return self.run_model(short, model, words[1:])

    def run_model(self, name: str, model: Model, arguments: list[str]) -> Status:
        """Do what a model says that a command does."""
        if not model.accepts_unknown and any(UNKNOWN in argument for argument in arguments):
            raise NotModelled(f"an argument of {name} is only known on a running machine")
        if model.matches_patterns:
            with limit_time(name):
                return model.run(self, arguments)
        return model.run(self, arguments)

    @property
    def is_condition(self) -> bool:
        """Whether the script asks if this command succeeds."""
        return self._tested > 0

    def find_program(self, name: str) -> str | None:
        """Where ``PATH`` leads for a name."""
        for place in (
            [name] if "/" in name else [f"/{where}/{name}" for where in ("usr/sbin", "usr/bin", "sbin", "bin")]
        ):
            path = self.resolve_path(place)
            node = self.system.get(path)
            if node is not None and node.is_executable:
                return path
        return None

    def run_program(self, name: str, arguments: list[str]) -> Status:
        """A program that we have no model of: if it is a shell script, it is evaluated like any other."""
        path = self.find_program(name)
        if path is None and self._tested:
            return 127
        text = (self.system.read(path) or "") if path is not None else ""
        if find_interpreter(text) not in SHELLS:
            raise NotModelled(f"{name} is not known to build-os")
        if any(UNKNOWN in argument for argument in arguments):
            raise NotModelled(f"an argument of {name} is only known on a running machine")
        return self.run_script(text, arguments, path or name)

    def run_script(self, text: str, arguments: list[str], name: str) -> Status:
        """Another script as a process of its own; what is not modelled in it is not in the line that calls it."""
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise TooLong
        # Where getopts is belongs to one shell.
        environment = {name: value for name, value in self.state.variables.items() if name != "OPTIND"}
        outer = self.state
        inner = Shell(self.system, self.commands, text, arguments, environment)
        inner.unasked, inner.own_questions = self.unasked, self.own_questions
        inner._out, inner._steps, inner._calls, inner._tested = self._out, self._steps, self._calls, 0
        inner.state.shared, inner.state.input, inner.state.directory = outer.shared, outer.input, outer.directory
        inner.state.umask, inner.state.owner = outer.umask, outer.owner
        inner.state.exit_on_error = " -e" in text.partition("\n")[0]
        inner.name = name
        try:
            status = inner.run(parse(text))
        except ScriptSyntaxError as error:
            raise NotModelled(f"{name}: {error}") from error
        except Exit as leave:
            status = leave.status
        finally:
            self._steps = inner._steps
            self._calls -= 1
            outer.shared = inner.state.shared
            self.state = outer
        if inner.unmodelled:
            worst = inner.unmodelled[0]
            raise NotModelled(f"{name}, line {worst.first}: {worst.reason}")
        return status

    def _call_function(self, name: str, arguments: list[str]) -> Status:
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise TooLong
        saved, self.state.arguments = self.state.arguments, arguments
        self.state.frames.append({})
        try:
            return self.run(self.state.functions[name])
        except Return as leave:
            return leave.status
        finally:
            self.state.arguments = saved
            self._calls -= 1
            self.state.end_function()

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
                for step in commands:
                    self.run(step)
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
                self.state.functions[name] = body
                self.state.unclear.discard(name)
                self.status = 0
        return self.status

    def _check(self) -> None:
        """``set -e``."""
        if not self.status or self._tested:
            return
        if self.state.exit_on_error is None:
            self._report("whether the script ends here depends on what only a running machine knows", *self.position)
        elif self.state.exit_on_error:
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
        is_conditional = command.words[0].text == "[["
        words = (self.expander.expand_condition if is_conditional else self.expander.expand_fields)(command.words)
        if not words:
            return self._substituted[-1]
        saved = {name: self.state.variables.get(name) for name, _ in command.assignments}
        for name, word in command.assignments:
            self._assign_word(name, word)
        try:
            with self._redirected(command.redirects):
                status = self.call(words)
                for name, word in command.arrays:
                    self._assign_word(name, word)
                return status
        finally:
            self.state.restore(saved)

    def _report(self, reason: str, first: int, last: int) -> None:
        text = "\n".join(self._lines[first - 1 : last])
        unmodelled = UnmodelledLines(first, last, text, reason)
        if unmodelled not in self.unmodelled:
            self.unmodelled.append(unmodelled)

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
        saved = self.state.input
        status: Status = 0
        try:
            for index, part in enumerate(commands):
                if index < len(commands) - 1:
                    with self._subshell(), self.capture_output() as out:
                        status = self._protected(part)
                    self.state.input = "".join(out)
                else:
                    with self._subshell():
                        status = self._protected(part)
        finally:
            self.state.input = saved
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
            subject = self.expander.expand_text(command.word)
            if UNKNOWN in subject:
                return self._case_of_unknown(command, subject.partition(UNKNOWN)[0])
            for patterns, body in command.items:
                if any(self.expander.make_pattern(pattern).fullmatch(subject) for pattern in patterns):
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
            values = self.get_arguments() if command.words is None else self.expander.expand_fields(command.words)
            if any(UNKNOWN in value for value in values):
                raise NotModelled("a loop over what is only known on a running machine")
            for value in values:
                self.assign(command.name, value)
                yield
            return
        if command.start:
            self._test(command.start)
        while True:
            status = self._test(command.condition)
            if status is None:
                raise NotModelled("a loop that lasts as long as a running machine says")
            if (status == 0) == command.until:
                return
            yield
            if command.step:
                self._test(command.step)

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
        """Go every way from here; they must have the same effects, or the lines are not modelled."""
        before = len(self.unmodelled)
        mark = self.system.mark()
        start = self.state.copy()
        outcomes: list[Outcome] = []
        for way in ways:
            self.system.undo_to(mark)
            self.state = start.copy()
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
            effects, changes = get_lasting_effects(self.system.journal[mark[0] :]), self.system.find_changes(mark)
            outcomes.append(Outcome(effects, changes, self.state, status, ended))
        if not outcomes:
            raise Exit(1)
        last = outcomes[-1]
        alike = all(outcome.is_like(last) for outcome in outcomes)
        if not alike and len(self.unmodelled) == before:
            first, final = _lines_of(whole or condition) or self._line
            self._report("what happens here depends on something that only a running machine knows", first, final)
        self.state = join_states([outcome.state for outcome in outcomes])
        differing = {path for outcome in outcomes for path in outcome.find_differing(last)}
        self.state.shared.unclear |= {("path", path) for path in differing}
        if last.ended is not None and alike:
            raise last.ended
        return last.status if all(other.status == last.status for other in outcomes) else None

    # --- surroundings ------------------------------------------------------------------------------

    @contextmanager
    def _subshell(self) -> Iterator[None]:
        """A process of its own: what it changes of its state it keeps to itself, but for what it has read and what
        processes share.
        """
        saved = self.state
        self.state = saved.copy()
        try:
            yield
        finally:
            inner = self.state
            saved.shared, saved.input, saved.descriptors = inner.shared, inner.input, inner.descriptors
            self.state = saved

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
        saved = self.state.input
        opened = open_redirects(self, self.expander, redirects)
        try:
            if opened.path is None and not opened.is_silent:
                yield
                return
            with self.capture_output() as out:
                yield
            if opened.path is not None and not opened.is_silent:
                self.system.write(opened.path, "".join(out), append=opened.appends)
        finally:
            if opened.source is not None:
                self.state.descriptors[opened.source] = self.state.input or ""
            self.state.input = saved


def _lines_of(command: Command) -> tuple[int, int] | None:
    match command:
        case Simple() | If() | Case() | For() | Loop() | Group():
            return command.first, command.last
        case Pipeline(commands) | Sequence(commands):
            ends = [lines for inner in commands if (lines := _lines_of(inner))]
            return (ends[0][0], ends[-1][1]) if ends else None
        case AndOr():
            left, right = _lines_of(command.left), _lines_of(command.right)
            return (left[0], right[1]) if left and right else left or right
        case Function():
            return None

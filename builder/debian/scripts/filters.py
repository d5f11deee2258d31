"""Filters of text that scripts use: sed(1), grep(1), awk(1), cut(1), tr(1), sort(1) and their like. The programs of the
tools tree are run on the text and the files of a script, as far as those are known (:mod:`builder.core.filters`).

A program finds the files that its arguments name, whatever they mean by that, and those that are named in a program of
sed or awk. What it complains about, but for files that the script's own tree does not have either, is not modelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from builder.core.filters import FilterCall, FilterResult, Filters
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Commands, Shell, make_models
from builder.debian.scripts.target_system import DEVICES, NOT_OURS, UNKNOWN, NotModelled, copy_node, join_path
from builder.tree.node import Kind

GREPS = {"grep": (), "egrep": ("-E",), "fgrep": ("-F",)}
AWKS = frozenset(("awk", "mawk", "gawk", "original-awk"))  # Debian's awk is mawk, which refuses what is gawk's own
COMPARING = frozenset(("cmp", "diff"))
COREUTILS = frozenset(
    ("base32", "base64", "comm", "cut", "expand", "expr", "fmt", "fold", "head", "join", "md5sum", "nl", "od", "paste",
     "seq", "sha1sum", "sha256sum", "sha512sum", "sort", "tac", "tail", "tr", "tsort", "uniq", "wc")
)  # fmt: skip
NAMES = frozenset((*GREPS, *AWKS, *COMPARING, *COREUTILS, "sed"))
# These know a file by what they read of it. Others may ask for its size as well.
READING = frozenset((*GREPS, *AWKS, "sed"))
# What is answered without a word: other programs, files whose names are made, and what is different each time.
REFUSED = {
    "awk": re.compile(r"\b(?:system|rand|srand|systime|strftime)\s*\(|\bgetline\b[^;}\n]*<"),
    "sort": re.compile(r"-[\w.,]*R.*|--(?:random|sort=r).*"),
}
RECURSIVE = re.compile(r"-[a-zA-Z]*[rR][a-zA-Z]*|--(?:dereference-)?recursive|--directories=recurse")
READS_PROGRAM = re.compile(r"-[a-zA-Z]*f.*|--file.*", re.S)
# The name of a file goes on to the end of the line.
OF_SED = re.compile(r"(?=[rRwW][ \t]*([^\n]+))")
OF_AWK = re.compile(r'"((?:[^"\\]|\\.)*)"')
ENVIRONMENT = re.compile(r"LANG|LC_\w+|POSIXLY_CORRECT|TZ")
# How the programs say that there is no such file, with the name that they were given.
NO_FILE = re.compile(
    r"[\w-]+: (?:(?:can't read|couldn't open file|read error on|cannot read:|open failed:|read failed:"
    r"|cannot open|failed to open|error reading) )?['\"\u2018]?(.+?)['\"\u2019]?"
    r"(?: for (?:reading|output))?(?:: | \()(?:No such file or directory|Is a directory)\)?"
)
MAX_NAME = 4096
MAX_FILES = 2000  # below a directory


def make_filters(filters: Filters) -> Commands:
    """What the commands do that are filters, by name."""
    return make_models(
        {name: partial(_run_filter, filters, name) for name in NAMES},
        accept_unknown=(*GREPS, "sed", "awk", "mawk", "tr", "cut", "head", "tail", "sort", "wc"),
        are_common_names=True,
    )


@dataclass
class _Files:
    """What a call is handed.

    Attributes:
        missing: arguments that are no file of the tree.
    """

    shell: Shell
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=lambda: {"/"})
    missing: list[str] = field(default_factory=list)

    @property
    def directory(self) -> str:
        """Where the program is run."""
        return "/" if self.shell.state.directory == UNKNOWN else self.shell.state.directory

    def add(self, word: str, *, recursive: bool = False) -> bool:
        """Hand over what a word names; whether it names anything."""
        known = word.startswith("/") or self.shell.state.directory != UNKNOWN
        if not word or word == "-" or len(word) > MAX_NAME or not known or {"\n", "\0"} & {*word}:
            return False
        path, system = join_path(self.directory, word), self.shell.system
        if NOT_OURS.match(path):
            text = self.shell.state.input or "" if path == "/dev/stdin" else system.read(path)
            if text is not None:
                self.files[path] = text
            return text is not None
        node = system.get(path)
        if node is None:
            parent = system.get(path.rpartition("/")[0] or "/")
            if parent is not None and parent.kind is Kind.DIRECTORY:
                self.directories.add(path.rpartition("/")[0] or "/")
            return False
        if node.kind is Kind.DIRECTORY:
            self.directories.add(path)
            if recursive:
                self._add_below(path)
            return True
        text = system.read(path)
        if text is None:
            return False
        last = system.get(path, follow=False)
        if last is not None and last.kind is Kind.SYMLINK:
            self.links[path] = path = system.tree.resolve(path)
        self.files[path] = text
        return True

    def _add_below(self, path: str) -> None:
        system = self.shell.system
        start = system.tree.resolve(path)
        for number, (where, node) in enumerate(system.walk(path)):
            if number > MAX_FILES:
                raise NotModelled(f"there is too much in {path}")
            text = system.read(where) if node.kind is Kind.FILE else None
            if text is not None:
                self.files[path + where[len(start) :]] = text


def _run_filter(filters: Filters, name: str, shell: Shell, arguments: list[str]) -> Status:
    if any(UNKNOWN in argument for argument in arguments):
        if name == "sed" and any(re.match(r"-[nErsuz]*i|--in-place", argument) for argument in arguments):
            raise NotModelled("a sed program that is only known on a running machine")
        return _say_unknown(name, shell)
    files = _find_files(name, shell, arguments)
    environment = _environment(shell, arguments)
    if any(UNKNOWN in value for key, value in environment if ENVIRONMENT.fullmatch(key)):
        return _say_unknown(name, shell)
    call = FilterCall(
        "mawk" if name in AWKS else "grep" if name in GREPS else name,
        ("grep", *GREPS[name], *arguments) if name in GREPS else (name, *arguments),
        shell.state.input or "",
        tuple(sorted(files.files.items())),
        tuple(sorted(files.links.items())),
        tuple(sorted({*files.directories, files.directory})),
        files.directory,
        environment,
    )
    result = filters.run(call)
    _require_answer(name, files, result)
    is_unknown = _depends_on_unknown(name, call, result)
    _take_over(shell, call, result, is_unknown=is_unknown)
    if is_unknown:
        return _say_unknown(name, shell)
    shell.say(result.output)
    return result.status


def _say_unknown(name: str, shell: Shell) -> Status:
    shell.say(UNKNOWN)
    return None if name in GREPS or name in COMPARING else 0


def _find_files(name: str, shell: Shell, arguments: Sequence[str]) -> _Files:
    """The files that a call may open.

    Raises:
        NotModelled: it may open others, or what it says is different each time.
    """
    files = _Files(shell)
    recursive = (name in GREPS or name == "diff") and any(RECURSIVE.fullmatch(argument) for argument in arguments)
    presence = [files.add(argument, recursive=recursive) for argument in arguments]
    files.missing = [argument for argument, is_there in zip(arguments, presence, strict=True) if not is_there]
    if recursive and not any(presence) and not any(argument.startswith("/") for argument in arguments):
        raise NotModelled(f"{name} of all files in a directory that is not named")
    for argument in arguments:
        if argument.startswith("-"):
            files.add(argument[2:])
            files.add(argument.partition("=")[2])
    is_read = any(READS_PROGRAM.fullmatch(argument) for argument in arguments)
    texts = [*arguments, *(files.files.values() if is_read else ())]
    refused = REFUSED.get("awk" if name in AWKS else name)
    for text in texts:
        if refused is not None and (refused.search(text) if name in AWKS else refused.fullmatch(text)):
            raise NotModelled(
                f"a program of {name} that does more than to filter" if name in AWKS else f"{name} {text}"
            )
    for word in _named(name, texts):
        files.add(word)
    return files


def _named(name: str, texts: Sequence[str]) -> Iterator[str]:
    """What may be names of files in a program of sed or awk."""
    pattern = OF_SED if name == "sed" else OF_AWK if name in AWKS else None
    if pattern is not None:
        for text in texts:
            yield from pattern.findall(text)


def _environment(shell: Shell, arguments: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The variables that make a difference to a filter."""
    reads_all = any("ENVIRON" in argument for argument in arguments)
    return tuple(
        sorted(
            (name, value)
            for name, value in shell.state.variables.items()
            if ENVIRONMENT.fullmatch(name) or (reads_all and re.fullmatch(r"\w+", name))
        )
    )


def _require_answer(name: str, files: _Files, result: FilterResult) -> None:
    """Refuse what is no answer of a program that found what it looked for.

    Raises:
        NotModelled: with its complaint.
    """
    if result.refused:
        raise NotModelled(f"{name} cannot be run on what it is handed: {result.refused}")
    if result.status < 0:
        raise NotModelled(f"{name} {result.gone_over or 'is ended by a signal'}")
    missing = files.missing if files.shell.state.directory != UNKNOWN else []
    absent = {*missing, *files.directories} - {"", "/"}
    for line in result.complaints.splitlines():
        if name == "expr" or ": warning: " in line or (name in AWKS and not line.startswith(f"{name}: ")):
            continue  # expr opens no file; a program of awk may write to /dev/stderr
        no_file = NO_FILE.fullmatch(line)
        if no_file is None or no_file[1] not in absent:
            raise NotModelled(f"{name} would complain: {line}")


def _depends_on_unknown(name: str, call: FilterCall, result: FilterResult) -> bool:
    if UNKNOWN in call.input and (result.reads_input or name == "wc"):
        return True
    return any(UNKNOWN in text and (path in result.read or name not in READING) for path, text in call.files)


def _take_over(shell: Shell, call: FilterCall, result: FilterResult, *, is_unknown: bool) -> None:
    """Write in the tree what the program wrote."""
    handed = dict(call.files)
    for path, text in sorted(result.files.items()):
        if path in DEVICES:
            if path == "/dev/stdout":
                raise NotModelled(f"{call.argv[0]} writes to {path}")
            continue
        if shell.state.directory == UNKNOWN and path not in handed:
            raise NotModelled("in which directory this happens depends on what only a running machine knows")
        if path in dict(call.links):  # it was replaced by a file like that which it led to
            target = shell.system.get(path)
            assert target is not None
            shell.system.remove(path)
            shell.system.put(path, copy_node(target))
        shell.system.write(path, UNKNOWN if is_unknown else text)

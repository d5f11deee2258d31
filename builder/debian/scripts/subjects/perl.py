"""Perl on one line, as a better sed: ``perl -p [-i] -e 's/pattern/text/flags; ...' [file ...]``. perlrun(1), perlop(1).

Only substitutions whose pattern means the same to Python, and whose text has no code and no variables but ``$1``.
"""

from __future__ import annotations

import re

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.text import input_of
from builder.debian.scripts.target_system import UNKNOWN, NotModelled

_CLOSING = {"{": "}", "(": ")", "[": "]", "<": ">"}
# What Perl has in patterns and Python has not, or otherwise: possessive, recursive, \K, \Q, variables, arrays.
_FOREIGN = re.compile(r"\\[KQEGRXhHvVNpP]|\(\?[^:=!<]|\$[\w{]|@[\w{]|[*+?}]\+")


def perl(shell: Shell, arguments: list[str]) -> Status:
    """``perl -e ''``: whether there is one; ``perl -p -e``: substitutions line by line."""
    if arguments in (["-e", ""], ["-e", "1"], ["-v"]):
        return int(shell.find_program("perl") is None)
    letters, programs, rest = "", [], list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        word = rest.pop(0)
        letters += word[1:]
        if word.endswith("e") and rest:
            programs.append(rest.pop(0))
    if not re.fullmatch("[pie]+", letters) or "p" not in letters or not programs or UNKNOWN in "".join(programs):
        raise NotModelled("a program in Perl")
    steps = [step for program in programs for step in read_substitutions(program)]
    for name in rest or ["-"]:
        text = input_of(shell, [name])
        if text is None:
            return 2
        if UNKNOWN in text:
            raise NotModelled("a program in Perl over what only a running machine knows")
        for pattern, replacement, count in steps:
            text = "".join(pattern.sub(replacement, line, count) for line in text.splitlines(keepends=True))
        if "i" in letters and rest:
            shell.system.write(shell.resolve_path(name), text)
        else:
            shell.say(text)
    return 0


def read_substitutions(program: str) -> list[tuple[re.Pattern[str], str, int]]:
    """The substitutions of a program: pattern, replacement as Python has it, and how often at most (0: always).

    Raises:
        NotModelled: there is something else in it.
    """
    substitutions, at = [], 0
    while match := re.compile(r"[\s;]*s\s*([^\w\s])").match(program, at):
        delimiter = match[1]
        pattern, at = _until(program, match.end(), _CLOSING.get(delimiter, delimiter))
        if delimiter in _CLOSING:
            if program[at : at + 1] != delimiter:
                raise NotModelled("a program in Perl")
            at += 1
        replacement, at = _until(program, at, _CLOSING.get(delimiter, delimiter))
        flags = re.compile("[a-z]*").match(program, at)
        assert flags is not None, "nothing is a match as well"
        at = flags.end()
        if {*flags[0]} - set("gims") or _FOREIGN.search(pattern) or not _is_plain(replacement, delimiter):
            raise NotModelled("a program in Perl")
        options = sum(getattr(re, flag.upper()) for flag in {*flags[0]} - {"g"})
        try:
            # At its end "$" is before the last newline to both.
            compiled = re.compile(pattern, options)
        except re.error as error:
            raise NotModelled("a program in Perl") from error
        substitutions.append((compiled, _as_python(replacement, delimiter), 0 if "g" in flags[0] else 1))
    if not substitutions or program[at:].strip(" \n\t;"):
        raise NotModelled("a program in Perl")
    return substitutions


def _until(program: str, at: int, end: str) -> tuple[str, int]:
    start = at
    while at < len(program) and program[at] != end:
        at += 1 + (program[at] == "\\")
    if at >= len(program):
        raise NotModelled("a program in Perl")
    return program[start:at].replace(f"\\{end}", end), at + 1


def _is_plain(text: str, delimiter: str) -> bool:
    """Whether a replacement has nothing in it that Perl works out, but ``$1`` to ``$9``."""
    return delimiter == "'" or not re.search(r"\$(?![1-9](?!\w))|@\w|\\[^\\nt/$@\"&.]", text)


def _as_python(text: str, delimiter: str) -> str:
    if delimiter == "'":
        return text.replace("\\", "\\\\")
    parts = re.split(r"(\$[1-9]|\\.)", text)
    simple = {"\\n": "\n", "\\t": "\t", "\\\\": "\\\\"}
    return "".join(
        f"\\g<{part[1]}>" if part[:1] == "$" else simple.get(part, part[1:]) if part[:1] == "\\" else part
        for part in parts
    )


COMMANDS = make_models({"perl": perl}, match_patterns=("perl",))

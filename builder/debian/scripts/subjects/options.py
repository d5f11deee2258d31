"""Options of commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from builder.debian.scripts.target_system import NotModelled


@dataclass(frozen=True)
class Options:
    """Options that were given, with their values, and the operands that follow."""

    given: dict[str, str]
    operands: list[str]

    def __contains__(self, name: str) -> bool:
        return name in self.given

    def get(self, *names: str) -> str | None:
        """The value of the first of these that was given."""
        return next((self.given[name] for name in names if name in self.given), None)


def read_options(
    command: str, arguments: Sequence[str], flags: str, values: str = "", *, mixed: bool = True
) -> Options:
    """Options in the manner of getopt_long(3).

    Args:
        flags: names without a value, separated by spaces; one letter is ``-x``, more is ``--word``.
        values: names with one.
        mixed: whether options may follow operands.

    Raises:
        NotModelled: an option that is in neither.
    """
    without, with_value = set(flags.split()), set(values.split())
    given: dict[str, str] = {}
    operands: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            operands += rest
            break
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            # getopt_long takes what is short for one option only.
            matching = [option for option in without | with_value if len(option) > 1 and option.startswith(name)]
            name = matching[0] if len(matching) == 1 else name
            if name in with_value:
                given[name] = value if equals else _next(command, argument, rest)
            elif name in without and not equals:
                given[name] = ""
            else:
                raise NotModelled(f"{command} {argument}")
        elif argument.startswith("-") and len(argument) > 1:
            letters = argument[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter in with_value:
                    given[letter] = letters or _next(command, argument, rest)
                    letters = ""
                elif letter in without:
                    given[letter] = ""
                else:
                    raise NotModelled(f"{command} {argument}")
        else:
            operands.append(argument)
            if not mixed:
                operands += rest
                break
    return Options(given, operands)


def getopt(arguments: Sequence[str]) -> str:
    """getopt(1): the arguments after ``--``, options first and each by itself, quoted for ``eval``.

    Raises:
        NotModelled: an option that its lists do not have.
    """
    own = read_options("getopt", arguments, "a q Q u", "o l n s options longoptions name shell", mixed=False)
    short = own.get("o", "options")
    operands = own.operands
    if short is None:  # then the first word is what -o would have had
        short, operands = (operands[0] if operands else ""), operands[1:]
    long = (own.get("l", "longoptions") or "").split(",")
    flags = re.findall(r"[a-zA-Z0-9](?!:)", short) + [name for name in long if not name.endswith(":")]
    values = re.findall(r"([a-zA-Z0-9]):", short) + [name.rstrip(":") for name in long if name.endswith(":")]
    mixed = not short.startswith("+")
    options = read_options("getopt", operands, " ".join(flags), " ".join(values), mixed=mixed)
    words: list[str] = []
    for name, value in options.given.items():
        words.append(f"{'-' if len(name) == 1 else '--'}{name}")
        words += [shlex.quote(value)] if name in values else []
    return " ".join([*words, "--", *map(shlex.quote, options.operands)])


def _next(command: str, option: str, rest: list[str]) -> str:
    if not rest:
        raise NotModelled(f"{command} {option} without a value")
    return rest.pop(0)

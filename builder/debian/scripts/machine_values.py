"""What a program of the machine says, as a part of a text: its name, a random number, an identifier.

Nobody knows it while an image is made, so the text has :data:`UNKNOWN` in it and is treated like everything that is not
known. But it also says by which command the machine comes to it; a file that is written with such a text is left to the
machine, which runs the command and writes the file.
"""

from __future__ import annotations

import re
import shlex

# A private character, so that no script has it.
UNKNOWN = "\ue000"
_BEGIN, _END = f"{UNKNOWN}\ue001", "\ue002"
_TOLD = re.compile(f"{_BEGIN}([0-9a-f]+)\\.([0-9]+){_END}")
# Commands that say the same whenever they run on a machine. What others say may be in one file, or two would differ.
_SAME = re.compile(r"(hostname|dnsdomainname)\b")


def make_value(command: str, number: int) -> str:
    """A text that stands for what a command of the machine says; ``number`` tells its calls from one another."""
    return f"{_BEGIN}{command.encode(errors='surrogateescape').hex()}.{number}{_END}"


def find_command(text: str) -> str | None:
    """The command that says this text on the machine; ``None`` if it has something in it that no command says."""
    parts = _TOLD.split(text)
    if any(UNKNOWN in literal for literal in parts[::3]) or len(parts) == 1:
        return None
    commands = [bytes.fromhex(part).decode(errors="surrogateescape") for part in parts[1::3]]
    if len(commands) == 1 and parts[0] == "" and parts[3] in ("", "\n"):
        return commands[0]  # as it is: it may be no text at all
    return f"printf %s {quote_for_machine(text)}"


def quote_for_machine(text: str) -> str | None:
    """The text as a word of a command line on the machine; ``None`` as for :func:`find_command`."""
    parts = _TOLD.split(text)
    if any(UNKNOWN in literal for literal in parts[::3]):
        return None
    words = [shlex.quote(parts[0]) if parts[0] else ""]
    for code, literal in zip(parts[1::3], parts[3::3], strict=True):
        command = bytes.fromhex(code).decode(errors="surrogateescape")
        words += [f'"$({command})"', shlex.quote(literal) if literal else ""]
    return "".join(words)


def find_changing_parts(text: str) -> set[str]:
    """The parts of a text that would be others if their commands ran again."""
    return {
        match[0]
        for match in _TOLD.finditer(text)
        if not _SAME.match(bytes.fromhex(match[1]).decode(errors="surrogateescape"))
    }

"""Which program a script is written for: its first line, execve(2)."""

from __future__ import annotations

SHELLS = frozenset(("sh", "dash", "bash"))


def find_interpreter(text: str) -> str:
    """The name of the program that a script is written for; empty if it is no script."""
    first = text.partition("\n")[0]
    words = first[2:].split() if first.startswith("#!") else []
    if words and words[0].endswith("/env"):
        words = words[1:]
    return words[0].rpartition("/")[2] if words else ""

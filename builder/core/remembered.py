"""What a command said that changed nothing is said again, as long as nothing that it looked at has changed.

An answer is kept under what was typed, where, and in which environment: the paths that were looked at, with their
sizes, times and inodes (:mod:`builder.core.seen`), and the lines. Whether it still holds is a thousand calls of stat(2)
and no import of what reads definitions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.core import seen
from builder.core.console import Console
from builder.core.kept import ANSWERS, derive_key, read_entry, seal_entry
from builder.core.seen import Seen
from builder.core.store import Store

# Of the environment, what a terminal sets, and differs from one to the next, decides nothing.
UNHEARD = frozenset({"_", "OLDPWD", "SHLVL", "COLUMNS", "LINES", "TERM", "WINDOWID", "PYTEST_CURRENT_TEST"})
# Of a line: (kind, text), kind one of these.
NOTE, WARNING, OUTPUT = "note", "warning", "output"
Line = tuple[str, str]


def derive_answer_key(typed: Sequence[str], environment: Mapping[str, str]) -> str:
    """What the answer to a command line depends on besides files."""
    told = {f"${name}": value for name, value in sorted(environment.items()) if name not in UNHEARD}
    where = {"where": str(Path.cwd()), "who": str(os.getuid()), "python": f"{sys.executable} {sys.version}"}
    return derive_key({"typed": "\0".join(typed), **where, **told})


def recall(store: Store, key: str) -> list[Line] | None:
    """The lines of an answer that still holds."""
    entry = read_entry(store, ANSWERS, key)
    if entry is None or not seen.is_unchanged(entry.value["paths"]):
        return None
    return [(kind, text) for kind, text in entry.value["lines"]]


def remember(store: Store, key: str, looked_at: Seen, lines: Sequence[Line]) -> None:
    """Keep an answer, if what it depends on is known for certain."""
    if looked_at.is_certain:
        try:
            seal_entry(store, ANSWERS, key, value={"paths": looked_at.paths, "lines": lines})
        except OSError:  # a full disk, a store that we cannot write: then it is not remembered
            return


def say(lines: Sequence[Line], console: Console) -> None:
    """Say it again."""
    for kind, text in lines:
        match kind:
            case "note":
                console.note(text)
            case "warning":
                console.warn(text)
            case _:
                sys.stdout.write(text)

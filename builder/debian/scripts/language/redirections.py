"""Redirections: POSIX.1-2024, "Shell Command Language" 2.7."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.debian.scripts.language.expand import Expander
from builder.debian.scripts.language.process import Process
from builder.debian.scripts.language.syntax import Redirect
from builder.debian.scripts.target_system import DEVICES, UNKNOWN, NotModelled


@dataclass
class Redirected:
    """Where the output of a command goes, and what its input was read from.

    Attributes:
        path: of the file that the output is written to; ``None`` if it goes where that of the script goes.
        appends: the output is added to the file.
        is_silent: the output goes nowhere.
        source: the number of the descriptor that the input is; what is left of it belongs there afterwards.
    """

    path: str | None = None
    appends: bool = False
    is_silent: bool = False
    source: int | None = None


def open_redirects(process: Process, expander: Expander, redirects: Iterable[Redirect]) -> Redirected:
    """Set the input of what follows, and say where its output goes. The error output is nobody's.

    Raises:
        NotModelled: a form that is not known, or a file that is not there.
    """
    opened = Redirected()
    state = process.state
    for redirect in redirects:
        text = expander.expand_text(redirect.target)
        match redirect.operator:
            case "<<" | "<<-":
                state.input = text
            case "<<<":
                state.input = text + "\n"
            case "<" if redirect.fd > 2 and process.resolve_path(text) not in DEVICES:
                state.descriptors[redirect.fd] = process.system.read(process.resolve_path(text)) or ""
            case "<&" if text.isdigit() and int(text) in state.descriptors and redirect.fd == 0:
                opened.source = int(text)
                state.input = state.descriptors[opened.source]
            case "<":
                content = UNKNOWN if UNKNOWN in text else process.system.read(process.resolve_path(text))
                if content is None:
                    raise NotModelled(f"there is no {text}")
                state.input = content
            case ">&" | "<&":
                opened.is_silent = opened.is_silent or (redirect.fd == 1 and text not in ("1", "3", "5"))
            case ">" | ">>" | ">|" if redirect.fd == 1:
                opened.path, opened.appends = process.resolve_path(text), redirect.operator == ">>"
                opened.is_silent = opened.path in DEVICES
            case ">" | ">>" if redirect.fd == 2 or process.resolve_path(text) in DEVICES:
                pass
            case _:
                raise NotModelled(f"the redirection {redirect.fd}{redirect.operator}")
    return opened

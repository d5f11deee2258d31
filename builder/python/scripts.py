"""The programs of an environment: those that entry points describe, and those that a wheel brings.

Sources: PyPA, "Entry points specification"; pip's ``PipScriptMaker`` and ``get_console_script_specs`` for the text and
for the names of pip's own scripts.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass

from builder.python.errors import WheelError
from builder.python.scheme import Scheme

TEMPLATE = """\
import sys
from {module} import {first}
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit({function}())
"""
GROUPS = ("console_scripts", "gui_scripts")
_VALUE = re.compile(r"([\w.]+)\s*(?::\s*([\w.]+))?\s*(\[[^\]]*\])?\s*")
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class EntryPoint:
    """``name = module:function``."""

    group: str
    name: str
    module: str
    function: str


def parse_entry_points(text: str) -> list[EntryPoint]:
    """The scripts that an ``entry_points.txt`` describes.

    Raises:
        WheelError: it cannot be read, or a script's name or value is none.
    """
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise WheelError(f"its entry_points.txt cannot be read: {str(error).splitlines()[0]}") from error
    entry_points = []
    for group in GROUPS:
        for name, value in parser.items(group) if parser.has_section(group) else ():
            match = _VALUE.fullmatch(value or "")
            if match is None or match[2] is None or not all(map(_DOTTED.fullmatch, match.group(1, 2))):
                raise WheelError(f"its script {name[:100]!r} has no module and function: {(value or '')[:100]!r}")
            if "/" in name or name in (".", "..") or not name.isprintable():
                raise WheelError(f"its script {name[:100]!r} would lie outside the directory for scripts")
            entry_points.append(EntryPoint(group, name, match[1], match[2]))
    return entry_points


def make_scripts(entries: list[EntryPoint], scheme: Scheme) -> dict[str, bytes]:
    """The text of each script by its name."""
    named = {entry.name: entry for entry in entries}
    for base, versioned in (("pip", "pip{}"), ("easy_install", "easy_install-{}")):
        # Built for one version of Python, these carry that version in their names.
        entry = named.pop(base, None)
        if entry is None:
            continue
        pattern = re.compile(rf"{base}-?(\d+(\.\d+)?)?")
        named = {name: other for name, other in named.items() if not pattern.fullmatch(name)}
        names = [base, versioned.format(scheme.version), *([f"{base}3"] if base == "pip" else [])]
        named |= dict.fromkeys(names, entry)
    return {name: make_script(entry, scheme) for name, entry in named.items()}


def make_script(entry: EntryPoint, scheme: Scheme) -> bytes:
    """A script that calls an entry point."""
    first = entry.function.partition(".")[0]
    body = TEMPLATE.format(module=entry.module, first=first, function=entry.function)
    return f"#!{scheme.interpreter}\n{body}".encode()


def is_wrapper(name: str, entries: Mapping[str, object]) -> bool:
    """Whether a script in a wheel is what old build tools made of an entry point, which is made anew."""
    base = name
    for suffix in (".exe", "-script.py", ".pya"):
        if name.lower().endswith(suffix):
            base = name[: -len(suffix)]
            break
    return base in entries


def change_interpreter(data: bytes, scheme: Scheme) -> bytes | None:
    """A script that begins with ``#!python``, for this environment's interpreter; ``None`` for others."""
    if not data.startswith(b"#!python"):
        return None
    _, _, rest = data.partition(b"\n")
    return f"#!{scheme.interpreter}\n".encode() + rest

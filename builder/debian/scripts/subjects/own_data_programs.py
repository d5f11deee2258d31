"""What a shell program needs to run on a machine, and what of it the image does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from builder.debian.scripts.language.interpreter import SHELLS, find_interpreter
from builder.debian.scripts.language.parser import parse
from builder.debian.scripts.language.syntax import Function, Literal, Simple
from builder.debian.scripts.language.words import ScriptSyntaxError
from builder.debian.scripts.subjects import builtins
from builder.debian.scripts.subjects.builtins import CONFMODULE
from builder.tree.node import Kind
from builder.tree.tree import Tree

DIRECTORIES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_OWN = frozenset(("test", "[", "[[", "kill", "exec", "let"))  # of the shell itself, besides its special built-ins
# Without a condition before it, so that the program ends where the file is missing.
_SOURCED = re.compile(r"^(?:\.|source)\s+(/[\w./+-]+)", re.M)
_QUESTION = re.compile(r"\b[a-z0-9][a-z0-9+.-]*/[\w.-]+")


def find_missing(tree: Tree, text: str) -> list[str]:
    """What a program of these commands would look for in vain: programs, their interpreters, files that they source."""
    missing: dict[str, None] = {}
    for name in list_commands(text):
        path = find_program(tree, name)
        if path is None:
            missing[f"{name} is not in the image"] = None
            continue
        first, script = _first_line(tree, path), _script(tree, path)
        if first.startswith("#!"):
            program = first[2:].split()[0] if first[2:].split() else ""
            if tree.get(program, follow=True) is None:
                missing[f"{path} is run by {program}, which is not in the image"] = None
        for sourced in _SOURCED.findall(script):
            if tree.get(sourced, follow=True) is None:
                missing[f"{path} reads {sourced}, which is not in the image"] = None
    return list(missing)


def find_questions(tree: Tree, text: str) -> set[str]:
    """The questions of debconf's that programs of these commands may ask; empty if none asks any."""
    questions: set[str] = set()
    for name in list_commands(text):
        path = find_program(tree, name)
        script = "" if path is None else _script(tree, path)
        if CONFMODULE in _SOURCED.findall(script):
            questions |= {CONFMODULE, *_QUESTION.findall(script)}
    return questions


def list_commands(text: str) -> list[str]:
    """The names of the programs that a shell text starts, each once. One that is not a shell's text starts none."""
    try:
        tree = parse(text)
    except ScriptSyntaxError:
        return []
    functions = {node.name for node in _nodes(tree) if isinstance(node, Function)}
    names = [
        "".join(part.text for part in node.words[0].parts if isinstance(part, Literal))
        for node in _nodes(tree)
        if isinstance(node, Simple) and node.words and all(isinstance(p, Literal) for p in node.words[0].parts)
    ]
    return [
        name
        for name in dict.fromkeys(names)
        if name not in functions and name not in builtins.COMMANDS and name not in _OWN
    ]


def find_program(tree: Tree, name: str) -> str | None:
    """Where ``PATH`` leads for a name."""
    places = [name] if name.startswith("/") else [f"{directory}/{name}" for directory in DIRECTORIES]
    return next((p for p in places if (n := tree.get(p, follow=True)) is not None and n.is_executable), None)


def _nodes(value: object) -> Iterator[object]:
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _nodes(item)
    elif is_dataclass(value):
        yield value
        for field in fields(value):
            yield from _nodes(getattr(value, field.name))


def _first_line(tree: Tree, path: str) -> str:
    node = tree.get(path, follow=True)
    if node is None or node.kind is not Kind.FILE:
        return ""
    return node.content.read().partition(b"\n")[0][:256].decode(errors="replace")


def _script(tree: Tree, path: str) -> str:
    """The text of a shell script; empty for any other program."""
    if find_interpreter(_first_line(tree, path)) not in SHELLS:
        return ""
    node = tree.require(path, follow=True)
    return node.content.read().decode(errors="replace")

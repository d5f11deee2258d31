"""Python's own tools in scripts: which modules get bytecode, and which versions there are.

Sources: py3compile(1) and ``debpython/files.py`` of python3-minimal; py3versions(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.dpkg import list_files
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import NotModelled
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.bytecode import compile_modules
from builder.tree.node import Kind

EXCLUDED = "/usr/share/python3/bcep"
# What python3-twisted runs when packages bring plugins for it.
_TWISTED = re.compile(r"from twisted\.plugin import IPlugin, getPlugins; *list\(getPlugins\(IPlugin\)\)")
_PUBLIC = re.compile(r".*?/usr/lib/python3(\.[0-9]+)?/(site|dist)-packages")


def _note(shell: Shell, whose: str, paths: Iterable[str]) -> None:
    modules = tuple(sorted(path for path in set(paths) if path.endswith(".py") and _is_module(shell, path)))
    if modules:
        shell.system.record(EffectKind.BYTECODE, whose, f"{len(modules)} modules", *modules)


def _is_module(shell: Shell, path: str) -> bool:
    node = shell.system.get(path)
    return node is not None and node.kind is Kind.FILE


def _below(shell: Shell, name: str) -> list[str]:
    """What is in a directory; a module under its own name, also if that is a link."""
    path = shell.resolve_path(name)
    node = shell.system.get(path)
    if node is None or node.kind is Kind.FILE:
        return [path]
    return [below for below, _ in shell.system.walk(path)]


def py3compile(shell: Shell, arguments: list[str]) -> Status:
    """``py3compile -p package`` (its public modules), ``-p package directory``, ``directory``; ``-V`` is as it is."""
    options = read_options("py3compile", arguments, "v q f O verbose quiet force", "p package V X exclude")
    package = options.get("p", "package")
    excluded = [re.compile(text) for text in (options.get("X", "exclude"),) if text]
    if package is not None:
        paths = list_files(shell, package)
        if options.operands:
            paths = [path for path in paths if path.startswith(tuple(options.operands))]
        else:
            paths = [path for path in paths if _PUBLIC.match(path)]
    else:
        paths = [path for name in options.operands for path in _below(shell, name)]
    tests = [*excluded, *_excluded(shell)]
    _note(
        shell,
        package or " ".join(options.operands),
        (path for path in paths if not any(test.match(path) for test in tests)),
    )
    return 0


def _excluded(shell: Shell) -> list[re.Pattern[str]]:
    """What packages ask not to compile: ``type|versions|directory|pattern`` lines."""
    patterns = []
    for name in shell.system.list_children(EXCLUDED):
        for line in (shell.system.read(f"{EXCLUDED}/{name}") or "").splitlines():
            fields = line.split("|", 3)
            if line.startswith("#") or len(fields) < 3:
                continue
            place = re.escape(fields[2].rstrip("/"))
            if fields[0] == "re":
                patterns.append(re.compile(f"{place}/(?:{fields[3] if len(fields) > 3 else '.*'})"))
            else:
                patterns.append(re.compile(place + (r"\Z" if fields[0] == "file" else "/")))
    return patterns


def python(shell: Shell, arguments: list[str]) -> Status:
    """``python3 .../py_compile.py file ...`` and ``-m compileall``: bytecode, which its handler makes; the cache of
    twisted's plugins, which the image's own Python makes when all packages are in.
    """
    if arguments[:1] == ["-c"] and len(arguments) == 2 and _TWISTED.fullmatch(arguments[1]):
        program = shell.find_program("python3")
        if program is None:
            raise NotModelled("python3 is not in the image")
        shell.system.record(EffectKind.PROGRAM, "python3", "the cache of twisted's plugins", program, *arguments)
        return 0
    words = [a for a in arguments if not a.startswith("-")]
    compiles = words and (
        words[0] in ("py_compile", "compileall") or words[0].endswith(("py_compile.py", "compileall.py"))
    )
    if not compiles:
        raise NotModelled("a program in Python")
    _note(shell, words[0], [path for word in words[1:] if word != "-" for path in _below(shell, word)])
    return 0


def py3clean(shell: Shell, arguments: list[str]) -> Status:
    """``py3clean``: there is nothing yet that it would remove."""
    return 0


def py3versions(shell: Shell, arguments: list[str]) -> Status:
    """``py3versions -d`` (default), ``-s`` (supported), ``-i`` (installed), from Debian's own list."""
    text = shell.system.read("/usr/share/python3/debian_defaults") or ""
    default = re.search(r"default-version\s*=\s*(\S+)", text)
    if default is None or not set(arguments) <= {"-d", "-s", "-i", "-v", "-r"}:
        raise NotModelled("py3versions")
    shell.say((default[1].removeprefix("python") if "-v" in arguments else default[1]) + "\n")
    return 0


def list_modules_to_compile(work: Work) -> set[str]:
    """Every module that a script compiles."""
    return {str(path) for effect in work.list_effects(EffectKind.BYTECODE) for path in effect.data}


def install_bytecode(work: Work) -> None:
    """A ``__pycache__`` beside each of these."""
    compile_modules(work.tree, work.tools, list_modules_to_compile(work), origin=ORIGIN, scratch=work.scratch)


COMMANDS = make_models({
    "py3compile": py3compile, "py3clean": py3clean, "pypy3compile": py3clean, "pypy3clean": py3clean,
    "py3versions": py3versions,
    **{f"python3{minor}": python for minor in ("", *(f".{number}" for number in range(9, 20)))},
}, replayed=("py3compile", "py3clean", "pypy3compile", "pypy3clean"))  # fmt: skip

"""Bytecode, made at build because the image is read-only.

Unchecked-hash ``.pyc`` (PEP 552) carry no time of the source: with all times clamped, time-stamped ones would look
stale and every import would compile again (what ``py3compile(1)`` writes on a normal Debian would be such).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from builder.core.parallel import run_parallel
from builder.core.tools import Tools
from builder.tree.materialise import materialise
from builder.tree.node import Kind
from builder.tree.tree import Tree

# Test suites hold files that no interpreter can compile.
SKIP = ("/test/", "/tests/", "/lib2to3/")

# Bytecode of one source must be one sequence of bytes. What CPython writes depends on the process: a name in a constant
# is the same object as an equal name elsewhere if some module that is loaded has interned it first, and sets of names
# are shared or not accordingly. Here a name is always the interned one, and equal sets of a module are one.
# Reads paths from standard input, relative to the directory that is named.
PROGRAM = """
import gc, importlib.util, marshal, os, sys, types

gc.disable()  # whether an object has one reference or more is written as well, so nothing may go at its own time

def settled(value, made):
    kind = type(value)
    if kind is str:
        return sys.intern(value) if value.isprintable() and " " not in value else value
    if kind is frozenset:
        return made.setdefault(tuple(sorted(map(repr, value))), frozenset(settled(each, made) for each in value))
    if kind is tuple or kind is types.CodeType:
        if id(value) not in made:
            made[id(value)] = (
                tuple([settled(each, made) for each in value])
                if kind is tuple
                else value.replace(co_consts=settled(value.co_consts, made))
            )
        return made[id(value)]
    return value

for path in map(os.fsdecode, sys.stdin.buffer.read().split(b"\\0")):
    source = os.path.join(sys.argv[1], path)
    with open(source, "rb") as file:
        text = file.read()
        mode = os.fstat(file.fileno()).st_mode
    made = {}
    try:
        code = settled(compile(text, "/" + path, "exec", dont_inherit=True), made)
    except Exception:
        continue
    made.clear()
    target = importlib.util.cache_from_source(source)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # PEP 552: a hash of the source that nobody checks.
    head = importlib.util.MAGIC_NUMBER + b"\\1\\0\\0\\0" + importlib.util.source_hash(text)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode & 0o666), "wb") as file:
        file.write(head + marshal.dumps(code))
"""


def compile_below(tree: Tree, tools: Tools, roots: Sequence[str], *, origin: str, scratch: Path) -> None:
    """:func:`compile_modules` for every module below ``roots``."""
    modules = [path for root in roots for path, _ in tree.walk(tree.resolve(root)) if path.endswith(".py")]
    compile_modules(tree, tools, modules, origin=origin, scratch=scratch)


def compile_modules(
    tree: Tree, tools: Tools, modules: Iterable[str], *, origin: str, scratch: Path, skip: Sequence[str] = SKIP
) -> None:
    """Compile modules by the tools tree's interpreter, which is of the image's own suite.

    A module that does not compile is left as it is: it says so when it is imported, as it would have anyway.

    Args:
        modules: paths of files, or of links to files, which are compiled under the name of the link.
        skip: parts of paths that are left out.
    """
    part = Tree()
    for path in sorted(modules):
        node = tree.get(path, follow=True)
        if node is not None and node.kind is Kind.FILE and not any(skipped in path for skipped in skip):
            part.put(tree.resolve(path, follow_last=False), node)
    files = [path for path, node in part.walk() if node.kind is Kind.FILE and path.endswith(".py")]
    if not files:
        return
    with tempfile.TemporaryDirectory(dir=scratch, prefix="python-") as directory:
        place = materialise(part, Path(directory), ["/"])
        jobs = min(os.cpu_count() or 1, len(files))

        def compile_share(number: int) -> None:
            share = "\0".join(path[1:] for path in files[number::jobs]).encode(errors="surrogateescape")
            tools.run("python3", "-I", "-B", "-W", "ignore", "-c", PROGRAM, directory, input=share)

        run_parallel(*(partial(compile_share, number) for number in range(jobs)))
        place.absorb(tree, origin=origin)

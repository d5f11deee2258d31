"""One source, one sequence of bytes: whatever else the process that compiles has compiled or loaded before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.core.tools import Tools
from builder.tree import bytecode
from builder.tree.bytecode import compile_below
from builder.tree.node import Kind, make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.image

# Loaded by an interpreter that has more to do, and each of them compiled to other bytes there by compileall.
LOADED = "import asyncio, collections, email.message, ftplib, ssl, typing, unittest.mock, weakref, xml.dom.minidom\n"
MODULES = "/usr/lib/python3.13"


@pytest.fixture(scope="module")
def sources(tools: Tools) -> Tree:
    """Modules of the standard library that are next to each other, and a few others."""
    tree = Tree()
    for path in sorted((tools.root / MODULES[1:]).glob("[c-z]*.py")):
        tree.put(f"{MODULES}/{path.name}", make_file(path.read_bytes(), origin="package:a"))
    tree.put(f"{MODULES}/broken.py", make_file("def f(:\n", origin="package:a"))
    tree.put(f"{MODULES}/secret.py", make_file("x = 1\n", 0o600, origin="package:a"))
    tree.put(f"{MODULES}/ünï.py", make_file("#!/usr/bin/python3\ny = {'a', 'b'}\n", 0o755, origin="package:a"))
    return tree


def compiled(sources: Tree, tools: Tools, scratch: Path) -> dict[str, bytes]:
    tree = sources.copy()
    compile_below(tree, tools, ["/usr"], origin="stage:x", scratch=scratch)
    return {path: node.content.read() for path, node in tree.walk() if path.endswith(".pyc") and node.kind is Kind.FILE}


def test_bytecode_does_not_depend_on_the_process_that_made_it(
    sources: Tree, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    one = compiled(sources, tools, tmp_path)
    assert len(one) > 100
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert compiled(sources, tools, tmp_path) == one
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(bytecode, "PROGRAM", LOADED + bytecode.PROGRAM)
    assert compiled(sources, tools, tmp_path) == one


def test_bytecode_is_what_the_interpreter_takes_without_a_look_at_the_source(
    sources: Tree, tools: Tools, tmp_path: Path
) -> None:
    tree = sources.copy()
    compile_below(tree, tools, ["/usr"], origin="stage:x", scratch=tmp_path)
    names = set(tree.list_children(f"{MODULES}/__pycache__"))
    assert "broken.cpython-313.pyc" not in names
    cached = tree.require(f"{MODULES}/__pycache__/ünï.cpython-313.pyc")
    assert (cached.mode, cached.origin) == (0o644, "stage:x")
    assert tree.require(f"{MODULES}/__pycache__/secret.cpython-313.pyc").mode == 0o600
    data = cached.content.read()
    assert data[4:8] == b"\1\0\0\0"  # PEP 552: a hash, not checked
    assert data[8:16] != bytes(8)
    place = tmp_path / "place"
    place.mkdir()
    (place / "uni.pyc").write_bytes(data)
    program = f"import sys; sys.path.insert(0, {str(place)!r}); import uni; print(sorted(uni.y))"
    assert tools.run("python3", "-I", "-c", program) == "['a', 'b']\n"

"""Bytecode of wheels, compiled once for each place that a wheel lies at, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.core.files import open_replacement
from builder.core.inputs import hash_source
from builder.core.kept import PACKS, Row, derive_key, is_usable, read_entry, seal_entry
from builder.core.store import Store
from builder.core.store_errors import explain_store_errors
from builder.core.tools import Tools
from builder.python.install import Installed, add_bytecode
from builder.tree.bytecode import compile_modules
from builder.tree.node import Kind, Node, Slice
from builder.tree.tree import Tree

SUFFIX = ".pyc"


def compile_wheels(installed: Sequence[Installed], tools: Tools, store: Store, scratch: Path) -> None:
    """Add the bytecode of every module to its wheel. Modules that do not compile are left as they are.

    Raises:
        ToolError: the tools tree's interpreter failed.
        CapabilityError: the store cannot be written.
    """
    missing = []
    with explain_store_errors(store):
        for wheel in installed:
            inputs = _list_inputs(wheel, tools)
            key = derive_key(inputs)
            entry = read_entry(store, PACKS, key)
            if entry is not None and is_usable(entry):
                add_bytecode(wheel, _load(entry.value, _locate(store, key)))
            elif wheel.list_modules():
                missing.append((wheel, key, inputs))
        if not missing:
            return
        part = Tree()
        for wheel, _, _ in missing:
            for path in wheel.list_modules():
                part.put(path, wheel.nodes[path])
        # The search for modules to compile leaves nothing out: pip compiles all as well.
        compile_modules(
            part, tools, [path for path, _ in part.walk() if path.endswith(".py")], origin="", scratch=scratch, skip=()
        )
        for wheel, key, inputs in missing:
            value = _keep(wheel, part, store, key, inputs)
            add_bytecode(wheel, _load(value, _locate(store, key)))


def _list_inputs(wheel: Installed, tools: Tools) -> dict[str, str]:
    modules = hashlib.sha256("\n".join(wheel.list_modules()).encode(errors="surrogateescape")).hexdigest()
    return {
        "bytecode": wheel.pack.wheel.sha256,
        "modules": modules,
        "tools": str(tools.root.name),
        "build-os": hash_source("builder.tree.bytecode"),
    }


def _locate(store: Store, key: str) -> Path:
    return store.root / PACKS.name / f"{key}{SUFFIX}"


def _keep(wheel: Installed, compiled: Tree, store: Store, key: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Write the bytecode of a wheel into one file of the store; where each piece is."""
    rows: list[list[object]] = []
    digest = hashlib.sha256()
    offset = 0
    own: dict[str, set[str]] = {}
    for path in wheel.list_modules():
        directory, _, name = path.rpartition("/")
        own.setdefault(f"{directory}/__pycache__", set()).add(name.removesuffix(".py"))
    with open_replacement(_locate(store, key)) as out:
        for cache in sorted(own):
            for name in compiled.list_children(cache) if compiled.get(cache) is not None else ():
                if name.partition(".cpython-")[0] in own[cache]:
                    data = compiled.read(f"{cache}/{name}")
                    out.write(data)
                    digest.update(data)
                    rows.append([f"{cache}/{name}", offset, len(data)])
                    offset += len(data)
    value = {"files": rows}
    row: Row = [offset, digest.hexdigest()]
    seal_entry(store, PACKS, key, inputs=inputs, files={_locate(store, key).name: row}, value=value)
    return value


def _load(value: Mapping[str, Any], path: Path) -> dict[str, Node]:
    return {
        name: Node(Kind.FILE, 0o644, content=Slice(str(path), offset, size)) for name, offset, size in value["files"]
    }

"""Indexes are kept: a package that comes or goes seldom changes what the others' kernel, modules and hardware are.

An index is what a handler changes in the tree; it is kept under a key of all that the handler reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from builder.core.console import Console
from builder.core.inputs import hash_source
from builder.core.kept import DERIVED, Contents, keep
from builder.core.store import Store
from builder.debian.scripts.subjects import indexes, python
from builder.debian.scripts.work import Work
from builder.tree.materialise import copy_part
from builder.tree.tree import Tree

CHANGES = "changes"  # a file of an entry: what is new or other in the tree
# What handlers read that take long; what is not here is made each time.
READ: Mapping[Callable[[Work], None], Callable[[Work], Iterable[str]]] = {
    indexes.make_module_index: lambda _: ("/usr/lib/modules",),
    indexes.make_hardware_database: lambda _: (indexes.HARDWARE, indexes.HARDWARE_PROGRAM),
    python.install_bytecode: python.list_modules_to_compile,
}


def make_index(handler: Callable[[Work], None], work: Work, store: Store | None, console: Console) -> Tree:
    """The tree of the work with an index, by its handler or as it was kept; the work's own tree stays as it is.

    Raises:
        BuildError: the store cannot be written; what the handler raises.
    """
    if store is None or handler not in READ:
        tree = work.tree.copy()
        handler(replace(work, tree=tree))
        return tree
    paths = sorted(READ[handler](work))
    inputs = {
        "what": handler.__name__,
        "build-os": hash_source(handler.__module__),
        "tools": work.tools.root.name,
        "paths": hashlib.sha256(json.dumps(paths).encode()).hexdigest(),
        "files": copy_part(work.tree, paths).hash_pointers(store.root),
    }

    made: list[Tree] = []

    def make(fresh: Path) -> Contents:
        before, tree = dict(work.tree.walk()), work.tree.copy()
        handler(replace(work, tree=tree))
        made.append(tree)
        after = dict(tree.walk())
        changed = Tree({path: node for path, node in after.items() if before.get(path) is not node})
        (fresh / CHANGES).write_bytes(changed.encode())
        return Contents(value=sorted(before.keys() - after.keys()))

    entry = keep(store, DERIVED, inputs, make, console, work.scratch)
    if made:
        return made[0]
    tree = work.tree.copy()
    tree.discard(entry.value)
    for path, node in Tree.decode(entry.read(entry.path / CHANGES)).walk():
        tree.put(path, node)
    return tree

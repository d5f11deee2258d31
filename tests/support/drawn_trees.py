"""Trees of entries that a property test draws."""

from __future__ import annotations

from collections.abc import Iterable

from builder.tree.node import Kind, Node, make_directory
from builder.tree.tree import Tree, get_parent


def build_drawn_tree(entries: Iterable[tuple[str, Node]], *, origin: str = "t") -> Tree:
    """The entries that can be in one tree: each below a directory, and none in place of a directory that has others.

    Args:
        origin: of the root.
    """
    nodes: dict[str, Node] = {"/": make_directory(origin=origin)}
    for name, node in entries:
        path = f"/{name}"
        parent = nodes.get(get_parent(path))
        if parent is not None and parent.kind is Kind.DIRECTORY:
            inside = any(other.startswith(path + "/") for other in nodes)
            if not inside or node.kind is Kind.DIRECTORY:
                nodes[path] = node
    return Tree(nodes)

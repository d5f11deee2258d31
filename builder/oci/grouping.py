"""Which files of a container share a layer: those that change together.

A source package's binaries are updated together, so a large one has a layer of its own; small ones share a few, each
always the same one. What build-os made of them (indexes, accounts, dpkg's record) and the overlays change with every
version and come last. Nothing depends on what else is in an image: two images with the same packages share the layers.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping

from builder.tree.node import Kind, Node
from builder.tree.tree import Tree, get_parent

LARGE = 2 << 20  # bytes of a source package's files that are worth a layer
MAX_LARGE = 40  # Docker's overlay driver takes 128 layers, and an image may be somebody's base
SHARED = 4  # layers for all others
PACKAGE = "package:"
ENVIRONMENTS = ("environment", "wheel")  # of Python
_INFO = re.compile(r"/var/lib/dpkg/info/(?P<package>[a-z0-9][a-z0-9+.-]+)(?::[a-z0-9]+)?\.[a-z0-9]+")
_BYTECODE = re.compile(r"(?P<directory>.*)/__pycache__/(?P<module>[^/.]+)\.[^/]*\.pyc")


def group_by_change(tree: Tree, sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Title -> paths, in the order of the layers.

    Args:
        sources: package -> its source package.
    """
    units: dict[str, list[str]] = defaultdict(list)
    made: list[str] = []
    own: list[str] = []
    sizes: dict[str, int] = defaultdict(int)
    nodes = dict(tree.walk())
    for path, node in nodes.items():
        kind, _, name = node.origin.partition(":")
        package = _find_package(path, node, nodes)
        source = sources.get(package) if package is not None else None
        if source is not None or kind in ENVIRONMENTS:
            unit = f"source package {source}" if source is not None else f"{kind} {name}"
            units[unit].append(path)
            sizes[unit] += node.size
        elif kind == "overlay":
            own.append(path)
        else:
            made.append(path)
    large = sorted((unit for unit in units if sizes[unit] >= LARGE), key=lambda unit: (-sizes[unit], unit))[:MAX_LARGE]
    shares: dict[str, list[str]] = defaultdict(list)
    for unit in sorted(set(units) - set(large)):
        shares[f"small packages, part {_choose_share(unit) + 1} of {SHARED}"] += units[unit]
    # The large ones first: they are what a reader had better begin to fetch.
    groups = {unit: units[unit] for unit in sorted(large)} | dict(sorted(shares.items()))
    return groups | {"indexes and records": made, "overlays": own}


def _find_package(path: str, node: Node, nodes: Mapping[str, Node]) -> str | None:
    """The package that an entry changes with: its own, or that of what it is about."""
    if node.origin.startswith(PACKAGE):
        return node.origin.removeprefix(PACKAGE)
    if (match := _INFO.fullmatch(path)) is not None:
        return match["package"]
    if (match := _BYTECODE.fullmatch(path)) is not None:
        module = nodes.get(f"{match['directory']}/{match['module']}.py")
        return None if module is None else module.origin.removeprefix(PACKAGE)
    if node.kind is Kind.DIRECTORY and path.endswith("/__pycache__"):
        return nodes[get_parent(path)].origin.removeprefix(PACKAGE)
    return None


def _choose_share(unit: str) -> int:
    return hashlib.sha256(unit.encode()).digest()[0] % SHARED

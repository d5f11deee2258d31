"""Two root file systems, path by path: what a user of one could tell from the other.

Times are not compared. Owners are compared by name, because the numbers of dynamic users follow from the order in which
packages happen to be configured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from builder.tree.node import Kind, Node, Slice
from builder.tree.tree import Tree

# Bytes of a file as they are compared: what is known to differ without meaning anything is brought into one form.
Canonical = Callable[[str, bytes], bytes]


@dataclass(frozen=True, order=True)
class Difference:
    """One thing that differs.

    Attributes:
        what: ``missing`` (only dpkg has it), ``extra`` (only we have it), or the attribute that differs: ``type``,
            ``mode``, ``owner``, ``group``, ``target``, ``device``, ``xattrs``, ``links``, ``content``.
    """

    path: str
    what: str
    ours: str = ""
    theirs: str = ""

    def __str__(self) -> str:
        if self.what in ("missing", "extra"):
            return f"{self.path}: {self.what}: {self.ours or self.theirs}"
        return f"{self.path}: {self.what}: ours {self.ours}, dpkg's {self.theirs}"


def compare(ours: Tree, theirs: Tree, canonical: Canonical) -> list[Difference]:
    """All differences, sorted by path."""
    left, right = _Side(ours), _Side(theirs)
    found = []
    for path in sorted(left.nodes.keys() | right.nodes.keys()):
        mine, other = left.nodes.get(path), right.nodes.get(path)
        if mine is None:
            assert other is not None
            found.append(Difference(path, "missing", theirs=right.describe(other)))
        elif other is None:
            found.append(Difference(path, "extra", ours=left.describe(mine)))
        else:
            found.extend(_both(path, (left, mine), (right, other), canonical))
    return found


class _Side:
    """A tree, the names of its accounts, and which of its paths are one file."""

    def __init__(self, tree: Tree) -> None:
        self.nodes = dict(tree.walk())
        self.users = accounts(tree, "/etc/passwd")
        self.groups = accounts(tree, "/etc/group")
        same: dict[Slice, list[str]] = defaultdict(list)
        for path, node in self.nodes.items():
            if node.kind is Kind.FILE and isinstance(node.content, Slice):
                same[node.content].append(path)
        self.links = {path: tuple(paths) for paths in same.values() if len(paths) > 1 for path in paths}

    def owner(self, node: Node) -> str:
        return self.users.get(node.uid, str(node.uid))

    def group(self, node: Node) -> str:
        return self.groups.get(node.gid, str(node.gid))

    def describe(self, node: Node) -> str:
        words = [node.kind.name.lower(), f"{node.mode:04o}", self.owner(node), self.group(node)]
        return " ".join([*words, node.target] if node.target else words)


def accounts(tree: Tree, path: str) -> Mapping[int, str]:
    """Names by number from ``passwd(5)`` or ``group(5)``."""
    if path not in tree:
        return {}
    fields = [line.split(":") for line in tree.read_text(path).splitlines()]
    return {int(field[2]): field[0] for field in reversed(fields)}


def _both(path: str, mine: tuple[_Side, Node], other: tuple[_Side, Node], canonical: Canonical) -> Iterator[Difference]:
    (left, ours), (right, theirs) = mine, other
    if ours.kind is not theirs.kind:
        yield Difference(path, "type", left.describe(ours), right.describe(theirs))
        return
    attributes = {
        "mode": (f"{ours.mode:04o}", f"{theirs.mode:04o}") if ours.kind is not Kind.SYMLINK else ("", ""),
        "owner": (left.owner(ours), right.owner(theirs)),
        "group": (left.group(ours), right.group(theirs)),
        "target": (ours.target, theirs.target),
        "device": (str(ours.device), str(theirs.device)),
        "xattrs": (str(ours.xattrs), str(theirs.xattrs)),
        "links": (str(left.links.get(path, "")), str(right.links.get(path, ""))),
    }
    for what, (one, two) in attributes.items():
        if one != two:
            yield Difference(path, what, one, two)
    if ours.kind is Kind.FILE:
        one_text, two_text = ours.content.read(), theirs.content.read()
        if one_text != two_text and canonical(path, one_text) != canonical(path, two_text):
            yield Difference(path, "content", f"{len(one_text)} bytes", f"{len(two_text)} bytes")

"""What a build leaves of its stages: after each, every path that the stage changed, by hash.

One JSON object a line: ``{"stage": NAME, "changed": {PATH: ROW}, "removed": [PATH ...]}``. Two builds start from the
same empty tree, so the first stage whose lines differ is where a difference comes from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.tree.node import Content, Kind, Node
from builder.tree.tree import Tree

# The fields of a row, in order. After them comes the origin, which is for reports and in no image.
FIELDS = ("kind", "mode", "uid", "gid", "target", "device", "mtime", "content", "xattrs")
Row = tuple[object, ...]


class Recorder:
    """Writes the record while a build runs: its :meth:`record` is what ``Build.watch`` takes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._before: dict[str, Node] = {}
        self._hashes: dict[Content, str] = {}

    def record(self, stage: str, tree: Tree) -> None:
        """Note what the stage changed."""
        now = dict(tree.walk())
        changed = {path: self._row(node) for path, node in now.items() if self._before.get(path) is not node}
        removed = [path for path in self._before if path not in now]
        self._before = now
        self._file.write(json.dumps({"stage": stage, "changed": changed, "removed": removed}) + "\n")

    def close(self) -> None:
        """All is written."""
        self._file.close()

    def _row(self, node: Node) -> list[object]:
        content = self._hash(node.content) if node.kind is Kind.FILE else ""
        xattrs = [[name, value.hex()] for name, value in node.xattrs]
        device = list(node.device)
        row = [str(node.kind), node.mode, node.uid, node.gid, node.target, device, node.mtime, content, xattrs]
        return [*row, node.origin]

    def _hash(self, content: Content) -> str:
        digest = self._hashes.get(content)
        if digest is None:
            digest = self._hashes[content] = hashlib.sha256(content.read()).hexdigest()
        return digest


@dataclass(frozen=True)
class Change:
    """A path whose rows differ between two builds.

    Attributes:
        stage: the first after which they do.
        fields: the differing ones of :data:`FIELDS`, or ``only in the first`` and the like.
        origin: who put the path there, ``package:NAME`` and the like.
        passing: at the end the path is the same, or gone.
    """

    path: str
    stage: str
    fields: tuple[str, ...]
    origin: str
    passing: bool = False


def read_record(path: Path) -> Iterator[tuple[str, dict[str, Row]]]:
    """(stage, the whole tree after it) for each stage."""
    tree: dict[str, Row] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            data = json.loads(line)
            tree = {**tree, **{name: tuple(row) for name, row in data["changed"].items()}}
            for name in data["removed"]:
                del tree[name]
            yield data["stage"], tree


def find_changes(first: Path, second: Path) -> list[Change]:
    """The paths that differ, each with the stage from which on they did; those that the image has first.

    A path that differs on the way only may be why another one differs in the end. Times do not count there: they are
    clamped by the last stage.
    """
    pairs = [
        (stage, one, other) for (stage, one), (_, other) in zip(read_record(first), read_record(second), strict=True)
    ]
    _, one, other = pairs[-1]
    changes = {}
    for path in sorted(one.keys() | other.keys()):
        if fields := _differing(one.get(path), other.get(path)):
            stage = ""
            for name, before, there in reversed(pairs):
                if not set(fields) & set(_differing(before.get(path), there.get(path))):
                    break
                stage = name
            changes[path] = Change(path, stage, fields, str((one.get(path) or other[path])[-1]))
    for stage, one, other in pairs:
        for path in sorted(one.keys() | other.keys()):
            fields = tuple(field for field in _differing(one.get(path), other.get(path)) if field != "mtime")
            if fields and path not in changes:
                changes[path] = Change(path, stage, fields, str((one.get(path) or other[path])[-1]), passing=True)
    return list(changes.values())


def _differing(one: Row | None, other: Row | None) -> tuple[str, ...]:
    if one is None or other is None:
        return () if one is other else ("only in the second" if one is None else "only in the first",)
    return tuple(name for name, a, b in zip(FIELDS, one[:-1], other[:-1], strict=True) if a != b)

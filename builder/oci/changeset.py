"""What a layer says: the difference of two trees, by the image-spec's "Image Layer Filesystem Changeset"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from builder.tree.layer import WHITEOUT
from builder.tree.node import Kind, Node, make_directory, make_file
from builder.tree.tree import Tree, get_parent

ORIGIN = "oci:layer"


@dataclass(frozen=True)
class LayerPart:
    """A layer that is to be written.

    Attributes:
        title: what it brings, for the history of the image.
        changes: its members, whiteouts as the files they are.
        tree: the root with this layer and all below it.
    """

    title: str
    changes: Tree
    tree: Tree


def make_single_part(tree: Tree) -> LayerPart:
    """A whole root as one layer."""
    return LayerPart("", tree, tree)


def make_parts(lower: Tree, upper: Tree, groups: Mapping[str, Iterable[str]]) -> list[LayerPart]:
    """The layers that make ``upper`` out of ``lower``.

    Args:
        groups: title -> paths of ``upper``. What ``lower`` has already is in no layer, and neither is a group of which
            nothing is left. The last group also hides what is gone.
    """
    old, new = dict(lower.walk()), dict(upper.walk())
    changed = {path for path, node in new.items() if path not in old or not is_same(old[path], node)}
    gone = [path for path in old if path not in new and get_parent(path) in new]
    parts: list[LayerPart] = []
    state = dict(old)
    last = list(groups)[-1]
    for title, paths in groups.items():
        mine = sorted(changed.intersection(paths))
        replaced = {path for path in mine if new[path].kind is not Kind.DIRECTORY and path in state}
        hidden = gone if title == last else []
        if not mine and not hidden:
            continue
        members: dict[str, Node] = {}
        for path in mine:
            _add_with_parents(members, path, new)
        for path in hidden:
            directory, _, name = path.rpartition("/")
            if new[get_parent(path)].kind is Kind.DIRECTORY:
                _add_with_parents(members, get_parent(path), new)
                members[f"{directory}/{WHITEOUT}{name}"] = make_file(b"", origin=ORIGIN)
        state = _without(state, {*hidden, *replaced})
        # A parent is written with the attributes that it has in the end.
        state |= {path: node for path, node in members.items() if not path.rpartition("/")[2].startswith(WHITEOUT)}
        parts.append(LayerPart(title, Tree(members), Tree(state)))
    return parts


def _without(state: Mapping[str, Node], gone: set[str]) -> dict[str, Node]:
    """The entries but those that are gone, and all below them."""
    if not gone:
        return dict(state)
    kept: dict[str, Node] = {}
    for path in sorted(state):
        if path == "/" or (path not in gone and get_parent(path) in kept):
            kept[path] = state[path]
    return kept


def _add_with_parents(members: dict[str, Node], path: str, new: Mapping[str, Node]) -> None:
    """A member after the directories that it is in: readers make those that a layer leaves out as they like."""
    while path not in members:
        members[path] = new[path]
        path = get_parent(path)
    members.setdefault("/", make_directory(origin=ORIGIN))


def is_same(one: Node, other: Node) -> bool:
    """Whether two entries are the same in a root; times, and who put them there, are not looked at."""
    if one == other:
        return True
    fields = ("kind", "mode", "uid", "gid", "target", "device", "xattrs", "size")
    if any(getattr(one, name) != getattr(other, name) for name in fields):
        return False
    return one.content == other.content or one.content.read() == other.content.read()

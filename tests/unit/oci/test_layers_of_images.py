"""Roots divided into layers: what a reader makes of them is the root again, and versions share what did not change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.oci.changeset import LayerPart, make_parts
from builder.oci.check import validate_layout
from builder.oci.grouping import LARGE, SHARED, group_by_change
from builder.oci.image import Image, ImageConfig, assemble_layers, write_layers
from builder.tree.layer import read_layer
from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tar import write_tar
from builder.tree.tree import Tree
from tests.support.drawn_trees import build_drawn_tree
from tests.support.fuzz import empty_directory, examples
from tests.support.oci_schemas import find_mistakes_of_layout

pytestmark = pytest.mark.unit

NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "a/a/a", "b/a", "a/a/b", "c", "c/d"])
NODES = st.sampled_from(
    [
        make_file("1", origin="package:one"),
        make_file("2", origin="overlay:x"),
        make_directory(0o700, origin="package:one"),
        make_directory(0o755, origin="stage:packages"),
        make_symlink("a", origin="package:two"),
        Node(Kind.FILE, 0o755, origin="package:two", xattrs=(("user.note", b"x"),)),
    ]
)
SOURCES = {"one": "one", "two": "two", "big": "big", "bigger": "big", "small": "small"}


def apply(lower: Tree, parts: list[LayerPart], place: Path) -> list[Tree]:
    """What readers have after each layer."""
    states = []
    for number, part in enumerate(parts):
        pack = place / f"{number}.tar"
        with pack.open("wb") as file:
            write_tar(part.changes, file)
        lower = read_layer(lower, pack, origin="c")
        states.append(lower)
    return states


ENTRIES = st.lists(st.tuples(NAMES, NODES), max_size=8)


@examples(300)
@given(ENTRIES, ENTRIES)
def test_layers_over_what_is_below_make_the_root(below: list[tuple[str, Node]], above: list[tuple[str, Node]]) -> None:
    lower, upper = build_drawn_tree(below, origin="stage:tree"), build_drawn_tree(above, origin="stage:tree")
    parts = make_parts(lower, upper, group_by_change(upper, SOURCES))
    with empty_directory() as directory:
        states = apply(lower, parts, directory)
        assert (states[-1] if states else lower).compute_digest() == upper.compute_digest()
    assert not parts or parts[-1].tree.compute_digest() == upper.compute_digest()


def system(version: str = "1", page: str = "hello") -> Tree:
    tree = Tree()
    tree.put("/usr/lib/big", make_file(b"b" * LARGE, origin="package:big"))
    tree.put("/usr/lib/bigger", make_file(b"c" * LARGE, origin="package:bigger"))
    tree.put("/usr/lib/small.py", make_file(f"version = {version}", origin="package:small"))
    tree.put("/usr/lib/__pycache__/small.cpython-313.pyc", make_file(f"code {version}", origin="stage:packages"))
    tree.put("/usr/share/one", make_file("1", origin="package:one"))
    tree.put("/var/lib/dpkg/info/one.list", make_file("/usr/share/one", origin="stage:packages"))
    tree.put("/var/lib/dpkg/info/big:amd64.list", make_file("/usr/lib/big", origin="stage:packages"))
    tree.put("/var/lib/dpkg/status", make_file(f"small {version}", origin="stage:packages"))
    tree.put("/srv/index.html", make_file(page, origin="overlay:pages"))
    return tree


def divide(tree: Tree) -> list[LayerPart]:
    return make_parts(Tree(), tree, group_by_change(tree, SOURCES))


def find_title(tree: Tree, path: str) -> str:
    return next(title for title, paths in group_by_change(tree, SOURCES).items() if path in paths)


def test_what_changes_together_is_together() -> None:
    tree = system()
    big = find_title(tree, "/usr/lib/big")
    assert big == "source package big"
    assert find_title(tree, "/usr/lib/bigger") == big
    assert find_title(tree, "/var/lib/dpkg/info/big:amd64.list") == big
    assert find_title(tree, "/var/lib/dpkg/info/one.list") == find_title(tree, "/usr/share/one")
    assert find_title(tree, "/usr/lib/__pycache__/small.cpython-313.pyc") == find_title(tree, "/usr/lib/small.py")
    assert find_title(tree, "/var/lib/dpkg/status") == "indexes and records"
    assert find_title(tree, "/srv/index.html") == "overlays"
    assert list(group_by_change(tree, SOURCES))[-2:] == ["indexes and records", "overlays"]
    assert len(group_by_change(tree, SOURCES)) <= 3 + SHARED


def make_image(tree: Tree) -> Image:
    return assemble_layers(divide(tree), ImageConfig("amd64", "web", "1"))


def find_shared(one: Image, other: Image) -> set[str]:
    return {layer.digest for layer in one.layers} & {layer.digest for layer in other.layers}


def test_a_new_page_changes_one_layer() -> None:
    one, other = make_image(system()), make_image(system(page="goodbye"))
    assert len(find_shared(one, other)) == len(one.layers) - 1


def test_a_new_version_of_a_package_leaves_the_others_layers() -> None:
    one, other = make_image(system()), make_image(system(version="2"))
    shared = find_shared(one, other)
    assert len(shared) == len(one.layers) - 2  # its own and the record
    assert sum(layer.size for layer in one.layers if layer.digest in shared) > 2 * LARGE


def test_a_package_more_moves_nobody_elses_files() -> None:
    tree = system()
    tree.put("/usr/share/two", make_file("2", origin="package:two"))
    assert len(find_shared(make_image(system()), make_image(tree))) >= len(make_image(system()).layers) - 1


def test_layout_of_several_layers_is_sound_and_the_same_each_time(tmp_path: Path) -> None:
    config = ImageConfig("amd64", "web", "1", ("/x",))
    images = [write_layers(divide(system()), config, tmp_path / name) for name in ("one", "two")]
    assert images[0] == images[1] == assemble_layers(divide(system()), config)
    assert validate_layout(tmp_path / "one") == []
    assert find_mistakes_of_layout(tmp_path / "one") == []
    history = json.loads(images[0].config)["history"]
    assert [entry["comment"] for entry in history][-1] == "overlays"
    assert len(history) == len(images[0].layers)
    assert images[0].tree.compute_digest() == system().compute_digest()

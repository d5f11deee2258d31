"""A tree keeps itself consistent, and nothing that is put into it gets out."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.tree.node import EMPTY, Inline, Kind, Node, Slice, make_directory, make_file, make_symlink
from builder.tree.tree import MAX_LINKS, Tree, TreeError, get_parent, normalise_path

pytestmark = pytest.mark.unit


def test_threads_that_read_one_tree_see_all_of_it() -> None:
    """The names in directories are made when somebody first asks, and nobody else sees them half made."""
    tree = Tree()
    for number in range(300):
        tree.put(f"/{number}", make_directory(origin="x"))
        for name in range(30):
            tree.put(f"/{number}/{name}", make_file("", origin="x"))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            shared = Tree(dict(tree.walk()))
            with ThreadPoolExecutor(4) as pool:
                counts = list(pool.map(lambda n: len(shared.list_children(f"/{n}")), [299] * 4))  # noqa: B023
            assert counts == [30] * 4
    finally:
        sys.setswitchinterval(before)


def text(data: bytes | str, mode: int = 0o644) -> Node:
    return make_file(data, mode, origin="test")


def link(target: str) -> Node:
    return make_symlink(target, origin="test")


def folder(mode: int = 0o755) -> Node:
    return make_directory(mode, origin="test")


def make(*entries: tuple[str, Node]) -> Tree:
    tree = Tree()
    for path, node in entries:
        tree.put(path, node)
    return tree


def paths(tree: Tree) -> list[str]:
    return [path for path, _ in tree.walk()]


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/usr/bin/env", "/usr/bin/env"),
        ("usr//bin/./env", "/usr/bin/env"),
        ("/usr/bin/", "/usr/bin"),
        ("", "/"),
        ("/", "/"),
        ("./.", "/"),
        ("/a/...", "/a/..."),
        ("/a/.b", "/a/.b"),
        ("/a/..b", "/a/..b"),
        ("/é" * 3, "/é/é/é"),
        ("/" + "x" * 255, "/" + "x" * 255),
        ("/" + "é" * 127 + "x", "/" + "é" * 127 + "x"),
    ],
)
def test_a_path_has_one_spelling(path: str, expected: str) -> None:
    assert normalise_path(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "/..",
        "/a/../b",
        "a/..",
        "/a\0b",
        "/é\0",
        "/" + "x" * 256,
        "/" + "é" * 128,
        "/" + "\udcff" * 256,
        "/ok/" + "x" * 256,
    ],
)
def test_a_hostile_path_is_refused(path: str) -> None:
    with pytest.raises(TreeError, match="not a path that a tree can have"):
        normalise_path(path)
    with pytest.raises(TreeError):
        Tree().put(path, text("x"))


def test_a_refusal_does_not_repeat_a_whole_hostile_name() -> None:
    with pytest.raises(TreeError) as caught:
        normalise_path("/" + "x" * 100_000)
    assert len(str(caught.value)) < 500


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda t: "/" + t))
@settings(deadline=None)
def test_a_normal_path_stays_as_it_is(path: str) -> None:
    try:
        once = normalise_path(path)
    except TreeError:
        return
    assert normalise_path(once) == once
    assert once.startswith("/")
    assert ".." not in once.split("/")
    assert once == "/" or "" not in once[1:].split("/")


def test_every_path_has_a_parent() -> None:
    assert [get_parent(path) for path in ("/a/b", "/a", "/")] == ["/a", "/", "/"]


# --- links -----------------------------------------------------------------------------------------


@pytest.fixture
def merged() -> Tree:
    """A merged /usr, and links of every kind."""
    return make(
        ("/usr/bin/sh", text("a shell", 0o755)),
        ("/bin", link("usr/bin")),
        ("/usr/bin/bash", link("sh")),
        ("/etc/alternatives/sh", link("/usr/bin/sh")),
        ("/opt/app/up", link("../../usr/./bin")),
        ("/opt/app/out", link("../../../../../etc")),
        ("/opt/app/slash", link("//usr//bin/")),
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/bin/sh", "/usr/bin/sh"),
        ("bin//sh", "/usr/bin/sh"),
        ("/bin", "/usr/bin"),
        ("/bin/bash", "/usr/bin/sh"),
        ("/etc/alternatives/sh", "/usr/bin/sh"),
        ("/opt/app/up/sh", "/usr/bin/sh"),
        ("/opt/app/slash/sh", "/usr/bin/sh"),
        ("/opt/app/out/alternatives", "/etc/alternatives"),  # the root's parent is the root, as in chroot(2)
        ("/bin/../lib", "/usr/lib"),  # the parent of where the link leads, as the kernel has it
        ("/../../etc", "/etc"),
        ("/bin/not-there", "/usr/bin/not-there"),
        ("/nowhere/at/all", "/nowhere/at/all"),
        ("/", "/"),
    ],
)
def test_links_are_followed_as_if_the_tree_were_the_root(merged: Tree, path: str, expected: str) -> None:
    assert merged.resolve(path) == expected


def test_the_last_link_is_only_followed_if_asked(merged: Tree) -> None:
    assert merged.resolve("/bin/bash", follow_last=False) == "/usr/bin/bash"
    found = merged.get("/bin/bash")
    assert found is not None
    assert found.kind is Kind.SYMLINK
    found = merged.get("/bin/bash", follow=True)
    assert found is not None
    assert found.kind is Kind.FILE
    assert merged.read("/etc/alternatives/sh") == b"a shell"
    assert merged.require("/etc/alternatives/sh", follow=False).target == "/usr/bin/sh"


@pytest.mark.parametrize("target", ["self", "./self", "/self", "other"])
def test_links_in_a_circle_are_an_error_and_no_hang(target: str) -> None:
    tree = make(("/self", link(target)), ("/other", link("self")))
    with pytest.raises(TreeError, match="circle"):
        tree.resolve("/self/x")
    with pytest.raises(TreeError, match="circle"):
        tree.get("/self", follow=True)
    assert tree.get("/self") is not None


def test_as_many_links_are_followed_as_the_kernel_follows() -> None:
    tree = make(("/0", text("end")), *((f"/{n}", link(f"{n - 1}")) for n in range(1, MAX_LINKS + 2)))
    assert tree.read(f"/{MAX_LINKS}") == b"end"
    with pytest.raises(TreeError):
        tree.read(f"/{MAX_LINKS + 1}")


def test_links_that_multiply_end_soon() -> None:
    names = [f"l{number}" for number in range(30)]
    tree = make(("/l0", folder()), *((f"/{b}", link(f"{a}/../{a}")) for a, b in itertools.pairwise(names)))
    with pytest.raises(TreeError, match="circle"):
        tree.resolve("/l29/x")


def test_writing_through_a_link_lands_inside_the_tree() -> None:
    tree = make(("/lib", link("usr/lib")), ("/escape", link("../../../../tmp")))
    assert tree.put("/lib/x.so", text("x")) == "/usr/lib/x.so"
    assert tree.put("/escape/y", text("y")) == "/tmp/y"
    assert paths(tree) == ["/", "/escape", "/lib", "/tmp", "/tmp/y", "/usr", "/usr/lib", "/usr/lib/x.so"]


# --- putting and taking ----------------------------------------------------------------------------


def test_missing_parents_are_made_and_say_who_wanted_them() -> None:
    tree = make(("/usr/share/doc/x", text("x")))
    assert tree.require("/usr/share").kind is Kind.DIRECTORY
    assert tree.require("/usr/share").mode == 0o755
    assert tree.require("/usr/share").origin == "test"


def test_the_last_component_is_replaced_and_never_followed() -> None:
    tree = make(("/target", text("old")), ("/link", link("target")))
    tree.put("/link", text("new"))
    assert tree.read("/target") == b"old"
    assert tree.read("/link") == b"new"


def test_a_directory_put_on_a_directory_keeps_its_content() -> None:
    tree = make(("/etc/passwd", text("x")), ("/etc", folder(0o700)))
    assert tree.require("/etc").mode == 0o700
    assert tree.read("/etc/passwd") == b"x"


def test_a_directory_with_content_does_not_become_a_file() -> None:
    tree = make(("/etc/passwd", text("x")))
    with pytest.raises(TreeError, match="/etc is a directory with content and cannot become a symlink"):
        tree.put("/etc", link("/tmp"))
    tree.remove("/etc/passwd")
    tree.put("/etc", link("/tmp"))
    assert tree.require("/etc", follow=False).target == "/tmp"


def test_nothing_can_be_put_below_a_file() -> None:
    tree = make(("/a", text("x")))
    with pytest.raises(TreeError, match="/a/b/c cannot be made: /a is a file"):
        tree.put("/a/b/c", text("y"))
    assert paths(tree) == ["/", "/a"]


def test_the_root_is_and_stays_a_directory() -> None:
    tree = make(("/a", text("x")))
    tree.put("/", folder(0o700))
    assert tree.require("/").mode == 0o700
    with pytest.raises(TreeError, match="root"):
        tree.put("/", text("x"))
    with pytest.raises(TreeError, match="root"):
        tree.remove("/")


@pytest.mark.parametrize("indexed", [False, True])
def test_removing_takes_all_below_and_nothing_beside(indexed: bool) -> None:
    tree = make(("/a/b/c", text("x")), ("/a/b/d/e", text("x")), ("/a/bb", text("x")), ("/a/b-", text("x")))
    if indexed:
        tree.list_children("/a")
    tree.remove("/a/b")
    tree.remove("/a/b")
    tree.remove("/never/was")
    assert paths(tree) == ["/", "/a", "/a/b-", "/a/bb"]
    assert tree.list_children("/a") == ["b-", "bb"]


def test_removing_a_link_leaves_what_it_points_to(merged: Tree) -> None:
    merged.remove("/bin")
    assert "/bin" not in merged
    assert "/usr/bin/sh" in merged


def test_removing_goes_through_links_in_the_way(merged: Tree) -> None:
    merged.remove("/bin/sh")
    assert "/usr/bin/sh" not in merged


def test_many_entries_leave_at_once_if_no_directory_loses_its_way() -> None:
    tree = make(("/a/b/c", text("x")), ("/a/d", text("x")))
    with pytest.raises(TreeError, match="/a/b is not empty"):
        tree.discard(["/a/b"])
    tree.discard(["/a/b", "/a/b/c"])
    assert paths(tree) == ["/", "/a", "/a/d"]


def test_children_are_names_in_order_and_keep_up_with_changes(merged: Tree) -> None:
    assert merged.list_children("/bin") == ["bash", "sh"]
    merged.put("/usr/bin/awk", text("x"))
    merged.put("/usr/bin/awk", text("y"))
    assert merged.list_children("/usr/bin") == ["awk", "bash", "sh"]
    merged.remove("/usr/bin/sh")
    assert merged.list_children("/usr/bin") == ["awk", "bash"]
    assert merged.list_children("/not-there") == []
    assert merged.list_children("/") == ["bin", "etc", "opt", "usr"]


def test_a_walk_goes_in_order_with_parents_first() -> None:
    tree = make(("/b", text("x")), ("/a/z", text("x")), ("/a-b", text("x")), ("/a/é", text("x")), ("/a/B", text("x")))
    assert paths(tree) == ["/", "/a", "/a-b", "/a/B", "/a/z", "/a/é", "/b"]
    assert [path for path, _ in tree.walk("/a")] == ["/a", "/a/B", "/a/z", "/a/é"]
    assert list(tree.walk("/not-there")) == []
    assert [path for path, _ in tree.walk("/b")] == ["/b"]


def test_fields_are_changed_of_the_link_itself(merged: Tree) -> None:
    merged.change("/usr/bin/bash", uid=7)
    assert merged.require("/usr/bin/bash", follow=False).uid == 7
    assert merged.require("/usr/bin/sh").uid == 0
    with pytest.raises(TreeError, match="the image has no /usr/bin/zsh"):
        merged.change("/usr/bin/zsh", uid=7)


def test_what_is_not_there_is_named(merged: Tree) -> None:
    with pytest.raises(TreeError, match="the image has no /usr/bin/zsh") as caught:
        merged.read("/usr/bin/zsh")
    assert caught.value.exit_code == 2
    with pytest.raises(TreeError, match="/usr/bin is no regular file"):
        merged.read("/usr/bin")


def test_a_copy_is_independent(merged: Tree) -> None:
    merged.list_children("/")
    copy = merged.copy()
    assert copy == merged
    copy.put("/new", text("x"))
    copy.remove("/bin")
    assert "/new" not in merged
    assert "/bin" in merged
    assert merged.list_children("/") == ["bin", "etc", "opt", "usr"]
    assert copy != merged


def test_content_is_counted_for_files_only() -> None:
    tree = make(("/a", text("1234")), ("/b", link("a")), ("/c", text(b"56")))
    assert tree.count_bytes() == 6
    assert len(tree) == 4


# --- nodes -----------------------------------------------------------------------------------------


def test_content_in_the_store_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "pack").write_bytes(b"..hello..")
    assert Slice(str(tmp_path / "pack"), 2, 5).read() == b"hello"
    with pytest.raises(OSError, match="shorter"):
        Slice(str(tmp_path / "pack"), 6, 5).read()
    with pytest.raises(FileNotFoundError):
        Slice(str(tmp_path / "gone"), 0, 1).read()


def test_only_files_are_executable_or_privileged() -> None:
    assert text("x", 0o755).is_executable
    assert text("x", 0o001).is_executable
    assert not text("x", 0o644).is_executable
    assert not folder().is_executable
    assert text("x", 0o4755).is_privileged
    assert text("x", 0o2755).is_privileged
    assert not folder(0o2755).is_privileged


# --- digest and serialised form --------------------------------------------------------------------

NODE = Node(
    Kind.FILE,
    0o644,
    1,
    2,
    content=Inline(b"content"),
    mtime=3,
    origin="package:a",
    xattrs=(("security.capability", b"\1\0"),),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": Kind.SYMLINK},
        {"mode": 0o755},
        {"uid": 0},
        {"gid": 0},
        {"content": Inline(b"Content")},
        {"target": "x"},
        {"device": (1, 3)},
        {"mtime": 4},
        {"xattrs": ()},
        {"xattrs": (("security.capability", b"\1\1"),)},
    ],
    ids=str,
)
def test_the_digest_changes_with_everything_that_an_image_records(changes: dict[str, object]) -> None:
    assert make(("/a", NODE)).compute_digest() != make(("/a", NODE.copy_with(**changes))).compute_digest()


def test_the_digest_changes_with_the_path() -> None:
    assert make(("/a", NODE)).compute_digest() != make(("/b", NODE)).compute_digest()


def test_the_digest_does_not_change_with_where_content_is_or_came_from(tmp_path: Path) -> None:
    (tmp_path / "pack").write_bytes(b"--content--")
    stored = NODE.copy_with(content=Slice(str(tmp_path / "pack"), 2, 7), origin="overlay:b")
    one, other = Tree(), Tree()
    one.put("/a", NODE)
    one.put("/b", text("x"))
    other.put("/b", text("x"))
    other.put("/a", stored)
    assert one.compute_digest() == other.compute_digest()


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0") | st.integers(0xDC80, 0xDCFF).map(chr),
    min_size=1,
    max_size=8,
).filter(lambda name: name not in (".", ".."))
contents = st.binary(max_size=20).map(Inline) | st.builds(
    Slice, names, st.integers(0, 1 << 40), st.integers(0, 1 << 40)
)
nodes = st.builds(
    Node,
    st.sampled_from(Kind),
    st.integers(0, 0o7777),
    st.integers(0, 1 << 31),
    st.integers(0, 1 << 31),
    contents,
    names,
    st.tuples(st.integers(0, 4095), st.integers(0, 1 << 20)),
    st.integers(0, 1 << 33),
    names,
    st.lists(st.tuples(names, st.binary(max_size=8)), max_size=2).map(tuple),
)


@given(st.dictionaries(names.map(lambda name: f"/{name}"), nodes, max_size=5))
@settings(deadline=None, max_examples=60)
def test_a_tree_is_the_same_after_writing_and_reading_it(entries: dict[str, Node]) -> None:
    tree = Tree({"/": folder(), **entries})
    again = Tree.decode(tree.encode())
    assert again == tree
    assert [path for path, _ in again.walk()] == [path for path, _ in tree.walk()]


def test_what_is_no_tree_is_not_read_as_one() -> None:
    for data in (b"", b"{", b'[["/", "f"]]', b'[["/", "?", 0, 0, 0, null, "", [0, 0], 0, "", []]]'):
        with pytest.raises(ValueError, match=r"Expecting|unpack|valid Kind"):
            Tree.decode(data)


def test_empty_content_needs_no_room_when_written() -> None:
    assert b"null" in make(("/a", replace(NODE, content=EMPTY))).encode()


# --- all together ----------------------------------------------------------------------------------

few = st.sampled_from(["a", "b", "c"])
some_paths = st.lists(few, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
targets = st.lists(few | st.just(".."), min_size=1, max_size=3).map("/".join) | some_paths
steps = st.lists(
    st.tuples(st.just("put"), some_paths, st.builds(link, targets) | st.just(folder()) | st.just(text("x")))
    | st.tuples(st.just("remove"), some_paths, st.none())
    | st.tuples(st.just("list_children"), some_paths, st.none()),
    max_size=12,
)


@given(steps)
@settings(deadline=None, max_examples=150)
def test_whatever_is_done_the_tree_stays_a_tree(todo: list[tuple[str, str, Node | None]]) -> None:
    tree = Tree()
    for what, path, node in todo:
        try:
            if what == "put":
                assert node is not None
                assert tree.require(tree.put(path, node), follow=False) == node
            else:
                getattr(tree, what)(path)
        except TreeError:
            continue
    entries = dict(tree.walk())
    for path in entries:
        assert normalise_path(path) == path
        assert entries[get_parent(path)].kind is Kind.DIRECTORY
    below = {path: [p.rpartition("/")[2] for p in entries if p != "/" and get_parent(p) == path] for path in entries}
    for path, node in entries.items():
        if node.kind is Kind.DIRECTORY:
            assert tree.list_children(path) == sorted(below[path])

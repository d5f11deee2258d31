"""Layers of container images: whiteouts by the image-spec, and hostile input refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.tree.layer import MAX_ENTRIES, read_layer
from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tar import make_headers, make_pax_record, make_ustar_header, seal
from builder.tree.tree import Tree, TreeError
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit

Layer = Callable[..., Path]


def member(name: str, data: bytes = b"", kind: bytes = b"0", **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b"".join(make_pax_record(*record) for record in records)
    return make_ustar_header(b"PaxHeaders/x", kind, 0o644, 0, 0, len(body), 0) + body + bytes(-len(body) % 512)


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    def make(*members: bytes) -> Path:
        path = tmp_path / f"layer{len(list(tmp_path.iterdir()))}.tar"
        path.write_bytes(b"".join(members) + bytes(1024))
        return path

    return make


@pytest.fixture
def lower() -> Tree:
    tree = Tree()
    for path in ("/etc/a", "/etc/b", "/usr/lib/x", "/usr/lib/deep/y", "/var/keep"):
        tree.put(path, make_file(path, origin="lower"))
    tree.put("/lib", make_symlink("usr/lib", origin="lower"))
    return tree


def paths(tree: Tree) -> set[str]:
    return {path for path, node in tree.walk() if node.kind is not Kind.DIRECTORY}


def test_whiteout_removes_a_file_of_the_lower_layers(layer: Layer, lower: Tree) -> None:
    result = read_layer(lower, layer(member("etc/.wh.a")), origin="c")
    assert paths(result) == paths(lower) - {"/etc/a"}
    assert "/etc/a" in lower  # the value handed in is left alone


def test_whiteout_removes_a_directory_with_all_below(layer: Layer, lower: Tree) -> None:
    result = read_layer(lower, layer(member("usr/.wh.lib")), origin="c")
    assert "/usr/lib" not in result
    assert "/usr" in result


def test_whiteout_works_through_a_link_of_the_lower_layers(layer: Layer, lower: Tree) -> None:
    assert "/usr/lib/x" not in read_layer(lower, layer(member("lib/.wh.x")), origin="c")


@pytest.mark.parametrize("first", [True, False])
def test_opaque_whiteout_hides_the_lower_layers_but_not_its_own(layer: Layer, lower: Tree, first: bool) -> None:
    parts = [member("usr/lib/.wh..wh..opq"), member("usr/lib/new", b"n")]
    result = read_layer(lower, layer(*(parts if first else reversed(parts))), origin="c")
    assert result.list_children("/usr/lib") == ["new"]


@pytest.mark.parametrize("first", [True, False])
def test_whiteout_never_hides_what_its_own_layer_brings(layer: Layer, lower: Tree, first: bool) -> None:
    parts = [member("etc/.wh.a"), member("etc/a", b"new")]
    result = read_layer(lower, layer(*(parts if first else reversed(parts))), origin="c")
    assert result.read("/etc/a") == b"new"


def test_whiteout_of_what_is_not_there_is_no_error(layer: Layer, lower: Tree) -> None:
    assert read_layer(lower, layer(member("nowhere/.wh.x")), origin="c").compute_digest() == lower.compute_digest()


def test_file_replaces_a_directory_of_the_lower_layers(layer: Layer, lower: Tree) -> None:
    result = read_layer(lower, layer(member("usr/lib", b"now a file")), origin="c")
    assert result.read("/usr/lib") == b"now a file"
    assert "/usr/lib/x" not in result


def test_directory_in_place_of_a_link_is_not_what_the_link_led_to(layer: Layer) -> None:
    lower = Tree()
    lower.put("/a/kept/x", make_file("x", origin="lower"))
    lower.put("/a/whole", make_file("w", origin="lower"))
    lower.put("/b", make_symlink("a", origin="lower"))
    lower.put("/circle", make_symlink("circle", origin="lower"))
    directory = member("b/", kind=b"5", mode=0o755)
    for below in (
        member("b/kept", b"file"),
        member("b/.wh..wh..opq"),
        member("b/.wh.whole"),
        member("b/deeper/", kind=b"5", mode=0o755) + member("b/deeper/.wh..wh..opq"),
    ):
        for before in (b"", member(".wh.b")):
            result = read_layer(lower, layer(before + directory + below), origin="c")
            assert result.read("/a/kept/x") == b"x"
            assert result.read("/a/whole") == b"w"
            assert result.require("/b", follow=False).kind is Kind.DIRECTORY
    circle = member("circle/", kind=b"5", mode=0o755) + member("circle/x", b"1")
    assert read_layer(lower, layer(circle), origin="c").read("/circle/x") == b"1"
    # The same link again is no other directory.
    again = member("b", kind=b"2", linkname="a") + member("b/kept", b"file") + member("b/.wh.whole")
    result = read_layer(lower, layer(again), origin="c")
    assert result.read("/a/kept") == b"file"
    assert "/a/whole" not in result


def test_directory_on_a_directory_changes_its_mode_and_keeps_its_content(layer: Layer, lower: Tree) -> None:
    result = read_layer(lower, layer(member("etc/", kind=b"5", mode=0o700)), origin="c")
    assert result.require("/etc").mode == 0o700
    assert "/etc/a" in result


def test_hard_link_reaches_into_lower_layers(layer: Layer, lower: Tree) -> None:
    result = read_layer(lower, layer(member("etc/again", kind=b"1", linkname="etc/b")), origin="c")
    assert result.read("/etc/again") == b"/etc/b"


@pytest.mark.parametrize("first", [True, False])
def test_hard_link_keeps_a_file_that_its_own_layer_hides(layer: Layer, lower: Tree, first: bool) -> None:
    parts = [member("etc/.wh.b"), member("etc/renamed", kind=b"1", linkname="etc/b")]
    result = read_layer(lower, layer(*(parts if first else reversed(parts))), origin="c")
    assert result.read("/etc/renamed") == b"/etc/b"
    assert "/etc/b" not in result


def test_attributes_and_file_capabilities_are_kept(layer: Layer) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    records = pax((b"SCHILY.xattr.security.capability", capability), (b"SCHILY.xattr.user.note", b"\0\n="))
    node = read_layer(Tree(), layer(records + member("ping", b"x")), origin="c").require("/ping")
    assert node.xattrs == (("security.capability", capability), ("user.note", b"\0\n="))


def test_records_that_say_nothing_about_the_file_are_passed_over(layer: Layer) -> None:
    records = pax(
        (b"LIBARCHIVE.xattr.user.note", b"eA=="), (b"RHT.security.selinux", b"x"), (b"SCHILY.acl.access", b"y")
    )
    node = read_layer(Tree(), layer(records + member("a", b"x")), origin="c").require("/a")
    assert node.xattrs == ()


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(10240)])
def test_archive_may_end_in_any_number_of_zeros(tmp_path: Path, end: bytes) -> None:
    pack = tmp_path / "layer.tar"
    pack.write_bytes(member("a", b"1") + end)
    assert read_layer(Tree(), pack, origin="c").read("/a") == b"1"


@pytest.mark.parametrize("data", [b"", bytes(512), bytes(1024)])
def test_empty_layer_changes_nothing(tmp_path: Path, lower: Tree, data: bytes) -> None:
    pack = tmp_path / "layer.tar"
    pack.write_bytes(data)
    assert read_layer(lower, pack, origin="c") == lower


def test_gnu_long_names_and_base_256_numbers_are_read(layer: Layer) -> None:
    name = "long/" + "n" * 200
    result = read_layer(Tree(), layer(member(name, b"x", uid=2**21, gid=2**32 - 2)), origin="c")
    assert result.read(f"/{name}") == b"x"
    assert (result.require(f"/{name}").uid, result.require(f"/{name}").gid) == (2**21, 2**32 - 2)


def test_content_is_a_slice_of_the_layer(layer: Layer) -> None:
    pack = layer(member("a", b"abc"))
    content = read_layer(Tree(), pack, origin="c").require("/a").content
    assert (content.path, content.offset, content.size) == (str(pack), 512, 3)  # type: ignore[union-attr]


def test_absolute_names_lie_below_the_root(layer: Layer) -> None:
    assert read_layer(Tree(), layer(member("/etc//./x", b"1")), origin="c").read("/etc/x") == b"1"


HOSTILE = {
    "climbs out": member("../etc/passwd", b"x"),
    "climbs out in the middle": member("usr/../../x", b"x"),
    "link named .": member(".", kind=b"2", linkname="/"),
    "link named /": member("/", kind=b"2", linkname="/etc"),
    "file named ./": member("./.", b"x"),
    "hard link to above": member("x", kind=b"1", linkname="../../etc/shadow"),
    "hard link to the root": member("x", kind=b"1", linkname="/"),
    "hard link to a directory": member("d/", kind=b"5") + member("x", kind=b"1", linkname="d"),
    "hard link to nothing": member("x", kind=b"1", linkname="nowhere"),
    "hard link to itself": member("x", b"x") + member("x", kind=b"1", linkname="./x"),
    "symbolic link to nothing": member("x", kind=b"2"),
    "no name": member(""),
    "name with 256 bytes": member("n" * 256),
    "path with 5000 bytes": member("n/" * 2500),
    "owner 2^32": member("x", uid=2**32),
    "owner 2^32 - 1": member("x", gid=2**32 - 1),
    "owner in PAX 2^64": pax((b"uid", b"18446744073709551616")) + member("x"),
    "negative owner": member("x", uid=-1),
    "size beyond the end": member("x", size=10**9),
    "size in PAX beyond the end": pax((b"size", b"99999999")) + member("x"),
    "size in PAX not a number": pax((b"size", b"-1")) + member("x"),
    "directory with content": member("x/", b"data", kind=b"5"),
    "link with content": member("x", b"data", kind=b"2", linkname="y"),
    "whiteout of ..": member("etc/.wh..."),
    "whiteout of .": member("etc/.wh.."),
    "whiteout of nothing": member("etc/.wh."),
    "AUFS file": member("etc/.wh..wh.plnk"),
    "whiteout directory": member(".wh.etc/", kind=b"5"),
    "below a whiteout": member(".wh.etc/x", b"x"),
    "overlayfs whiteout": member("etc/passwd", kind=b"3", devmajor=0, devminor=0),
    "overlayfs attribute": pax((b"SCHILY.xattr.trusted.overlay.opaque", b"y")) + member("x"),
    "unknown type": member("x", kind=b"Z"),
    "global header with a path": pax((b"path", b"etc/passwd"), kind=b"g") + member("x"),
    "extended header at the end": pax((b"path", b"x")),
    "PAX record without end": make_ustar_header(b"x", b"x", 0o644, 0, 0, 8, 0) + b"99 a=bcd" + bytes(504) + member("x"),
    "PAX record of no length": make_ustar_header(b"x", b"x", 0o644, 0, 0, 8, 0)
    + b"0 a=bcd\n"
    + bytes(504)
    + member("x"),
    "PAX header of 2 MiB": make_ustar_header(b"x", b"x", 0o644, 0, 0, 2 << 20, 0) + bytes(2 << 20) + member("x"),
    "PAX path with NUL": pax((b"path", b"a\0b")) + member("x"),
    "file below a file": member("x", b"x") + member("x/y", b"y"),
    "file on its own directory": member("d/x", b"x") + member("d", b"y"),
    "links in a circle": member("a", kind=b"2", linkname="b")
    + member("b", kind=b"2", linkname="a")
    + member("a/x", b"x"),
    "device that cannot exist": member("x", kind=b"4", devmajor=2**20, devminor=1),
    "damaged checksum": member("x")[:148] + b"0000000\0" + member("x")[156:],
    "damaged number": seal(member("x")[:100] + b"99999999" + member("x")[108:148] + b" " * 8 + member("x")[156:]),
    "cut short": member("x", b"x" * 600)[:1000],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_layer_is_refused_with_a_sentence(tmp_path: Path, lower: Tree, name: str) -> None:
    pack = tmp_path / "layer.tar"
    pack.write_bytes(HOSTILE[name] + (b"" if name == "cut short" else bytes(1024)))
    before = lower.compute_digest()
    with pytest.raises(TreeError):
        read_layer(lower, pack, origin="container:web")
    assert lower.compute_digest() == before


def test_message_names_the_container_and_the_member(layer: Layer) -> None:
    with pytest.raises(TreeError, match=r"container:web: layer member 2 '\.\./x': leaves the image"):
        read_layer(Tree(), layer(member("a"), member("../x")), origin="container:web")


def test_links_that_point_out_of_the_image_stay_inside_it(layer: Layer) -> None:
    pack = layer(member("out", kind=b"2", linkname="/../../../etc"), member("out/passwd", b"x"))
    result = read_layer(Tree(), pack, origin="c")
    assert result.read("/etc/passwd") == b"x"


def test_entries_that_only_their_paths_imply_count_too(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.tree.layer.MAX_ENTRIES", 50)
    assert MAX_ENTRIES > 50
    with pytest.raises(TreeError, match="more than 50 entries"):
        read_layer(Tree(), layer(*(member(f"{n}/" + "d/" * 20 + "x", b"") for n in range(5))), origin="c")


PIECES = [
    *HOSTILE.values(),
    member("etc/a", b"new"),
    make_headers(b"x", b"0", Node(Kind.FILE, xattrs=(("user.a", b"b"),)), 0),
    make_headers(b"d/", b"5", make_directory(origin="c"), 2**40),
]


@examples(300)
@given(
    pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=3),
    flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8),
    reseal=st.booleans(),
)
def test_any_bytes_give_a_tree_or_a_tree_error(
    tmp_path: Path, pieces: list[bytes], flips: list[tuple[int, int]], reseal: bool
) -> None:
    data = bytearray(b"".join(pieces)[:10_000] + bytes(1024))
    for position, value in flips:
        data[position % len(data)] = value
    if reseal:  # so that the damage gets past the checksum
        for start in range(0, len(data) - 511, 512):
            if data[start + 257 : start + 262] == b"ustar":
                head = bytes(data[start : start + 148]) + b" " * 8 + bytes(data[start + 156 : start + 512])
                data[start : start + 512] = seal(head)
    pack = tmp_path / "fuzz.tar"
    pack.write_bytes(data)
    try:
        tree = read_layer(Tree(), pack, origin="c")
    except TreeError:
        return
    assert tree.require("/").kind is Kind.DIRECTORY


def test_numbers_in_the_archive_module_agree_with_ours() -> None:
    head = make_ustar_header(b"a", b"0", 0o644, 1, 2, 3, 4)
    info = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
    assert (info.name, info.mode, info.uid, info.gid, info.size, info.mtime) == ("a", 0o644, 1, 2, 3, 4)
    with tarfile.open(fileobj=io.BytesIO(head + b"abc" + bytes(509 + 1024))) as archive:
        assert archive.getnames() == ["a"]

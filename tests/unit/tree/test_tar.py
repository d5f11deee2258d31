"""Trees become tar streams that others can read, the same bytes every time."""

from __future__ import annotations

import io
import locale
import tarfile
from pathlib import Path

import pytest

from builder.tree.layer import read_layer
from builder.tree.node import Inline, Kind, Node, Slice, make_directory, make_file, make_symlink
from builder.tree.tar import make_pax_record, write_tar
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit


def tar_of(tree: Tree, **options: int) -> bytes:
    out = io.BytesIO()
    assert write_tar(tree, out, **options) == len(out.getvalue())
    return out.getvalue()


def listed(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


@pytest.fixture
def rich(tmp_path: Path) -> Tree:
    """One of everything, with names and numbers that ustar cannot hold."""
    pack = tmp_path / "pack.tar"
    pack.write_bytes(b"junk" + b"shared content" + bytes(3000))
    tree = Tree()
    tree.put("/", make_directory(0o750, origin="t", uid=7, gid=8))
    tree.put("/etc/passwd", make_file("root:x:0:0\n", origin="t"))
    tree.put("/etc/empty", make_file("", 0o600, origin="t"))
    tree.put("/bin", make_symlink("usr/bin", origin="t"))
    tree.put("/usr/bin/su", Node(Kind.FILE, 0o4755, content=Slice(str(pack), 4, 14), mtime=99, origin="t"))
    tree.put("/usr/bin/also-su", Node(Kind.FILE, 0o4755, content=Slice(str(pack), 4, 14), mtime=99, origin="t"))
    tree.put("/usr/bin/no-su", Node(Kind.FILE, 0o755, content=Slice(str(pack), 4, 14), mtime=99, origin="t"))
    tree.put("/dev/null", Node(Kind.CHARACTER, 0o666, device=(1, 3), origin="t"))
    tree.put("/dev/vda", Node(Kind.BLOCK, 0o660, gid=6, device=(254, 0), origin="t"))
    tree.put("/run/pipe", Node(Kind.FIFO, 0o600, origin="t"))
    tree.put(
        "/usr/bin/ping",
        Node(
            Kind.FILE,
            content=Slice(str(pack), 18, 3000),
            xattrs=(("security.capability", b"\1\0\0\2\0 \n=\0"), ("user.note", b"\xff")),
            origin="t",
        ),
    )
    tree.put("/big", make_file("x", origin="t", uid=2_097_152, gid=2**32 - 2))
    tree.put("/" + "/".join(["d" * 50] * 4), make_directory(origin="t"))  # fits prefix + name
    tree.put("/" + "n" * 255, make_symlink("t" * 300, origin="t"))
    tree.put("/naïve/\udcff\udc80", make_file("not UTF-8", origin="t"))
    tree.put("/old", Node(Kind.FILE, 0o644, content=Inline(b"1969"), mtime=-5, origin="t"))
    return tree


def test_standard_library_reads_back_every_attribute(rich: Tree) -> None:
    found = listed(tar_of(rich))
    assert set(found) == {path[1:] or "." for path, _ in rich.walk()}
    assert (found["."].mode, found["."].uid, found["."].gid) == (0o750, 7, 8)
    assert found["bin"].issym()
    assert found["bin"].linkname == "usr/bin"
    assert found["n" * 255].linkname == "t" * 300
    assert (found["dev/null"].type, found["dev/null"].devmajor, found["dev/null"].devminor) == (b"3", 1, 3)
    assert (found["dev/vda"].type, found["dev/vda"].devmajor) == (b"4", 254)
    assert found["run/pipe"].isfifo()
    assert (found["big"].uid, found["big"].gid) == (2_097_152, 2**32 - 2)
    assert found["old"].mtime == -5
    assert found["usr/bin/ping"].pax_headers["SCHILY.xattr.user.note"] == "\udcff"


def test_standard_library_reads_back_the_content(rich: Tree) -> None:
    data = tar_of(rich)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for path, node in rich.walk():
            if node.kind is Kind.FILE:
                member = archive.extractfile(path[1:])
                assert member is not None
                assert member.read() == node.content.read(), path


def test_equal_slices_with_equal_attributes_are_hard_links(rich: Tree) -> None:
    found = listed(tar_of(rich))
    assert found["usr/bin/su"].islnk()
    assert found["usr/bin/su"].linkname == "usr/bin/also-su"  # the first in order holds the content
    assert found["usr/bin/no-su"].isreg()  # another mode, so it cannot be the same inode


def test_pax_headers_appear_only_where_ustar_cannot_say_it(rich: Tree) -> None:
    plain = {name for name, member in listed(tar_of(rich)).items() if not member.pax_headers}
    needing = {path[1:] or "." for path, _ in rich.walk()} - plain
    assert needing == {"usr/bin/ping", "big", "n" * 255, "old"}


def test_times_are_clamped_but_never_raised(rich: Tree) -> None:
    found = listed(tar_of(rich, latest=50))
    assert found["usr/bin/su"].mtime == 50
    assert found["etc/passwd"].mtime == 0
    assert found["old"].mtime == -5


def test_same_tree_gives_the_same_bytes_whatever_the_order_and_locale(
    rich: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tar_of(rich)
    backwards = Tree(dict(reversed(list(rich.walk()))))
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "latin-1")
    assert tar_of(backwards) == before
    assert locale.getlocale() is not None


def test_reading_what_was_written_gives_the_same_tree(rich: Tree, tmp_path: Path) -> None:
    pack = tmp_path / "layer.tar"
    pack.write_bytes(tar_of(rich))
    back = read_layer(Tree(), pack, origin="t")
    assert back.compute_digest() == rich.compute_digest()


def test_what_was_read_and_written_again_is_the_same_bytes(rich: Tree, tmp_path: Path) -> None:
    pack = tmp_path / "layer.tar"
    pack.write_bytes(tar_of(rich))
    assert tar_of(read_layer(Tree(), pack, origin="t")) == pack.read_bytes()


def test_missing_content_is_an_error_not_a_short_archive(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.write_bytes(b"12345")
    tree = Tree()
    tree.put("/f", Node(Kind.FILE, content=Slice(str(pack), 3, 10)))
    with pytest.raises(OSError, match="shorter than its index says"):
        tar_of(tree)


@pytest.mark.parametrize("length", [*range(80, 110), *range(985, 1005)])
def test_length_of_a_pax_record_counts_its_own_digits(length: int) -> None:
    record = make_pax_record(b"k", b"v" * length)
    assert int(record.split(b" ")[0]) == len(record)


def test_many_packs_do_not_exhaust_the_open_files(tmp_path: Path) -> None:
    tree = Tree()
    for number in range(450):
        pack = tmp_path / f"pack{number}"
        pack.write_bytes(b"%d" % number)
        tree.put(f"/{number}", Node(Kind.FILE, content=Slice(str(pack), 0, len(pack.read_bytes()))))
    data = tar_of(tree)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile("449")
        assert member is not None
        assert member.read() == b"449"

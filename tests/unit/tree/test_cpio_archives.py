"""The initramfs archive, read back as the kernel reads it (Documentation/driver-api/early-userspace/buffer-format)."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass

import pytest

from builder.tree.cpio import write_cpio
from builder.tree.node import Inline, Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Entry:
    """One header with its data."""

    inode: int
    mode: int
    uid: int
    gid: int
    links: int
    mtime: int
    device: tuple[int, int]
    data: bytes


def read(archive: bytes) -> dict[bytes, Entry]:
    """Every entry up to the trailer, in order."""
    found: dict[bytes, Entry] = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert archive[at : at + 6] == b"070701"
        f = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        inode, mode, uid, gid, links, mtime, size, *disk, major, minor, length, check = f
        assert (check, disk) == (0, [0, 0])
        name = archive[at + 110 : at + 110 + length]
        assert name.endswith(b"\0")
        begin = (at + 110 + length + 3) // 4 * 4
        if name == b"TRAILER!!!\0":
            assert begin + size == len(archive)
            return found
        assert name[:-1] not in found
        found[name[:-1]] = Entry(inode, mode, uid, gid, links, mtime, (major, minor), archive[begin : begin + size])
        at = (begin + size + 3) // 4 * 4


def archive_of(tree: Tree) -> bytes:
    out = io.BytesIO()
    write_cpio(tree, out)
    return out.getvalue()


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    tree.put("/usr/bin/a", Node(Kind.FILE, 0o4755, 1, 2, content=Inline(b"12345"), mtime=99, origin="x"))
    tree.put("/bin", make_symlink("usr/bin", origin="x"))
    tree.put("/dev/null", Node(Kind.CHARACTER, 0o666, device=(1, 3)))
    tree.put("/dev/sda", Node(Kind.BLOCK, 0o660, gid=6, device=(8, 0)))
    tree.put("/run/pipe", Node(Kind.FIFO, 0o600))
    tree.put("/tmp", make_directory(0o1777, origin="x"))
    tree.put("/empty", make_file("", origin="x"))
    return tree


def test_everything_in_the_tree_is_in_the_archive(tree: Tree) -> None:
    entries = read(archive_of(tree))
    assert [(name, stat.filemode(e.mode), e.uid, e.gid, e.device, e.data) for name, e in entries.items()] == [
        (b"bin", "lrwxrwxrwx", 0, 0, (0, 0), b"usr/bin"),
        (b"dev", "drwxr-xr-x", 0, 0, (0, 0), b""),
        (b"dev/null", "crw-rw-rw-", 0, 0, (1, 3), b""),
        (b"dev/sda", "brw-rw----", 0, 6, (8, 0), b""),
        (b"empty", "-rw-r--r--", 0, 0, (0, 0), b""),
        (b"run", "drwxr-xr-x", 0, 0, (0, 0), b""),
        (b"run/pipe", "prw-------", 0, 0, (0, 0), b""),
        (b"tmp", "drwxrwxrwt", 0, 0, (0, 0), b""),
        (b"usr", "drwxr-xr-x", 0, 0, (0, 0), b""),
        (b"usr/bin", "drwxr-xr-x", 0, 0, (0, 0), b""),
        (b"usr/bin/a", "-rwsr-xr-x", 1, 2, (0, 0), b"12345"),
    ]
    assert {entry.mtime for entry in entries.values()} == {0}


def test_no_two_entries_look_like_one_file(tree: Tree) -> None:
    entries = read(archive_of(tree)).values()
    assert len({entry.inode for entry in entries}) == len(entries)
    assert all(entry.links == (2 if stat.S_ISDIR(entry.mode) else 1) for entry in entries)


def test_the_bytes_depend_on_the_tree_alone(tree: Tree) -> None:
    other = Tree()
    for path, node in reversed(list(tree.walk())):
        other.put(path, node.copy_with(mtime=node.mtime + 1, origin="elsewhere"))
    assert archive_of(other) == archive_of(tree)
    other.put("/empty", make_file("x", origin="x"))
    assert archive_of(other) != archive_of(tree)


def test_names_and_targets_that_are_not_utf8_are_written_as_they_are() -> None:
    tree = Tree()
    tree.put("/caf\udce9", make_file("x", origin="x"))
    tree.put("/é", make_symlink("caf\udce9", origin="x"))
    entries = read(archive_of(tree))
    assert entries[b"caf\xe9"].data == b"x"
    assert entries["é".encode()].data == b"caf\xe9"

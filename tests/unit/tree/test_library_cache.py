"""What the dynamic loader's cache says of a tree. Whether it is ldconfig's byte for byte, image tests ask ldconfig."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.tree.library_cache import find_generator, make_cache
from builder.tree.node import make_file, make_symlink
from builder.tree.shared_objects import Library, find_libraries, read_soname
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

ARM, PC = 183, 62
TRIPLET = "aarch64-linux-gnu"


def shared_object(soname: str | None, machine: int = ARM, kind: int = 3) -> bytes:
    """An ELF file with one segment that holds all of it, and a dynamic section (System V ABI, chapters 4 and 5)."""
    strings = b"\0" + (soname or "").encode() + b"\0"
    start = 64 + 2 * 56
    dynamic_at = start + len(strings)
    # The addresses are not the offsets, as in real files.
    tags = [(5, start + 0x10000), *([(14, 1)] if soname is not None else []), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    size = dynamic_at + len(dynamic)
    header = (
        b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x10000, 0, size, size, 8)
    where = struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, 0x10000 + dynamic_at, 0, len(dynamic), len(dynamic), 8)
    return header + load + where + strings + dynamic


def tree_with(files: dict[str, bytes | str]) -> Tree:
    tree = Tree()
    tree.put("/lib", make_symlink("usr/lib", origin="x"))
    for path, content in files.items():
        is_link = isinstance(content, str) and not path.startswith("/etc")
        tree.put(path, make_symlink(str(content), origin="x") if is_link else make_file(content, origin="x"))
    return tree


def found(files: dict[str, bytes | str]) -> list[tuple[str, str]]:
    return [(each.soname, each.path) for each in find_libraries(tree_with(files), ARM, TRIPLET)]


def test_libraries_are_known_by_their_own_name() -> None:
    where = f"/usr/lib/{TRIPLET}"
    assert found(
        {
            f"{where}/libz.so.1.3": shared_object("libz.so.1"),
            f"{where}/libz.so.1": "libz.so.1.3",
            f"{where}/libplain.so": shared_object(None),
            f"{where}/libdev.so.2": shared_object("libdev.so.2"),
            f"{where}/libdev.so": "libdev.so.2",
            f"{where}/ld-linux-aarch64.so.1": shared_object("ld-linux-aarch64.so.1"),
        }
    ) == [
        (name, f"/lib/{TRIPLET}/{name}")
        for name in ("ld-linux-aarch64.so.1", "libdev.so", "libdev.so.2", "libplain.so", "libz.so.1")
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("libforeign.so.1", shared_object("libforeign.so.1", PC)),
        ("libprogram.so", shared_object("libprogram.so", kind=2)),
        ("libscript.so", b"GROUP ( /lib/libc.so.6 )"),
        ("libx.so.1-gdb.py", shared_object("libx.so.1")),
        ("libx.so.1.dpkg-new", shared_object("libx.so.1")),
        ("data.bin", shared_object("libx.so.1")),
        ("libgone.so", "nowhere"),
    ],
)
def test_what_the_loader_could_not_load_is_left_out(name: str, data: bytes | str) -> None:
    assert found({f"/usr/lib/{TRIPLET}/{name}": data}) == []


def test_configured_directories_come_first_and_each_is_read_once() -> None:
    assert found(
        {
            "/etc/ld.so.conf": "# ours\ninclude ld.so.conf.d/*.conf\n/usr/lib/own # and this\n",
            "/etc/ld.so.conf.d/b.conf": f"/lib/{TRIPLET}\n/usr/lib/{TRIPLET}\n/not/there\n",
            "/etc/ld.so.conf.d/a.conf": "/usr/lib/first\n",
            "/etc/ld.so.conf.d/a.conf.dpkg-old": "/usr/lib/old\n",
            "/usr/lib/first/libx.so.1": shared_object("libx.so.1"),
            "/usr/lib/old/libx.so.1": shared_object("libx.so.1"),
            "/usr/lib/own/libx.so.1": shared_object("libx.so.1"),
            f"/usr/lib/{TRIPLET}/libx.so.1": shared_object("libx.so.1"),
        }
    ) == [("libx.so.1", f"{path}/libx.so.1") for path in ("/usr/lib/first", f"/lib/{TRIPLET}", "/usr/lib/own")]


def test_a_library_behind_an_alternative_is_found() -> None:
    files = {
        f"/usr/lib/{TRIPLET}/libblas.so.3": "/usr/share/blas",
        "/usr/share/blas": "../lib/blas/libblas.so.3",
        "/usr/lib/blas/libblas.so.3": shared_object("libblas.so.3"),
    }
    assert found(files) == [("libblas.so.3", f"/lib/{TRIPLET}/libblas.so.3")]


def entries(cache: bytes) -> list[tuple[int, str, str]]:
    """Read back, by glibc's ``dl-cache.h``."""
    magic, count, _, endian = struct.unpack_from("<20sIIB", cache)
    assert (magic, endian) == (b"glibc-ld.so.cache1.1", 2)

    def text(at: int) -> str:
        return cache[at : cache.index(b"\0", at)].decode()

    rows = [struct.unpack_from("<iII", cache, 48 + 24 * number) for number in range(count)]
    return [(flags, text(name), text(path)) for flags, name, path in rows]


def test_the_cache_is_ordered_as_the_loader_searches_it() -> None:
    names = ["libz.so.1", "libz.so.10", "libz.so.9", "liba.so", "libz.so", "liba-2.so"]
    libraries = [Library(name, f"/lib/{name}") for name in names] + [Library("libz.so.9", "/usr/lib/libz.so.9")]
    rows = entries(make_cache(libraries, 0xA03, b""))
    # Numbers by value, letters after punctuation, the first directory first.
    assert [name for _, name, _ in rows] == [
        "libz.so.10", "libz.so.9", "libz.so.9", "libz.so.1", "libz.so", "liba.so", "liba-2.so",
    ]  # fmt: skip
    assert [path for _, name, path in rows if name == "libz.so.9"] == ["/lib/libz.so.9", "/usr/lib/libz.so.9"]
    assert {flags for flags, _, _ in rows} == {0xA03}


def test_a_name_is_stored_as_the_end_of_its_path() -> None:
    cache = make_cache([Library("libz.so.1", "/lib/libz.so.1")], 0xA03, b"")
    assert cache.count(b"libz.so.1") == 1
    assert entries(cache) == [(0xA03, "libz.so.1", "/lib/libz.so.1")]


def test_the_cache_says_which_ldconfig_it_is_equal_to() -> None:
    said = b"ldconfig (Debian GLIBC 2.41-12) stable release version 2.41"
    assert find_generator(b"\x7fELF..\0" + said + b"\0%s\0") == said
    assert find_generator(b"#!/bin/sh\0ldconfig (x\0") == b""
    cache = make_cache([Library("libz.so.1", "/lib/libz.so.1")], 0xA03, said)
    (extension,) = struct.unpack_from("<I", cache, 32)
    magic, count, tag, _, at, size = struct.unpack_from("<IIIIII", cache, extension)
    assert (extension % 4, magic, count, tag) == (0, 0xEAA42174, 1, 0)
    assert cache[at : at + size] == said


@given(st.binary(max_size=400), st.integers(0, 300))
def test_damaged_libraries_are_passed_over(noise: bytes, at: int) -> None:
    whole = shared_object("libz.so.1")
    damaged = whole[:at] + noise + whole[at + len(noise) :]
    assert read_soname(damaged, ARM) is None or isinstance(read_soname(damaged, ARM), str)
    assert read_soname(whole[:at], ARM) in (None, "libz.so.1")

"""What programs need to start: read from ELF files made here by hand, and found in a tree."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.tree.elf import DLOPEN_NOTE, Needs, find_closure, list_library_directories, read_needs
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree, TreeError
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit

DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 15, 29
SHT_STRTAB, SHT_DYNAMIC, SHT_NOTE = 3, 6, 7
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
BEFORE = 64 + 4 * 56  # the header, and those of four segments


def note(*entries: dict[str, object], kind: int = DLOPEN_NOTE, name: bytes = b"FDO\0") -> bytes:
    """A note as the UAPI group's ELF dlopen metadata has it."""
    data = json.dumps(entries).encode() + b"\0"
    return struct.pack("<III", len(name), len(data), kind) + name + data + bytes(-len(data) % 4)


def elf(
    needed: tuple[str, ...] = (),
    *,
    runpath: str = "",
    rpath: str = "",
    interpreter: str = "",
    notes: bytes = b"",
) -> bytes:
    """A 64-bit little-endian shared object with just these parts (System V ABI, chapters 4 and 5)."""
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    tags = [(DT_NEEDED, string(name)) for name in needed]
    if runpath:
        tags.append((DT_RUNPATH, string(runpath)))
    if rpath:
        tags.append((DT_RPATH, string(rpath)))
    names = b"\0.dynstr\0.dynamic\0.note.dlopen\0.shstrtab\0"
    body = bytearray()

    def place(data: bytes) -> int:
        body.extend(bytes(-len(body) % 8))
        at = BEFORE + len(body)
        body.extend(data)
        return at

    strings_at = place(bytes(strings))
    tags += [(DT_STRTAB, strings_at), (DT_STRSZ, len(strings)), (DT_NULL, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    dynamic_at, notes_at, names_at = place(dynamic), place(notes), place(names)
    interp = interpreter.encode() + b"\0"
    interp_at = place(interp)
    body.extend(bytes(-len(body) % 8))
    sections = [
        (0, 0, 0, 0, 0, 0),
        (1, SHT_STRTAB, strings_at, len(strings), 0, 0),
        (9, SHT_DYNAMIC, dynamic_at, len(dynamic), 1, 16),
        (18, SHT_NOTE, notes_at, len(notes), 0, 0),
        (31, SHT_STRTAB, names_at, len(names), 0, 0),
    ]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 2, at, at, size, link, 0, 8, entry)
        for name, kind, at, size, link, entry in sections
    )
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, BEFORE + len(body), 0, 64, 56, 4, 64, 5, 4)
    end = BEFORE + len(body)
    segments = [
        (PT_LOAD, 0, end),
        (PT_DYNAMIC, dynamic_at, len(dynamic)),
        (PT_INTERP if interpreter else 0, interp_at, len(interp)),
        (PT_NOTE, notes_at, len(notes)),
    ]
    program = b"".join(struct.pack("<IIQQQQQQ", kind, 4, at, at, at, size, size, 1) for kind, at, size in segments)
    return header + program + bytes(body) + table


def test_libraries_paths_and_loader_are_read() -> None:
    data = elf(("libc.so.6", "libm.so.6"), runpath="/usr/lib/x:/usr/lib/y", interpreter="/lib64/ld-linux-x86-64.so.2")
    assert read_needs(data) == Needs(
        ("libc.so.6", "libm.so.6"), (), ("/usr/lib/x", "/usr/lib/y"), "/lib64/ld-linux-x86-64.so.2"
    )
    assert read_needs(elf(rpath="/usr/lib/systemd")).runpath == ("/usr/lib/systemd",)


def test_dlopen_notes_are_read() -> None:
    notes = note(
        {"soname": ["libkmod.so.2"], "feature": "kmod", "description": "modules", "priority": "required"},
        {"soname": ["libbpf.so.1", "libbpf.so.0"]},
    )
    other = note({"soname": ["libno.so"]}, kind=1)
    last = note({"soname": ["libz.so.1"], "priority": "suggested"})
    assert read_needs(elf(notes=notes + other + last)).optional == (
        ("required", ("libkmod.so.2",)),
        ("recommended", ("libbpf.so.1", "libbpf.so.0")),
        ("suggested", ("libz.so.1",)),
    )


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fEL"])
def test_what_is_no_elf_file_needs_nothing(data: bytes) -> None:
    assert read_needs(data) == Needs()


def test_the_interpreter_that_runs_this_test_is_understood() -> None:
    needs = read_needs(Path("/proc/self/exe").read_bytes())
    assert any(name.startswith(("libc.so", "libpython")) for name in needs.needed)
    assert needs.interpreter is not None
    assert Path(needs.interpreter).exists()


@pytest.mark.parametrize("notes", [b"\4\0\0\0\1\0\0\0\x0a\x0c\x7c\x40FDO\0{\0\0\0", note(5), note({"priority": "x"})])
def test_a_damaged_note_is_an_error_that_says_so(notes: bytes) -> None:
    with pytest.raises(TreeError, match="damaged ELF file"):
        read_needs(elf(notes=notes))


SAMPLE = elf(("libc.so.6",), runpath="/x", interpreter="/ld", notes=note({"soname": ["a.so"]}))


@given(
    st.lists(st.tuples(st.integers(4, len(SAMPLE) - 1), st.integers(0, 255)), max_size=12), st.integers(4, len(SAMPLE))
)
@examples(300)
def test_any_damage_is_a_tree_error_or_none(damage: list[tuple[int, int]], length: int) -> None:
    data = bytearray(SAMPLE)
    for place, value in damage:
        data[place] = value
    with contextlib.suppress(TreeError):
        assert isinstance(read_needs(bytes(data[:length])), Needs)


# --- the closure -----------------------------------------------------------------------------------


@pytest.fixture
def tree() -> Tree:
    """A merged /usr with a program, its libraries behind links, and a loader."""
    tree = Tree()

    def put(path: str, data: bytes | str) -> None:
        tree.put(path, make_file(data, 0o755, origin="test"))

    for name in ("lib", "lib64"):
        tree.put(f"/{name}", make_symlink(f"usr/{name}", origin="test"))
    put("/etc/ld.so.conf.d/x86_64-linux-gnu.conf", "# Multiarch support\n/usr/local/lib\n/lib/x86_64-linux-gnu\n")
    put("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", elf())
    tree.put(
        "/usr/lib64/ld-linux-x86-64.so.2", make_symlink("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", origin="test")
    )
    put("/usr/lib/x86_64-linux-gnu/libc.so.6", elf())
    put("/usr/lib/x86_64-linux-gnu/libmount.so.1.1.0", elf(("libc.so.6",), notes=note({"soname": ["libcrypt.so.1"]})))
    tree.put("/usr/lib/x86_64-linux-gnu/libmount.so.1", make_symlink("libmount.so.1.1.0", origin="test"))
    put("/usr/lib/x86_64-linux-gnu/libcrypt.so.1", elf(("libc.so.6",)))
    put("/usr/lib/systemd/libshared.so", elf(("libc.so.6",)))
    put("/usr/bin/mount", elf(("libmount.so.1", "libc.so.6"), interpreter="/lib64/ld-linux-x86-64.so.2"))
    put("/usr/bin/script", "#!/bin/sh\n")
    return tree


def test_the_loader_looks_where_its_configuration_says(tree: Tree) -> None:
    assert list_library_directories(tree) == ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/lib64"]
    assert list_library_directories(Tree()) == ["/usr/lib", "/usr/lib64"]


def test_a_program_brings_its_libraries_their_links_and_the_loader(tree: Tree) -> None:
    assert find_closure(tree, ["/usr/bin/mount"]) == [
        "/usr/bin/mount",
        "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/libmount.so.1",
        "/usr/lib/x86_64-linux-gnu/libmount.so.1.1.0",
        "/usr/lib64/ld-linux-x86-64.so.2",
    ]


def test_a_script_brings_itself(tree: Tree) -> None:
    assert find_closure(tree, ["/usr/bin/script"]) == ["/usr/bin/script"]


def test_libraries_on_demand_come_along_only_if_wanted_and_there(tree: Tree) -> None:
    crypt = "/usr/lib/x86_64-linux-gnu/libcrypt.so.1"
    assert crypt not in find_closure(tree, ["/usr/bin/mount"])
    assert crypt in find_closure(tree, ["/usr/bin/mount"], wanted=["libcrypt.so.1"])
    tree.remove(crypt)
    assert crypt not in find_closure(tree, ["/usr/bin/mount"], wanted=["libcrypt.so.1"])


def test_a_runpath_is_searched_and_holds_for_what_is_loaded_later(tree: Tree) -> None:
    tree.put("/usr/lib/systemd/libcore.so", make_file(elf(("libshared.so",)), origin="test"))
    program = elf(("libcore.so",), runpath="/usr/lib/systemd")
    tree.put("/usr/lib/systemd/systemd", make_file(program, 0o755, origin="test"))
    assert find_closure(tree, ["/usr/lib/systemd/systemd"]) == [
        "/usr/lib/systemd/libcore.so",
        "/usr/lib/systemd/libshared.so",
        "/usr/lib/systemd/systemd",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
    ]


def test_a_missing_library_is_named_with_who_needs_it(tree: Tree) -> None:
    tree.remove("/usr/lib/x86_64-linux-gnu/libc.so.6")
    tree.remove("/usr/lib/x86_64-linux-gnu/libmount.so.1")
    with pytest.raises(TreeError, match=r"^/usr/bin/mount needs libmount\.so\.1, which is not in the image$"):
        find_closure(tree, ["/usr/bin/mount"])


def test_a_missing_program_is_named(tree: Tree) -> None:
    with pytest.raises(TreeError, match="the image has no /usr/bin/umount"):
        find_closure(tree, ["/usr/bin/umount"])


def test_libraries_that_need_each_other_come_to_an_end(tree: Tree) -> None:
    tree.put("/usr/lib/a.so", make_file(elf(("b.so",)), origin="test"))
    tree.put("/usr/lib/b.so", make_file(elf(("a.so",)), origin="test"))
    assert find_closure(tree, ["/usr/lib/a.so"]) == ["/usr/lib/a.so", "/usr/lib/b.so"]

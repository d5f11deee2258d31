"""What programs need to start: read from ELF files made here by hand, and found in a tree."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.tree.elf import (
    Needs,
    find_closure,
    list_library_directories,
    list_unloadable,
    read_needs,
)
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree, TreeError
from tests.support.elf import elf, note
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit


def test_libraries_paths_and_loader_are_read() -> None:
    data = elf(("libc.so.6", "libm.so.6"), runpath="/usr/lib/x:/usr/lib/y", interpreter="/lib64/ld-linux-x86-64.so.2")
    assert read_needs(data) == Needs(
        ("libc.so.6", "libm.so.6"), (), ("/usr/lib/x", "/usr/lib/y"), "/lib64/ld-linux-x86-64.so.2"
    )
    assert read_needs(elf(rpath="/usr/lib/systemd")).runpath == ("/usr/lib/systemd",)


def test_programs_whose_loader_is_not_there_are_told_apart() -> None:
    loader = "/lib64/ld.so.2"
    program = elf(("libc.so.6",), interpreter=loader)
    tree = Tree()
    tree.put("/usr/bin/dynamic", make_file(program, 0o755, origin="t"))
    tree.put("/usr/bin/static", make_file(elf(), 0o755, origin="t"))
    tree.put("/usr/bin/script", make_file(b"#!/bin/sh\n", 0o755, origin="t"))
    tree.put("/usr/bin/data", make_file(program, 0o644, origin="t"))
    tree.put("/usr/bin/cut", make_file(program[:80], 0o755, origin="t"))
    tree.put("/bin", make_symlink("usr/bin", origin="t"))
    where = ("/usr/bin", "/bin", "/usr/local/bin")
    assert list_unloadable(tree, where) == {loader: ["/usr/bin/dynamic"]}
    tree.put("/usr/lib64/ld-2.so", make_file(elf(), 0o755, origin="t"))
    tree.put("/usr/lib64/ld.so.2", make_symlink("ld-2.so", origin="t"))
    assert list_unloadable(tree, where) == {loader: ["/usr/bin/dynamic"]}
    tree.put("/lib64", make_symlink("usr/lib64", origin="t"))
    assert list_unloadable(tree, where) == {}


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

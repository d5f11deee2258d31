"""Which shared libraries a tree has, where ``ldconfig`` would look for them, and by which name programs ask for them.

The rules are those of ``ldconfig(8)`` (glibc, ``elf/ldconfig.c``), so that a tree of any architecture can be looked
through: its own ``ldconfig`` skips what it could not run itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from builder.tree.node import Kind
from builder.tree.tree import Tree

CONFIG = "/etc/ld.so.conf"
# What ldconfig reads after all that is configured: one of these is its architecture's.
LAST = ("/lib", "/usr/lib")
_TEMPORARY = (".dpkg-new", ".dpkg-tmp")
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_STRTAB, _DT_SONAME = 5, 14
_SHARED = 3  # ET_DYN


@dataclass(frozen=True)
class Library:
    """A library as the loader's cache has it: what it is asked for by, and where it then is."""

    soname: str
    path: str


def find_libraries(tree: Tree, elf_machine: int, multiarch: str) -> list[Library]:
    """The libraries of one architecture in the order of the directories, each name once a directory."""
    libraries: list[Library] = []
    seen: set[str] = set()
    for directory in (*_configured(tree, CONFIG), f"/lib/{multiarch}", f"/usr/lib/{multiarch}", *LAST):
        real = tree.resolve(directory)
        node = tree.get(real)
        if real in seen or node is None or node.kind is not Kind.DIRECTORY:
            continue
        seen.add(real)
        names = (
            _name_in_cache(tree, real, name, elf_machine) for name in tree.list_children(real) if _is_library(name)
        )
        libraries += [Library(name, f"{directory}/{name}") for name in sorted({n for n in names if n is not None})]
    return libraries


def read_soname(data: bytes, elf_machine: int) -> str | None:
    """The name a 64-bit little-endian shared object has for itself, empty if it has none.

    Returns:
        ``None`` for everything else, damaged files included: ldconfig passes over them as well.
    """
    try:
        if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", data, 16) != (_SHARED, elf_machine):
            return None
        (offset,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        headers = [struct.unpack_from("<IIQQQQ", data, offset + number * size) for number in range(count)]
        loaded = [(address, start, length) for kind, _, start, address, _, length in headers if kind == _PT_LOAD]
        start, length = next((h[2], h[5]) for h in headers if h[0] == _PT_DYNAMIC)
        tags = dict(struct.unpack_from("<QQ", data, at) for at in range(start, start + length - 15, 16))
        if _DT_SONAME not in tags:
            return ""
        table = next(s + tags[_DT_STRTAB] - a for a, s, n in loaded if a <= tags[_DT_STRTAB] < a + n)
        begin = table + tags[_DT_SONAME]
        return data[begin : data.index(b"\0", begin)].decode()
    except (struct.error, StopIteration, KeyError, ValueError, OverflowError):
        return None


def _configured(tree: Tree, path: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """The directories of a configuration file and of those it includes; not again of one that it is included by."""
    if path in above or tree.get(path, follow=True) is None:
        return
    for line in tree.read_text(path).splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                directory, _, glob = (pattern if pattern.startswith("/") else f"/etc/{pattern}").rpartition("/")
                names = tree.list_children(directory) if tree.get(directory, follow=True) is not None else []
                for name in sorted(n for n in names if fnmatchcase(n, glob) and not n.startswith(".")):
                    yield from _configured(tree, f"{directory}/{name}", (*above, path))
        elif words and words[0].startswith("/"):
            yield words[0].rstrip("/")


def _is_library(name: str) -> bool:
    likely = (name.startswith(("lib", "ld-")) and ".so" in name) or name.startswith(("ld.so.", "ld64.so."))
    return likely and not name.endswith((".py", *_TEMPORARY)) and ";" not in name


def _name_in_cache(tree: Tree, directory: str, name: str, elf_machine: int) -> str | None:
    path = f"{directory}/{name}"
    node = tree.get(path, follow=True)
    if node is None or node.kind is not Kind.FILE:
        return None
    soname = read_soname(node.content.read(), elf_machine)
    if soname is None:
        return None
    is_link = tree.require(path, follow=False).kind is Kind.SYMLINK
    # The link that programs are linked by (libz.so of libz.so.1) can be asked for by its own name.
    if not soname or (is_link and name.endswith(".so") and soname.startswith(name)):
        return name
    return soname

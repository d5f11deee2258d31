"""What an ELF program needs beside itself: shared libraries, by ``DT_NEEDED`` and by dlopen notes.

Source: System V ABI; UAPI ELF dlopen metadata (``.note.dlopen``).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from builder.tree.node import Content, Kind
from builder.tree.pieces import read_pieces
from builder.tree.tree import Tree, TreeError

MAGIC = b"\x7fELF"
DLOPEN_NOTE = 0x407C0C0A
ELF64_LITTLE = b"\x02\x01"
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
DT_NULL, DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH = 0, 1, 5, 15, 29
# Of the header, from e_phoff on: that, e_shoff, e_flags, e_ehsize, e_phentsize, e_phnum; and a program header.
_HEADER = struct.Struct("<QQIHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")


@dataclass(frozen=True)
class Needs:
    """Names of libraries.

    Attributes:
        needed: must be there or the program does not start.
        optional: (priority, soname alternatives) loaded on demand.
        runpath: directories searched first, as in the file.
        interpreter: path of the dynamic loader, if it has one.
    """

    needed: tuple[str, ...] = ()
    optional: tuple[tuple[str, tuple[str, ...]], ...] = ()
    runpath: tuple[str, ...] = ()
    interpreter: str | None = None


def read_needs(data: bytes) -> Needs:
    """Read the dynamic segment and the notes of an ELF file; anything else needs nothing.

    Read here and not by a library, because each build asks fifty programs, and a library that makes an object of each
    section and entry takes a hundred times as long.

    Raises:
        TreeError: an ELF file that is damaged, or not of 64 bits, little-endian, as all our architectures' are.
    """
    if not data.startswith(MAGIC):
        return Needs()
    try:
        if data[4:6] != ELF64_LITTLE:
            raise ValueError("not of 64 bits, little-endian")
        segments = _list_segments(data)
        runpath: list[str] = []
        optional: list[tuple[str, tuple[str, ...]]] = []
        needed: list[str] = []
        interpreter = None
        for kind, _, offset, _, _, length, _, _ in segments:
            if kind == PT_INTERP:
                interpreter = _require_piece(data, offset, length).rstrip(b"\0").decode()
            elif kind == PT_NOTE:
                optional.extend(_dlopen_notes(_require_piece(data, offset, length)))
            elif kind == PT_DYNAMIC:
                entries = list(_dynamic_entries(_require_piece(data, offset, length)))
                strings = _locate(segments, dict(entries).get(DT_STRTAB, 0)) if entries else 0
                for tag, value in entries:
                    if tag == DT_NEEDED:
                        needed.append(_text_at(data, strings + value))
                    elif tag in (DT_RUNPATH, DT_RPATH):
                        runpath.extend(_text_at(data, strings + value).split(":"))
        return Needs(tuple(needed), tuple(optional), tuple(runpath), interpreter)
    except (struct.error, LookupError, ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise TreeError(f"damaged ELF file: {error}") from error


def read_interpreter(content: Content) -> str | None:
    """The dynamic loader that a program asks for; None if it is static, or no program. Reads its first MiB at most.

    Raises:
        OSError: the file is gone or cut short.
    """
    head = next(read_pieces(content), b"")
    if not head.startswith(MAGIC) or head[4:6] != ELF64_LITTLE:
        return None
    try:
        for kind, _, offset, _, _, length, _, _ in _list_segments(head):
            if kind == PT_INTERP:
                return _require_piece(head, offset, length).rstrip(b"\0").decode()
    except (struct.error, ValueError):
        return None  # damaged, or laid out as no linker does it
    return None


def list_unloadable(tree: Tree, directories: Iterable[str]) -> dict[str, list[str]]:
    """Programs that cannot start because the loader that they ask for is not in the tree, by loader.

    Args:
        directories: where programs are looked for; those that are not there are passed over.
    """
    result: dict[str, list[str]] = {}
    for directory in dict.fromkeys(map(tree.resolve, directories)):
        for name in tree.list_children(directory):
            node = tree.require(f"{directory}/{name}", follow=False)
            if node.kind is not Kind.FILE or not node.is_executable:
                continue
            loader = read_interpreter(node.content)
            if loader is not None and tree.get(loader, follow=True) is None:
                result.setdefault(loader, []).append(f"{directory}/{name}")
    return result


def _list_segments(data: bytes) -> list[tuple[int, ...]]:
    table, _, _, _, size, count = _HEADER.unpack_from(data, 32)
    return [_SEGMENT.unpack_from(data, table + index * size) for index in range(count)]


def _require_piece(data: bytes, offset: int, length: int) -> bytes:
    if offset + length > len(data):
        raise ValueError("a segment that leads behind the end of the file")
    return data[offset : offset + length]


def _dynamic_entries(data: bytes) -> Iterator[tuple[int, int]]:
    for tag, value in struct.iter_unpack("<qQ", data):
        if tag == DT_NULL:
            return
        yield tag, value


def _locate(segments: Iterable[tuple[int, ...]], address: int) -> int:
    """Where in the file is what is at an address in memory."""
    for kind, _, offset, start, _, length, _, _ in segments:
        if kind == PT_LOAD and start <= address < start + length:
            return offset + address - start
    raise ValueError(f"nothing is loaded at {address:#x}")


def _text_at(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()


def _dlopen_notes(data: bytes) -> Iterable[tuple[str, tuple[str, ...]]]:
    while len(data) >= 12:
        name_size, size, kind = (int.from_bytes(data[i : i + 4], "little") for i in (0, 4, 8))
        start = 12 + (name_size + 3) // 4 * 4
        if kind == DLOPEN_NOTE:
            for entry in json.loads(data[start : start + size].rstrip(b"\0")):
                yield entry.get("priority", "recommended"), tuple(entry["soname"])
        data = data[start + (size + 3) // 4 * 4 :]


def list_library_directories(tree: Tree) -> list[str]:
    """Where the loader looks, from ``/etc/ld.so.conf.d`` and its defaults, as paths of the tree."""
    directories = []
    if tree.get("/etc/ld.so.conf.d") is not None:
        for name in tree.list_children("/etc/ld.so.conf.d"):
            for line in tree.read_text(f"/etc/ld.so.conf.d/{name}").splitlines():
                if line.startswith("/"):
                    directories.append(tree.resolve(line.strip()))
    directories += ["/usr/lib", "/usr/lib64"]
    return list(dict.fromkeys(directories))


def find_closure(tree: Tree, paths: Iterable[str], *, wanted: Collection[str] = ()) -> list[str]:
    """All paths (with the links on the way) that the programs at ``paths`` need to start.

    Args:
        wanted: sonames that are taken along where a dlopen note offers them; others on demand are left out.

    Raises:
        TreeError: a program or a needed library is not in the tree.
    """
    directories = list_library_directories(tree)
    seen_runpaths: dict[str, None] = {}
    result: dict[str, None] = {}
    pending = list(paths)
    while pending:
        path = pending.pop()
        if path in result:
            continue
        result[path] = None
        node = tree.require(path, follow=False)
        if node.kind is Kind.SYMLINK:
            target = node.target if node.target.startswith("/") else f"{path.rpartition('/')[0]}/{node.target}"
            # Links in the directories (lib -> usr/lib) are followed at once; the last one stays a link.
            pending.append(tree.resolve(target, follow_last=False))
            continue
        if node.kind is not Kind.FILE:
            continue
        needs = read_needs(node.content.read())
        # A library that the program has loaded already is found whoever asks for it (ld.so(8)), so the directories
        # that led to one are remembered.
        seen_runpaths.update(dict.fromkeys(needs.runpath))
        runpath = tuple(seen_runpaths)
        names = list(needs.needed)
        for _, sonames in needs.optional:
            names.extend(name for name in sonames if name in wanted and _find(tree, name, directories, runpath))
        if needs.interpreter:
            pending.append(tree.resolve(needs.interpreter, follow_last=False))
        for name in names:
            library = _find(tree, name, directories, runpath)
            if library is None:
                raise TreeError(f"{path} needs {name}, which is not in the image")
            pending.append(library)
    return sorted(result)


def require_library(tree: Tree, name: str) -> str:
    """The path at which the loader finds a library that nothing says it will ask for.

    Raises:
        TreeError: it is in none of the loader's directories.
    """
    path = _find(tree, name, list_library_directories(tree), ())
    if path is None:
        raise TreeError(f"{name} is not in the image")
    return path


def _find(tree: Tree, name: str, directories: list[str], runpath: tuple[str, ...]) -> str | None:
    for directory in (*runpath, *directories):
        if tree.get(f"{directory}/{name}", follow=True) is not None:
            return tree.resolve(f"{directory}/{name}", follow_last=False)
    return None

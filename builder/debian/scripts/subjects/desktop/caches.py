"""Caches that the image's own programs make of what packages drop into a directory.

On a Debian system triggers (deb-triggers(5)) start these programs. Here each runs over a copy of what it reads, in a
root that holds the program and the libraries it needs and nothing else. It must be of the architecture that builds; an
image of another one goes without these caches and the build says so.

Two caches are left out. fontconfig's holds the times of directories, which a sealed image does not have: every program
makes it anew for itself. man-db's is made by ``man-db.timer`` on the machine, where there are manuals at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from builder.core.architecture import ARCHITECTURES
from builder.core.sandbox import Sandbox
from builder.debian.scripts.subjects.generated import note_generated
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.elf import find_closure
from builder.tree.materialise import materialise
from builder.tree.node import Kind, make_file

LIB = "{lib}"  # stands for /usr/lib/TRIPLET


@dataclass(frozen=True)
class Cache:
    """One program, run when both it and the directory it reads are in the image.

    Attributes:
        plugins: it loads the shared objects it finds there, so they come along with what they need.
        arguments: ``*.so`` stands for the shared objects below ``directory``, sorted.
        output: where its standard output belongs, if that is the cache.
    """

    program: str
    directory: str
    arguments: tuple[str, ...]
    plugins: bool = False
    output: str = ""


CACHES = (
    Cache(f"{LIB}/glib-2.0/glib-compile-schemas", "/usr/share/glib-2.0/schemas", ("/usr/share/glib-2.0/schemas",)),
    Cache(f"{LIB}/glib-2.0/gio-querymodules", f"{LIB}/gio/modules", (f"{LIB}/gio/modules",), plugins=True),
    Cache(
        f"{LIB}/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders",
        f"{LIB}/gdk-pixbuf-2.0/2.10.0/loaders",
        ("*.so",),
        plugins=True,
        output=f"{LIB}/gdk-pixbuf-2.0/2.10.0/loaders.cache",
    ),
    Cache(
        f"{LIB}/libgtk-3-0t64/gtk-query-immodules-3.0",
        f"{LIB}/gtk-3.0/3.0.0/immodules",
        ("--update-cache",),
        plugins=True,
    ),
    Cache(
        f"{LIB}/libgtk2.0-0t64/gtk-query-immodules-2.0",
        f"{LIB}/gtk-2.0/2.10.0/immodules",
        ("--update-cache",),
        plugins=True,
    ),
    Cache("/usr/bin/update-mime-database", "/usr/share/mime/packages", ("/usr/share/mime",)),
    Cache("/usr/bin/update-desktop-database", "/usr/share/applications", ("-q",)),
)
ICONS = "/usr/share/icons"
ICON_PROGRAM = "/usr/bin/gtk-update-icon-cache"


def make_caches(work: Work) -> None:
    """Make every cache of :data:`CACHES`, and one for each icon theme."""
    for cache in (*_caches(work), *_icon_caches(work)):
        if not work.has(cache.program) or not work.has(cache.directory):
            continue
        if not runs_here(work.tree.read(cache.program)):
            work.tools.console.warn(f"{cache.directory} goes without its cache: {cache.program} does not run here")
            continue
        _make(work, cache)


def runs_here(program: bytes) -> bool:
    """Whether an ELF file (``e_machine`` is its tenth half-word) is for the machine that builds."""
    machine = int.from_bytes(program[18:20], "little")
    return any(arch.elf_machine == machine and arch.is_native for arch in ARCHITECTURES.values())


def find_library_directory(work: Work) -> str:
    """Where the image has its architecture's libraries."""
    names = work.tree.list_children("/usr/lib") if work.has("/usr/lib") else []
    return next((f"/usr/lib/{name}" for name in names if name.endswith("-linux-gnu")), "/usr/lib")


def _caches(work: Work) -> Iterator[Cache]:
    """The caches with their paths of this architecture filled in."""
    lib = find_library_directory(work)
    for cache in CACHES:
        yield replace(
            cache,
            program=cache.program.replace(LIB, lib),
            directory=cache.directory.replace(LIB, lib),
            arguments=tuple(argument.replace(LIB, lib) for argument in cache.arguments),
            output=cache.output.replace(LIB, lib),
        )


def _icon_caches(work: Work) -> Iterator[Cache]:
    for theme in work.tree.list_children(ICONS) if work.has(ICONS) else ():
        index = work.tree.get(f"{ICONS}/{theme}/index.theme")
        # A link there is an alternative: the theme has no icons of its own.
        if index is not None and index.kind is Kind.FILE:
            yield Cache(ICON_PROGRAM, f"{ICONS}/{theme}", ("--force", "--quiet", f"{ICONS}/{theme}"))


def _make(work: Work, cache: Cache) -> None:
    tree = work.tree
    objects = [p for p, n in tree.walk(cache.directory) if p.endswith(".so") and n.kind is not Kind.DIRECTORY]
    needed = find_closure(tree, [cache.program, *(objects if cache.plugins else ())])
    arguments = [word for given in cache.arguments for word in (objects if given == "*.so" else [given])]
    # A mime database and the cache of input methods are beside the directory, not in it.
    beside = cache.directory.rpartition("/")[0]
    with tempfile.TemporaryDirectory(dir=work.scratch, prefix="cache-") as place:
        part = materialise(tree, Path(place) / "root", [*needed, cache.directory])
        (part.root / beside.lstrip("/")).mkdir(parents=True, exist_ok=True)
        sandbox = Sandbox(work.tools, part.root, Path(place))
        sandbox.give_files()
        said = sandbox.run(cache.program, *arguments, env={}, believes=False)
        part.absorb(tree, origin=ORIGIN, below=beside)
        if cache.output and said:
            tree.put(cache.output, make_file(said, origin=ORIGIN))


COMMANDS = note_generated(dict.fromkeys((
    "update-mime-database", "update-desktop-database", "gtk-update-icon-cache", "update-icon-caches",
    "glib-compile-schemas", "fc-cache", "mandb", "gdk-pixbuf-query-loaders", "gio-querymodules",
    "gtk-query-immodules-3.0", "gtk-query-immodules-2.0", "update-menus",
), "an index that its handler makes when all packages are in"))  # fmt: skip

"""Shared libraries that an environment's programs and modules ask for and nobody has.

The rules are the loader's (``ld.so(8)``): the file's own run path, then the image's directories. A library that some
module of the environment brings is taken for found as well: what is loaded already satisfies whoever asks for it, and
packages load their own libraries first.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from builder.core.architecture import ARCHITECTURES, require_architecture
from builder.core.errors import InputError
from builder.python.install import Installed
from builder.tree.elf import list_library_directories
from builder.tree.tree import Tree

# In every process already.
ALWAYS = ("linux-vdso.so.1", *(facts.loader for facts in ARCHITECTURES.values()))


@dataclass(frozen=True)
class Missing:
    """A library that is in no directory the loader looks into, and who asks for it."""

    library: str
    wheel: str
    file: str


def find_missing(installed: Iterable[Installed], tree: Tree, arch: str) -> list[Missing]:
    """What is asked for and not there, each library once.

    Raises:
        InputError: a file is for another architecture than the image.
    """
    wheels = list(installed)
    machine = require_architecture(arch).elf_machine
    directories = list_library_directories(tree)
    brought = _list_brought(wheels)
    files = {path for wheel in wheels for path in wheel.nodes}
    known: dict[str, bool] = {}

    def is_in_image(name: str) -> bool:
        if name not in known:
            known[name] = any(tree.get(f"{place}/{name}", follow=True) is not None for place in directories)
        return known[name]

    missing: dict[str, Missing] = {}
    for wheel in wheels:
        for path, name in sorted(wheel.elves.items()):
            needs = wheel.pack.elves[name]
            if needs.machine != machine:
                raise InputError(f"{wheel.pack.wheel.file}: {name} is not for {arch}")
            for library in needs.needed:
                if library in ALWAYS or library in brought or library in missing or is_in_image(library):
                    continue
                if not _is_on_run_path(library, path, needs.runpath, tree, files):
                    missing[library] = Missing(library, wheel.pack.wheel.name, name)
    return [missing[library] for library in sorted(missing)]


def _list_brought(wheels: Collection[Installed]) -> set[str]:
    """Names under which the environment's own libraries can be asked for."""
    names = set()
    for wheel in wheels:
        for path, name in wheel.elves.items():
            names |= {posixpath.basename(path), wheel.pack.elves[name].soname}
    return names


def _is_on_run_path(library: str, path: str, runpath: Iterable[str], tree: Tree, files: Collection[str]) -> bool:
    here = posixpath.dirname(path)
    for place in runpath:
        directory = posixpath.normpath(place.replace("${ORIGIN}", here).replace("$ORIGIN", here))
        where = f"{directory}/{library}"
        if where in files or (directory.startswith("/") and tree.get(where, follow=True) is not None):
            return True
    return False


def guess_package(library: str) -> str:
    """The Debian package that has a library, by the rule of Debian policy 8.1 for its name.

    ``libgomp.so.1`` is in ``libgomp1``, ``libglib-2.0.so.0`` in ``libglib2.0-0``.
    """
    name, _, version = library.partition(".so")
    version = version.removeprefix(".")
    name = name.lower().replace("_", "-")
    base, dash, number = name.rpartition("-")
    if dash and number[:1].isdigit():
        name = base + number
    return f"{name}-{version}" if version and name[-1:].isdigit() else f"{name}{version}"

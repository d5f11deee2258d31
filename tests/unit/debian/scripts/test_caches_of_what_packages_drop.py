"""Caches made by the image's own programs, and what happens where those cannot run."""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.debian.scripts.subjects.desktop.caches import make_caches
from builder.debian.scripts.work import Work
from builder.tree.node import Node, make_file, make_symlink

pytestmark = pytest.mark.unit

LIB = "/usr/lib/x86_64-linux-gnu"
COMPILER = f"{LIB}/glib-2.0/glib-compile-schemas"
SCHEMAS = "/usr/share/glib-2.0/schemas"
NUMBERS = {"x86_64": 62, "aarch64": 183}


def program(machine: int) -> Node:
    """The start of an ELF file that needs no library: enough to see which machine it is for."""
    ident = b"\x7fELF\2\1\1" + bytes(9)
    fields = struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0)
    return make_file(ident + fields, 0o755, origin="package:a")


def here() -> int:
    return NUMBERS[platform.machine()]


@pytest.fixture
def work(work_on: Callable[..., Work]) -> Work:
    return work_on({f"{SCHEMAS}/org.example.xml": "<schema/>"})


@pytest.fixture
def root_of(work: Work) -> Callable[[], Path]:
    """The copy that the program of a running handler sees as its root."""
    return lambda: next(work.scratch.glob("cache-*/root"))


def test_a_cache_is_what_the_images_own_program_leaves(work: Work, root_of: Callable[[], Path]) -> None:
    def compile_schemas(*words: str) -> str:
        seen = sorted(path.name for path in (root_of() / SCHEMAS[1:]).iterdir())
        (root_of() / SCHEMAS[1:] / "gschemas.compiled").write_text(f"{words} of {seen}")
        return ""

    work.tree.put(COMPILER, program(here()))
    work.tools.programs[COMPILER] = compile_schemas  # type: ignore[attr-defined]
    make_caches(work)
    assert work.tree.read_text(f"{SCHEMAS}/gschemas.compiled") == f"('{SCHEMAS}',) of ['org.example.xml']"
    assert set(work.tree.list_children("/")) == {"usr"}


def test_what_a_program_prints_is_the_cache_where_it_writes_none(work: Work) -> None:
    query = f"{LIB}/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders"
    loaders = f"{LIB}/gdk-pixbuf-2.0/2.10.0/loaders"
    work.tree.put(query, program(here()))
    for name in ("b.so", "a.so", "a.so.1"):
        work.tree.put(f"{loaders}/{name}", program(here()))
    work.tools.programs[query] = lambda *words: "\n".join(words)  # type: ignore[attr-defined]
    make_caches(work)
    assert work.tree.read_text(f"{LIB}/gdk-pixbuf-2.0/2.10.0/loaders.cache").split() == [
        f"{loaders}/a.so",
        f"{loaders}/b.so",
    ]


def test_a_theme_has_a_cache_of_its_icons_and_an_alternative_has_none(work: Work) -> None:
    made = "/usr/bin/gtk-update-icon-cache"
    work.tree.put(made, program(here()))
    work.tree.put("/usr/share/icons/Adwaita/index.theme", make_file("", origin="package:a"))
    work.tree.put("/usr/share/icons/default/index.theme", make_symlink("/etc/alternatives/theme", origin="package:a"))
    work.tools.programs[made] = lambda *_: ""  # type: ignore[attr-defined]
    make_caches(work)
    assert [call[-1] for call in work.tools.calls] == ["/usr/share/icons/Adwaita"]  # type: ignore[attr-defined]


def test_an_image_for_another_machine_goes_without_and_the_build_says_so(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(work.tools.console, "warn", said.append)
    work.tree.put(COMPILER, program(next(number for number in NUMBERS.values() if number != here())))
    make_caches(work)
    assert work.tree.list_children(SCHEMAS) == ["org.example.xml"]
    assert len(said) == 1
    assert SCHEMAS in said[0]
    assert COMPILER in said[0]

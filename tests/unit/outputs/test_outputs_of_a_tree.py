"""What a tree becomes, made by programs that only write a few bytes: what is made, and what is made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.core.tools import Tools
from builder.definition.model import Compression, Disk
from builder.outputs.image import make_outputs
from builder.outputs.image_parts import ImageSettings
from builder.stages.stage import Context
from builder.tree.node import make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

GIB = 1 << 30


@pytest.fixture
def wanted(overlay: Path) -> ImageSettings:
    return ImageSettings(
        name="demo",
        version="1.0",
        arch="amd64",
        compression=Compression.LZ4,
        level=None,
        extra_command_line=("console=ttyS0",),
        modules=("mine",),
        initrd_overlays=(overlay,),
        layout=Disk(),
    )


@pytest.fixture
def outputs(image: Tree, writing_tools: Tools, tmp_path: Path) -> Callable[..., list[str]]:
    """Make all outputs, as a build of its own; returns the programs that ran."""
    count = 0

    def make(wanted: ImageSettings, *, tree: Tree = image, tools: Tools = writing_tools) -> list[str]:
        nonlocal count
        count += 1
        scratch = tmp_path / f"scratch{count}"
        scratch.mkdir()
        context = Context(tools, Store.open(tmp_path / "store"), tools.console, scratch)
        writing_tools.calls.clear()
        seconds: dict[str, float] = {}
        made = make_outputs(tree, wanted, context, seconds)
        assert seconds.keys() == {"root", "initrd", "uki", "disk", "facts"}
        for path in (made.root.image, made.root.hash_tree, made.kernel, made.initrd, made.uki, made.disk):
            assert path.stat().st_size, path
        assert made.kernel.read_text() == "kernel"
        assert made.command_line.startswith(f"roothash={made.root.roothash} ")
        assert made.command_line.endswith(" ".join(("", "ro", *wanted.extra_command_line)))
        assert made.uki.read_text() == "uki: " + made.command_line
        return sorted({call[0] for call in writing_tools.calls})

    return make


ALWAYS = ["mkfs.erofs", "systemd-repart"]
UKI = ["ukify"]
INITRD = ["depmod", "zstd", *UKI]


def test_initrd_and_uki_are_made_once(outputs: Callable[..., list[str]], wanted: ImageSettings) -> None:
    assert outputs(wanted) == sorted(ALWAYS + INITRD)
    assert outputs(wanted) == ALWAYS


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"extra_command_line": ("quiet",)}, UKI),
        ({"version": "2.0"}, []),
        ({"compression": Compression.ZSTD}, []),
        ({"level": 9}, []),
        ({"name": "other"}, []),
        ({"modules": ()}, INITRD),
    ],
    ids=str,
)
def test_only_what_depends_on_a_change_is_made_again(
    outputs: Callable[..., list[str]], wanted: ImageSettings, changes: dict[str, object], again: list[str]
) -> None:
    outputs(wanted)
    assert outputs(replace(wanted, **changes)) == sorted(ALWAYS + again)


def test_another_tree_gives_another_root_and_the_same_initrd_if_it_needs_nothing_new(
    outputs: Callable[..., list[str]], wanted: ImageSettings, image: Tree
) -> None:
    outputs(wanted)
    image.put("/usr/share/new", make_file("x", origin="package:a"))
    assert outputs(wanted) == ALWAYS
    image.put("/usr/bin/kmod", make_file("another", 0o755, origin="package:a"))
    assert outputs(wanted) == sorted(ALWAYS + INITRD)


def test_other_tools_make_everything_again(
    outputs: Callable[..., list[str]], wanted: ImageSettings, writing_tools: Tools
) -> None:
    outputs(wanted)
    others = replace(writing_tools, root=writing_tools.root.with_name("others"))
    assert outputs(wanted, tools=others) == sorted(ALWAYS + INITRD)


def test_what_packages_brought_is_compressed_once(
    outputs: Callable[..., list[str]], wanted: ImageSettings, image: Tree, writing_tools: Tools
) -> None:
    def parts_written() -> list[str]:
        calls = [call for call in writing_tools.calls if call[0] == "mkfs.erofs"]
        return ["onto another" if "--incremental=data" in call else "from nothing" for call in calls]

    outputs(wanted)
    assert parts_written() == ["from nothing", "onto another"]
    image.put("/etc/mine", make_file("x", origin="overlay:mine"))
    outputs(wanted)
    assert parts_written() == ["onto another"]
    image.put("/usr/bin/b", make_file("x", 0o755, origin="package:b"))
    outputs(wanted)
    assert parts_written() == ["from nothing", "onto another"]


def test_a_root_of_another_name_or_compression_has_parts_of_its_own(
    outputs: Callable[..., list[str]], wanted: ImageSettings, writing_tools: Tools
) -> None:
    def count_written() -> int:
        return sum(call[0] == "mkfs.erofs" for call in writing_tools.calls)

    outputs(wanted)
    outputs(replace(wanted, version="2.0"))
    assert count_written() == 1
    for changed in (replace(wanted, compression=Compression.ZSTD), replace(wanted, name="other")):
        outputs(changed)
        assert count_written() == 2

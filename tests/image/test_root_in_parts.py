"""A root that is written in parts is the one that would have been written in one."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from pathlib import Path

import pytest

from builder.core.tools import Tools
from builder.outputs.root import make_erofs, split
from builder.tree.node import Kind, Node, Slice, make_directory, make_file, make_symlink
from builder.tree.tree import Tree

pytestmark = pytest.mark.image

CAPABILITY = (("security.capability", bytes.fromhex("0100000200040000000000000000000000000000")),)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Everything that a root can have, from packages and from elsewhere, in each other's directories."""
    pack = tmp_path_factory.mktemp("store") / "pack"
    noise = random.Random(1)
    pack.write_bytes(noise.randbytes(300_000) + bytes(300_000) + b"some text, over and over\n" * 40_000)
    tree = Tree()
    origins = ("package:a", "stage:packages", "overlay:mine", "stage:seal", "container:web", "wheel:flask")
    for number, origin in enumerate(origins, 1):
        here = f"/usr/lib/{number}"
        part = Slice(str(pack), number * 1000, 200_000 * number)
        tree.put(here, make_directory(0o750 + number, origin=origin, gid=number))
        tree.put(f"{here}/large", Node(Kind.FILE, 0o644, content=part, origin=origin, uid=number))
        tree.put(f"{here}/again", Node(Kind.FILE, 0o644, content=part, origin=origin, uid=number))
        tree.put(f"{here}/small", make_file("x" * number, 0o600 + number, origin=origin, uid=70_000, gid=number))
        tree.put(f"{here}/empty", make_file("", origin=origin))
        tree.put(f"{here}/{'long' * 60}", make_file("y", origin=origin))
        tree.put(f"{here}/ünï", make_symlink("../" * 60 + "etc", origin=origin))
        tree.put(f"{here}/capable", make_file("z" * 5000, 0o755, origin=origin).copy_with(xattrs=CAPABILITY))
        tree.put(f"{here}/setuid", make_file("z", 0o4755, origin=origin))
        tree.put(f"{here}/device", Node(Kind.CHARACTER, 0o600, device=(1, number), origin=origin))
        tree.put(f"{here}/none", make_directory(0o700, origin=origin))
        for each in range(300):
            tree.put(f"/usr/share/crowd/{each}-{number}", make_file(f"{each}", origin=origin))
    tree.change("/usr/share/crowd", mode=0o1777)
    return tree


def facts(image: Path, path: str, tools: Tools) -> list[str]:
    """What dump.erofs says of a path: size, kind, links, attributes, owner and mode, but not where it is."""
    lines = tools.run("dump.erofs", f"--path={path}", image).splitlines()
    words = " ".join(line for line in lines if not line.startswith("Path")).split()
    return [word for word, before in zip(words[1:], words, strict=False) if before not in ("NID:", "size:")]


def content(directory: Path) -> dict[str, str | bytes]:
    """Every file and link below a directory of the host."""
    found: dict[str, str | bytes] = {}
    for where, _, names in os.walk(directory):
        for path in (Path(where) / name for name in names):
            if path.is_symlink() or stat.S_ISREG(path.lstat().st_mode):
                found[str(path.relative_to(directory))] = (
                    path.readlink().name if path.is_symlink() else path.read_bytes()
                )
    return found


def test_content_that_ends_early_ends_mkfs_as_well(tree: Tree, tools: Tools, tmp_path: Path) -> None:
    short = tree.copy()
    large = tree.require("/usr/lib/4/large")
    assert isinstance(large.content, Slice)
    short.put("/usr/lib/4/short", large.copy_with(content=Slice(large.content.path, 1000, 10_000_000)))
    with pytest.raises(OSError, match="is shorter than its index says"):
        make_erofs(short, tools, tmp_path / "root", compression="lz4", name="x")


@pytest.mark.parametrize("compression", ["lz4", "lz4hc", "zstd"])
def test_a_root_in_parts_is_the_same_as_in_one(tree: Tree, compression: str, tools: Tools, tmp_path: Path) -> None:
    parts, rest = split(tree)
    assert len(parts) == 2
    whole, second, again = (tmp_path / name for name in ("whole", "second", "again"))
    make_erofs(tree, tools, whole, compression=compression, name="x")
    below = None
    for number, part in enumerate(parts):
        image = tmp_path / f"part-{number}"
        make_erofs(part, tools, image, compression=compression, name="x", onto=below)
        below = image
    make_erofs(rest, tools, second, compression=compression, name="x", onto=below)
    make_erofs(rest, tools, again, compression=compression, name="x", onto=below)
    assert second.read_bytes() == again.read_bytes()
    tools.run("fsck.erofs", second)
    assert second.stat().st_size < 1.1 * whole.stat().st_size
    for path, _ in tree.walk("/usr/lib"):
        assert facts(second, path, tools) == facts(whole, path, tools), path
    assert facts(second, "/usr/share/crowd", tools) == facts(whole, "/usr/share/crowd", tools)
    for image in (whole, second):
        # By the open door: in the closed one nobody makes a device.
        extract = tools.make_argv("fsck.erofs", f"--extract={tmp_path / f'{image.name}.d'}", "--no-preserve", image)
        subprocess.run(extract, check=True, capture_output=True)
    assert content(tmp_path / "second.d") == content(tmp_path / "whole.d")

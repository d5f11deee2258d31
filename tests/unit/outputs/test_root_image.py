"""The root image through a pipe."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
import threading
from pathlib import Path

import pytest

from builder.core.errors import CapabilityError, ToolError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.outputs.hash_tree import Known
from builder.outputs.image import Timer, remove_kernel
from builder.outputs.root import make_erofs, make_verity, split
from builder.stages.stage import Context
from builder.tree.node import Kind, Slice, make_directory, make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    tree.put("/usr/bin/a", make_file("a", 0o755, origin="package:a"))
    return tree


@pytest.fixture
def context(tmp_path: Path, fake_tools: object) -> Context:
    return Context(fake_tools, Store.open(tmp_path / "store"), fake_tools.console, tmp_path)


def test_the_tree_reaches_mkfs_as_tar_and_the_pipe_is_gone(tree: Tree, tmp_path: Path, fake_tools: object) -> None:
    seen = []

    def mkfs(*arguments: str) -> str:
        with tarfile.open(fileobj=io.BytesIO(Path(arguments[-1]).read_bytes())) as archive:
            seen.extend(archive.getnames())
        Path(arguments[-2]).write_text("image")
        return ""

    fake_tools.programs["mkfs.erofs"] = mkfs
    make_erofs(tree, fake_tools, tmp_path / "root.erofs", compression="zstd", name="demo", level=5)
    assert [name.lstrip("./") for name in seen if name.lstrip("./")] == ["usr", "usr/bin", "usr/bin/a"]
    assert [path.name for path in tmp_path.iterdir()] == ["root.erofs"]
    assert {"-T0", "-zzstd,level=5", "--tar=f"} <= set(fake_tools.calls[0])


@pytest.mark.parametrize("reads", [None, 0, 10, 1 << 30], ids=["does not open it", "nothing", "a little", "all"])
@pytest.mark.parametrize("size", [1, 1 << 20], ids=["small", "larger than a pipe"])
def test_a_failing_mkfs_is_reported_and_leaves_nothing_behind(
    tree: Tree, tmp_path: Path, fake_tools: object, size: int, reads: int | None
) -> None:
    tree.put("/large", make_file(os.urandom(size), origin="package:a"))

    def mkfs(*arguments: str) -> str:
        if reads is not None:
            with Path(arguments[-1]).open("rb") as pipe:
                pipe.read(reads)
        raise ToolError("mkfs.erofs failed with status 1")

    fake_tools.programs["mkfs.erofs"] = mkfs
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ToolError, match="status 1"):
        make_erofs(tree, fake_tools, tmp_path / "root.erofs", compression="lz4", name="demo")
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert "tar" not in {thread.name for thread in threading.enumerate()}


def test_a_tools_tree_without_mkfs_is_reported_at_once(tree: Tree, tmp_path: Path, fake_tools: object) -> None:
    tools = Tools(fake_tools.root, fake_tools.console)
    with pytest.raises(CapabilityError, match=r"the tools tree has no mkfs\.erofs"):
        make_erofs(tree, tools, tmp_path / "root.erofs", compression="lz4", name="demo")


@pytest.mark.parametrize("complains", [False, True])
def test_content_that_is_gone_from_the_store_is_reported_whatever_mkfs_makes_of_it(
    tree: Tree, tmp_path: Path, fake_tools: object, complains: bool
) -> None:
    tree.put("/b", tree.require("/usr/bin/a").copy_with(content=Slice(str(tmp_path / "gone"), 0, 5)))

    def mkfs(*arguments: str) -> str:
        Path(arguments[-1]).read_bytes()
        if complains:
            raise ToolError("mkfs.erofs failed with status 1")
        return ""

    fake_tools.programs["mkfs.erofs"] = mkfs
    with pytest.raises(FileNotFoundError):
        make_erofs(tree, fake_tools, tmp_path / "root.erofs", compression="lz4", name="demo")


def test_the_hash_tree_depends_on_the_name_and_the_content_alone(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(random.Random(1).randbytes(300 * 4096))  # three blocks of hashes
    first = make_verity(image, tmp_path / "first", name="demo")
    assert make_verity(image, tmp_path / "again", name="demo") == first
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()
    assert make_verity(image, tmp_path / "other", name="other") != first


def test_one_block_has_no_tree_and_its_hash_is_the_root_hash(tmp_path: Path) -> None:
    image, tree = tmp_path / "image", tmp_path / "tree"
    image.write_bytes(bytes(range(256)) * 16)
    salt = hashlib.sha256(b"verity demo").digest()
    expected = hashlib.sha256(salt + image.read_bytes()).hexdigest()
    assert make_verity(image, tree, name="demo") == expected
    assert tree.stat().st_size == 4096
    assert make_verity(image, tmp_path / "again", name="demo", known=Known(image, tree)) == expected


@pytest.mark.parametrize("blocks", [200, 256, 300, 301, 600])
@pytest.mark.parametrize("changed", [(), (0,), (127, 128), (199,)])
def test_a_hash_tree_is_the_same_whether_another_image_was_known_or_not(
    tmp_path: Path, blocks: int, changed: tuple[int, ...]
) -> None:
    data = random.Random(1).randbytes(600 * 4096)
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(data[: 300 * 4096])
    make_verity(before, tmp_path / "before.tree", name="demo")
    after.write_bytes(data[: blocks * 4096])
    with after.open("r+b") as file:
        for block in changed:
            file.seek(block * 4096 + 5)
            file.write(b"changed")
    alone = make_verity(after, tmp_path / "alone", name="demo")
    known = Known(before, tmp_path / "before.tree")
    assert make_verity(after, tmp_path / "known", name="demo", known=known) == alone
    assert (tmp_path / "known").read_bytes() == (tmp_path / "alone").read_bytes()


def test_a_root_has_parts_and_every_directory_is_as_it_is_to_be_in_the_last(tree: Tree) -> None:
    tree.put("/var/empty", make_directory(0o700, origin="package:a"))
    tree.put("/usr/bin", make_directory(0o750, origin="package:a"))
    tree.put("/usr/lib/made", make_file("x", origin="stage:packages"))
    tree.put("/etc/mine", make_file("x", origin="overlay:mine"))
    tree.put("/usr/lib/shop/page.py", make_file("x", origin="wheel:shop"))
    tree.put("/usr/lib/shop/own.py", make_file("x", origin="app:shop"))
    (packaged, assembled), rest = split(tree)
    assert [path for path, _ in packaged.walk()] == [
        "/", "/usr", "/usr/bin", "/usr/bin/a", "/usr/lib", "/usr/lib/made"
    ]  # fmt: skip
    assert {node.mode for _, node in packaged.walk() if node.kind is Kind.DIRECTORY} == {0o755}
    assert [path for path, _ in assembled.walk()] == ["/", "/usr", "/usr/lib", "/usr/lib/shop", "/usr/lib/shop/page.py"]
    assert Tree(dict(packaged.walk()) | dict(assembled.walk()) | dict(rest.walk())) == tree


def test_a_directory_that_something_else_needs_changes_nothing_of_what_packages_brought(tree: Tree) -> None:
    (before,), _ = split(tree)
    tree.put("/etc/new/mine", make_file("x", origin="overlay:mine"))
    tree.change("/usr/bin", mode=0o700)
    (after,), _ = split(tree)
    assert after.encode() == before.encode()


def test_an_image_is_written_onto_a_copy(tree: Tree, tmp_path: Path, fake_tools: object) -> None:
    (tmp_path / "first").write_text("first")

    def mkfs(*arguments: str) -> str:
        size = len(Path(arguments[-1]).read_bytes())
        with Path(arguments[-2]).open("a") as image:
            image.write(f" and {size} more")
        return ""

    fake_tools.programs["mkfs.erofs"] = mkfs
    out = tmp_path / "root.erofs"
    make_erofs(tree, fake_tools, out, compression="lz4", name="demo", onto=tmp_path / "first")
    assert out.read_text().startswith("first and ")
    assert (tmp_path / "first").read_text() == "first"
    assert "--incremental=data" in fake_tools.calls[0]


def test_only_the_kernel_itself_is_left_out_of_the_root(tree: Tree) -> None:
    for path in ("/usr/lib/modules/6.12/vmlinuz", "/usr/lib/modules/6.12/modules.dep", "/usr/share/vmlinuz"):
        tree.put(path, make_file("x", origin="package:a"))
    left = remove_kernel(tree)
    assert [path for path, _ in tree.walk() if path not in left] == ["/usr/lib/modules/6.12/vmlinuz"]


def test_outputs_are_measured_by_name(context: Context) -> None:
    seconds: dict[str, float] = {}
    with Timer(context, seconds).measure_step("root", "root file system"):
        pass
    assert list(seconds) == ["root"]
    assert [span.title for span in context.console.spans] == ["root file system"]

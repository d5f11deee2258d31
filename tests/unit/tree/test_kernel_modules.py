"""Which modules an initrd carries."""

from __future__ import annotations

import lzma

import pytest

from builder.tree.modules import (
    MAX_MODULE,
    decompress_module,
    find_kernel_release,
    find_modules,
    parse_module_name,
    require_known,
)
from builder.tree.node import make_file
from builder.tree.tree import Tree, TreeError

pytestmark = pytest.mark.unit

RELEASE = "6.12.48+deb13-cloud-amd64"
BASE = f"/usr/lib/modules/{RELEASE}"
DEP = """\
kernel/drivers/md/dm-mod.ko.xz:
kernel/drivers/md/dm-bufio.ko.xz: kernel/drivers/md/dm-mod.ko.xz
kernel/drivers/md/dm-verity.ko.xz: kernel/drivers/md/dm-bufio.ko.xz kernel/drivers/md/dm-mod.ko.xz
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
kernel/fs/erofs/erofs.ko.xz:
kernel/lib/crc-t10dif.ko.xz:
kernel/arch/x86/crypto/crct10dif-pclmul.ko.xz:
kernel/drivers/scsi/sd_mod.ko.xz: kernel/lib/crc-t10dif.ko.xz
kernel/lib/after.ko.xz:
"""
SOFTDEP = """\
# Soft dependencies extracted from modules themselves.
softdep erofs post: after
softdep crc-t10dif pre: crct10dif-pclmul not-there
softdep not-there pre: virtio
"""


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    tree.put(f"{BASE}/modules.dep", make_file(DEP, origin="test"))
    tree.put(f"{BASE}/modules.softdep", make_file(SOFTDEP, origin="test"))
    return tree


def found(tree: Tree, *wanted: str) -> list[str]:
    return [path.rpartition("/")[2].partition(".")[0] for path in find_modules(tree, RELEASE, wanted)]


@pytest.mark.parametrize("wanted", ["dm-verity", "dm_verity"])
def test_a_module_comes_with_all_it_depends_on_however_it_is_spelt(tree: Tree, wanted: str) -> None:
    assert found(tree, wanted) == ["dm-bufio", "dm-mod", "dm-verity"]


def test_modules_are_named_by_path_sorted_and_once(tree: Tree) -> None:
    assert find_modules(tree, RELEASE, ["virtio_blk", "virtio", "virtio-blk"]) == [
        f"{BASE}/kernel/drivers/block/virtio_blk.ko.xz",
        f"{BASE}/kernel/drivers/virtio/virtio.ko.xz",
    ]


def test_what_is_built_in_or_unknown_is_left_out(tree: Tree) -> None:
    assert found(tree, "loop", "erofs") == ["erofs"]
    assert found(tree) == []


def test_soft_dependencies_before_a_module_are_followed_in_either_spelling(tree: Tree) -> None:
    assert found(tree, "sd_mod") == ["crct10dif-pclmul", "sd_mod", "crc-t10dif"]


def test_soft_dependencies_after_a_module_are_not(tree: Tree) -> None:
    assert found(tree, "erofs") == ["erofs"]


def test_a_module_that_the_user_names_must_exist_in_either_spelling(tree: Tree) -> None:
    tree.put(f"{BASE}/modules.builtin", make_file("kernel/drivers/block/loop.ko\n", origin="test"))
    require_known(tree, RELEASE, ["dm-verity", "dm_verity", "virtio_blk", "virtio-blk", "loop"])
    with pytest.raises(TreeError, match=r"has no module virtio-bkl \(did you mean 'virtio_blk'\?\)"):
        require_known(tree, RELEASE, ["loop", "virtio-bkl"])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kernel/drivers/block/virtio_blk.ko", "virtio_blk"),
        ("kernel/drivers/md/dm-verity.ko.xz", "dm_verity"),
        ("dm-verity.ko.zst", "dm_verity"),
    ],
)
def test_a_module_is_named_as_lsmod_has_it(path: str, name: str) -> None:
    assert parse_module_name(path) == name


def test_an_image_has_one_kernel(tree: Tree) -> None:
    tree.put("/usr/lib/modules/left-over/modules.builtin", make_file("", origin="test"))
    assert find_kernel_release(tree) == RELEASE
    tree.put("/usr/lib/modules/6.1.0/modules.dep", make_file("", origin="test"))
    with pytest.raises(TreeError, match=r"an image has one kernel; this one has 6\.1\.0, 6\.12\.48"):
        find_kernel_release(tree)
    with pytest.raises(TreeError, match="this one has none"):
        find_kernel_release(Tree())


def test_modules_are_carried_unpacked() -> None:
    packed = make_file(lzma.compress(b"\x7fELF module"), 0o640, origin="package:linux")
    path, node = decompress_module("/m/dm-verity.ko.xz", packed)
    assert (path, node.content.read(), node.mode, node.origin) == (
        "/m/dm-verity.ko",
        b"\x7fELF module",
        0o640,
        "package:linux",
    )
    plain = make_file(b"\x7fELF", origin="package:linux")
    assert decompress_module("/m/loop.ko", plain) == ("/m/loop.ko", plain)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no xz" * 10, "/m.ko.xz cannot be decompressed"),
        (lzma.compress(b"module")[:-9], "/m.ko.xz is cut short"),
        (lzma.compress(bytes(MAX_MODULE + 1), preset=0), "/m.ko.xz is cut short, or unpacks to more than"),
    ],
    ids=["other data", "half", "a bomb"],
)
def test_a_module_that_cannot_be_unpacked_is_named(content: bytes, says: str) -> None:
    with pytest.raises(TreeError, match=says):
        decompress_module("/m.ko.xz", make_file(content, origin="package:a"))

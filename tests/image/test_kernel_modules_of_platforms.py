"""An image for some platforms: what is left of its kernel's modules can be loaded, and its initrd finds a disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder.build.last_build import find_built_tree
from builder.core.console import QuietConsole
from builder.core.platform_devices import FAMILIES, PLATFORMS, choose_group
from builder.core.store import Store
from builder.core.tools import Tools
from builder.outputs.initrd import LOAD_NOW, MODULES, WATCHDOG, make_initrd_tree
from builder.stages.kernel_modules import KernelModules
from builder.stages.stage import Context
from builder.tree.drivers import find_unneeded_modules
from builder.tree.materialise import materialise, read_tree
from builder.tree.modules import find_kernel_release, find_modules, parse_module_name, read_modules
from builder.tree.tree import Tree

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def image(demo: Path, store: Store) -> Tree:
    """The demo's finished root."""
    tree = find_built_tree(store, REPOSITORY / "configs" / "demo.yaml")
    assert tree is not None
    return tree


@pytest.fixture(scope="module")
def cut(image: Tree, store: Store, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The same, for QEMU alone."""
    context = Context(tools, store, QuietConsole(), tmp_path_factory.mktemp("scratch"))
    return KernelModules(("qemu",), ("/usr/lib/modules/*/kernel/fs/btrfs/*",)).apply(Tree(dict(image.walk())), context)


def list_names(tree: Tree) -> set[str]:
    return {parse_module_name(path) for path, _ in tree.walk("/usr/lib/modules") if ".ko" in path}


def test_the_index_names_what_is_there_and_nothing_else(image: Tree, cut: Tree) -> None:
    modules = read_modules(cut, find_kernel_release(cut))
    assert {f"{modules.base}/{path}" for path in modules.needs} == {
        path for path, _ in cut.walk(f"{modules.base}/kernel") if ".ko" in path.rpartition("/")[2]
    }
    assert all(needed in modules.needs for needs in modules.needs.values() for needed in needs)
    gone = list_names(image) - list_names(cut)
    assert {"hv_vmbus", "xen_blkfront", "ena", "mlx5_core", "comedi", "btrfs"} <= gone
    assert (
        not {"virtio_net", "nvme", "ahci", "dm_verity", "erofs", "br_netfilter", "nf_tables", "xfs", "tpm_tis"} & gone
    )


def test_the_kernels_own_program_loads_what_is_left(cut: Tree, tools: Tools, tmp_path: Path) -> None:
    release = find_kernel_release(cut)
    root = materialise(cut, tmp_path, [f"/usr/lib/modules/{release}"]).root
    for module in ("virtio_net", "overlay", "nf_tables", "virtio_scsi"):
        shown = tools.run("modprobe", "-d", root, "-S", release, "--show-depends", module)
        files = re.findall(r"^insmod (\S+)", shown, re.M)
        assert files
        assert all(Path(file).is_file() for file in files)


def test_an_initrd_has_the_same_but_for_drivers_of_other_platforms(image: Tree, cut: Tree) -> None:
    release = find_kernel_release(image)
    wanted = (*MODULES, *LOAD_NOW)
    before, now = (set(find_modules(tree, release, wanted)) for tree in (image, cut))
    assert now < before
    base = f"/usr/lib/modules/{release}/kernel/"
    groups = {choose_group(path.removeprefix(base)) for path in before - now}
    assert groups - {"drivers"} <= {f"drivers of {name}" for name in FAMILIES}
    assert "drivers of virtio" not in groups


def test_an_initrd_that_is_to_feed_a_watchdog_can_drive_that_of_qemu(image: Tree, cut: Tree) -> None:
    text = read_tree(REPOSITORY / "overlays/updates", origin="overlay:updates").require(WATCHDOG)
    for tree in (image.copy(), cut.copy()):
        tree.put(WATCHDOG, text)
        initrd = make_initrd_tree(tree, [REPOSITORY / "overlays/initrd"])
        assert {"i6300esb", "watchdog"} <= list_names(initrd)
        assert initrd.require(WATCHDOG) == text


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_platform_loses_a_driver_of_its_own_devices(platform: str, image: Tree) -> None:
    gone = find_unneeded_modules(read_modules(image, find_kernel_release(image)), [platform])
    groups = {choose_group(path.removeprefix("kernel/")) for path in gone}
    assert not {f"drivers of {family}" for family in PLATFORMS[platform]} & groups

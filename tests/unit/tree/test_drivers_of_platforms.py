"""Which kernel modules an image keeps that says which platforms it is for."""

from __future__ import annotations

import lzma
from collections.abc import Mapping, Sequence

import pytest

from builder.core.platform_devices import EVERYTHING, FAMILIES, PLATFORMS, find_families, list_missing_families
from builder.tree.drivers import find_unneeded_modules, remove_modules
from builder.tree.modules import Modules
from builder.tree.node import make_file
from builder.tree.tree import Tree
from firstboot.platform_index import load_index

pytestmark = pytest.mark.unit

BASE = "/usr/lib/modules/6.12"
DRIVERS = "kernel/drivers"
VIRTIO = f"{DRIVERS}/block/virtio_blk.ko.xz"
BUS = f"{DRIVERS}/hv/hv_vmbus.ko.xz"
HYPERV = f"{DRIVERS}/net/hyperv/hv_netvsc.ko.xz"
NITRO = f"{DRIVERS}/net/ethernet/amazon/ena/ena.ko.xz"
CARD = f"{DRIVERS}/net/ethernet/mellanox/mlx5/core/mlx5_core.ko.xz"
CARD_FIRMWARE = f"{DRIVERS}/net/ethernet/mellanox/mlxfw/mlxfw.ko.xz"
HELPER = "kernel/net/core/helper.ko.xz"
UNKNOWN = f"{DRIVERS}/net/ethernet/newest/newest.ko.xz"
BTRFS, RAID6 = "kernel/fs/btrfs/btrfs.ko.xz", "kernel/lib/raid6/raid6_pq.ko.xz"
NEEDS: Mapping[str, Sequence[str]] = {
    VIRTIO: (),
    BUS: (),
    HYPERV: (BUS, HELPER),
    NITRO: (),
    CARD: (HELPER, CARD_FIRMWARE),
    CARD_FIRMWARE: (),
    HELPER: (),
    UNKNOWN: (),
    BTRFS: (RAID6,),
    RAID6: (),
}


def name(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


def modules(*asked_for: str) -> Modules:
    drivers = ("virtio_blk", "hv_vmbus", "hv_netvsc", "ena", "mlx5_core", "newest", "btrfs")
    return Modules(BASE, {name(path): path for path in NEEDS}, NEEDS, frozenset((*drivers, *asked_for)))


def test_every_platform_that_machines_know_has_a_row_and_no_other_has() -> None:
    assert tuple(PLATFORMS) == load_index().names
    assert all(families and families <= EVERYTHING for families in PLATFORMS.values())


def test_who_names_no_platform_keeps_all() -> None:
    assert list_missing_families([]) == []
    assert find_unneeded_modules(modules(), []) == set()


def test_clouds_that_give_out_machines_of_metal_keep_all() -> None:
    assert list_missing_families(["openstack"]) == list_missing_families(["metal"]) == []


def test_the_library_that_graphics_drivers_need_goes_only_where_there_are_none() -> None:
    cec, seco = f"{DRIVERS}/media/cec/core/cec.ko.xz", f"{DRIVERS}/media/cec/platform/seco/seco-cec.ko.xz"
    helper = f"{DRIVERS}/gpu/drm/display/drm_display_helper.ko.xz"
    card = f"{DRIVERS}/gpu/drm/amd/amdgpu/amdgpu.ko.xz"
    needs = {cec: (), seco: (cec,), helper: (cec,), card: (helper, cec)}
    drivers = Modules(BASE, {name(path): path for path in needs}, needs, frozenset(("amdgpu", "seco_cec")))
    assert find_unneeded_modules(drivers, ["qemu"]) == {seco}
    of_clouds = Modules(BASE, {name(path): path for path in (cec, seco)}, {cec: (), seco: (cec,)}, drivers.asked_for)
    assert find_unneeded_modules(of_clouds, ["qemu"]) == {cec, seco}


@pytest.mark.parametrize(
    ("platforms", "gone"),
    [
        (["qemu"], {BUS, HYPERV, NITRO, CARD, CARD_FIRMWARE, HELPER}),
        (["aws"], {VIRTIO, BUS, HYPERV, CARD, CARD_FIRMWARE, HELPER}),
        (["azure"], {VIRTIO, NITRO}),
        (["qemu", "azure"], {NITRO}),
        (["qemu", "metal"], set()),
    ],
)
def test_drivers_of_what_no_platform_has_go_with_what_serves_them_alone(platforms: list[str], gone: set[str]) -> None:
    assert find_unneeded_modules(modules(), platforms) == gone


def test_a_module_that_is_asked_for_by_itself_stays_when_its_users_go() -> None:
    assert HELPER not in find_unneeded_modules(modules("helper"), ["qemu"])


def test_a_module_that_is_wanted_stays_with_what_it_needs() -> None:
    gone = find_unneeded_modules(modules(), ["qemu"], wanted=["hv-netvsc"])
    assert gone == {NITRO, CARD, CARD_FIRMWARE}


def test_what_is_removed_by_name_goes_with_what_it_alone_needs_unless_it_is_kept() -> None:
    glob = "/usr/lib/modules/*/kernel/fs/btrfs/*"
    assert find_unneeded_modules(modules(), [], [glob]) == {BTRFS, RAID6}
    assert find_unneeded_modules(modules("raid6_pq"), [], [glob]) == {BTRFS}
    assert find_unneeded_modules(modules(), [], [glob], ["*/btrfs.ko*"]) == set()


def test_what_could_not_be_loaded_any_more_goes_too() -> None:
    assert find_unneeded_modules(modules(), [], ["*/raid6_pq.ko*"]) == {BTRFS, RAID6}


def test_families_of_a_module_are_known_by_its_name_in_either_spelling() -> None:
    assert find_families("virtio-blk") == find_families("virtio_blk") == ["virtio"]
    assert find_families("hv_netvsc") == ["hyperv"]
    assert find_families("br_netfilter") == []
    assert set(FAMILIES) == EVERYTHING


def test_firmware_goes_that_only_modules_load_which_are_gone() -> None:
    tree = Tree()
    lines = [f"{path}: {' '.join(needs)}" for path, needs in NEEDS.items()]
    tree.put(f"{BASE}/modules.dep", make_file("\n".join(lines) + "\n", origin="t"))
    tree.put(f"{BASE}/modules.softdep", make_file("", origin="t"))
    tree.put(f"{BASE}/modules.alias", make_file("alias pci:v00001D0Fd* ena\nalias pci:v15B3* mlx5_core\n", origin="t"))
    loads = {CARD: ["mellanox/a.mfa2", "shared.bin"], NITRO: ["shared.bin", "amazon-*.bin"]}
    for path in NEEDS:
        data = b"\x7fELF\0license=GPL\0" + b"".join(b"firmware=%s\0" % f.encode() for f in loads.get(path, []))
        tree.put(f"{BASE}/{path}", make_file(lzma.compress(data), origin="package:linux"))
    for file in ("mellanox/a.mfa2.xz", "shared.bin", "amazon-1.bin", "of-no-module.bin"):
        tree.put(f"/usr/lib/firmware/{file}", make_file("x", origin="package:firmware"))
    assert f"{BASE}/{CARD}" in remove_modules(tree, "6.12", ["aws"])
    left = {path for path, _ in tree.walk("/usr/lib/firmware")}
    assert left >= {f"/usr/lib/firmware/{file}" for file in ("shared.bin", "amazon-1.bin", "of-no-module.bin")}
    assert "/usr/lib/firmware/mellanox/a.mfa2.xz" not in left
    assert f"{BASE}/{NITRO}" in tree
    assert f"{BASE}/{CARD}" not in tree

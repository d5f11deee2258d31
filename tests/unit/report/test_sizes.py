"""``build-os size`` and budgets: what is counted, what is compared, and what is refused."""

from __future__ import annotations

import pytest

from builder.build.budget import require_budget
from builder.core.errors import InputError
from builder.definition.model import Budget, ExtensionBudget
from builder.definition.scalars import Size
from builder.outputs.manifest import Artifact
from builder.report.page import make_size_page
from builder.report.sizes import decode_sizes, encode_sizes, format_sizes, list_changes, measure_sizes
from builder.tree.node import Slice, make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

MIB = 1 << 20


def make_tree(**more: int) -> Tree:
    """A tree of three origins; ``more`` are packages with a program of that many bytes."""
    tree = Tree()
    tree.put("/usr/lib/modules/6/kernel/a.ko", make_file(b"m" * 300, origin="package:linux"))
    tree.put("/usr/bin/bash", make_file(b"b" * 200, origin="package:bash"))
    tree.put("/etc/motd", make_file(b"hello", origin="overlay:base"))
    shared = Slice("/store/pack", 0, 50)
    for name in ("one", "two"):  # names of one file
        tree.put(f"/usr/share/{name}", tree.require("/etc/motd").copy_with(content=shared, origin="package:bash"))
    for name, size in more.items():
        tree.put(f"/usr/bin/{name}", make_file(b"x" * size, origin=f"package:{name}"))
    return tree


def test_files_are_counted_once_by_package_directory_and_kind() -> None:
    sizes = measure_sizes(make_tree(), {"demo.qcow2": 1000})
    assert sizes.packages == {"package:linux": 300, "package:bash": 250, "overlay:base": 5}
    assert sizes.directories == {"/usr/lib/modules": 300, "/usr/bin": 200, "/usr/share": 50, "/etc": 5}
    assert sizes.kinds == {"kernel modules": 300, "programs": 200, "data": 50, "other": 5}
    assert sizes.total == 555
    assert decode_sizes(encode_sizes(sizes)) == sizes


def test_kernel_modules_are_grouped_by_whose_devices_they_drive() -> None:
    tree = make_tree()
    for path in ("drivers/net/hyperv/hv_netvsc.ko.xz", "drivers/hv/hv_vmbus.ko.xz", "fs/btrfs/btrfs.ko.xz"):
        tree.put(f"/usr/lib/modules/6/kernel/{path}", make_file(b"m" * 100, origin="package:linux"))
    tree.put("/usr/lib/modules/6/modules.dep", make_file(b"x", origin="package:linux"))
    sizes = measure_sizes(tree, {})
    assert sizes.modules == {"a.ko": 300, "drivers of hyperv": 200, "fs": 100}
    assert decode_sizes(encode_sizes(sizes)) == sizes
    assert any("drivers of hyperv" in line for line in format_sizes(sizes))


def test_what_a_package_has_added_is_said() -> None:
    before, now = measure_sizes(make_tree(gone=70), {}), measure_sizes(make_tree(htop=4000), {})
    assert list_changes(before.packages, now.packages) == [("package:htop", 4000), ("package:gone", -70)]
    lines = format_sizes(now, before)
    assert "against the build before: +3.9 kB" in lines
    assert "     +4.0 kB  package:htop" in lines
    assert "       -70 B  package:gone" in lines


def test_only_the_largest_are_shown_and_the_rest_is_summed_up() -> None:
    lines = format_sizes(measure_sizes(make_tree(a=1, b=2, c=3), {}), shown=2)
    package = lines[lines.index("package") :]
    assert package[3].split() == ["11", "B", "4", "more"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 1}', '{"schema": 1, "packages": {"a": "b"}}'])
def test_what_is_no_list_of_sizes_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own or ours
        decode_sizes(text)


def test_a_tree_without_a_byte_has_no_size() -> None:
    sizes = measure_sizes(Tree(), {"tools_1.raw": 0})
    assert format_sizes(sizes)[0].startswith("0 B")
    assert "         0 B   0.0 %  tools_1.raw" in format_sizes(sizes)
    assert "<pre>0 B" in make_size_page("tools 1", sizes, None, Tree())


def test_the_map_has_what_is_in_the_tables() -> None:
    tree = make_tree()
    page = make_size_page("demo <1>", measure_sizes(tree, {"demo.qcow2": 1000}), None, tree)
    assert "<title>demo &lt;1&gt;</title>" in page
    assert "package:linux: 300 B" in page
    assert "demo.qcow2" in page


ARTIFACTS = {
    "uki": Artifact("demo.efi", 20 * MIB, "", "efi"),
    "initrd": Artifact("demo.initrd", 10 * MIB, "", "initrd"),
    "qcow2": Artifact("demo.qcow2", 180 * MIB, "", "qcow2"),
}


def judge(before: Tree | None = None, **limits: str) -> None:
    budget = Budget(**{name: Size.parse(value) for name, value in limits.items()})
    tree = make_tree(htop=4000)
    require_budget(budget, ARTIFACTS, ["qcow2"], 150 * MIB, tree, lambda: before)


def test_a_build_within_its_budget_or_without_one_is_not_refused() -> None:
    judge()
    judge(image="180M", root="150M", boot="20M", initrd="10M")


@pytest.mark.parametrize(
    ("name", "limit", "what"),
    [
        ("image", "179M", "demo.qcow2"),
        ("root", "1M", "the root"),
        ("boot", "19M", "demo.efi"),
        ("initrd", "9M", "demo"),
    ],
)
def test_a_build_over_a_budget_is_refused_with_what_has_grown(name: str, limit: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        judge(make_tree(), **{name: limit})
    error = caught.value
    assert error.exit_code == 2
    assert error.what.startswith(what)
    assert f"budget.{name} ({limit})" in error.what
    assert error.details[0] == "since the last build: +4.0 kB package:htop"
    assert "largest: 4.0 kB package:htop" in error.details


def test_an_extension_has_a_budget_for_what_it_has() -> None:
    image = {"extension": Artifact("tools_1.raw", 3 * MIB, "", "raw")}
    tree = make_tree(htop=4000)
    budget = ExtensionBudget(image=Size.parse("3M"), root=Size.parse("2M"))
    require_budget(budget, image, ["extension"], 2 * MIB, tree, lambda: None)
    with pytest.raises(InputError, match=r"tools_1\.raw has 3\.1 MB, .* more than budget\.image \(2M\)") as caught:
        require_budget(ExtensionBudget(image=Size.parse("2M")), image, ["extension"], 2 * MIB, tree, make_tree)
    assert caught.value.details[0] == "since the last build: +4.0 kB package:htop"


def test_all_that_is_over_its_budget_is_named() -> None:
    with pytest.raises(InputError) as caught:
        judge(image="1M", boot="1M")
    assert "budget.boot" in caught.value.details[0]

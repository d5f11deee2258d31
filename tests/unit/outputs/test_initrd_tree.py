"""What an initrd carries: only what the way to the root needs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from builder.core.tools import Tools
from builder.outputs import initrd as module
from builder.outputs.initrd import (
    DATA,
    LOAD_NOW,
    PIECE,
    PROGRAMS,
    RULES,
    WATCHDOG,
    make_initrd_tree,
    split_by_package,
    unpack_modules,
    write_initrd,
)
from builder.tree.node import Kind, make_directory, make_file, make_symlink
from builder.tree.tree import Tree, TreeError

pytestmark = pytest.mark.unit

BASE = "/usr/lib/modules/6.12"
OVERLAYS = Path(__file__).parents[3] / "overlays"


def test_it_has_what_it_needs_and_neither_shell_nor_python_nor_secrets(image: Tree, overlay: Path) -> None:
    tree = make_initrd_tree(image, [overlay])
    for path in (*PROGRAMS, *DATA, "/init", "/etc/initrd-release", "/etc/passwd"):
        assert tree.get(path, follow=True) is not None, path
    for path in ("/usr/bin/python3", "/usr/bin/bash", "/etc/shadow", f"{BASE}/vmlinuz"):
        assert path not in tree
    assert tree.resolve("/init") == "/usr/lib/systemd/systemd"
    assert tree.resolve("/usr/sbin/modprobe") == "/usr/bin/kmod"
    assert tree.resolve("/usr/sbin/mkfs.ext4") == "/usr/sbin/mke2fs"


def test_modules_come_unpacked_with_what_they_need_and_are_loaded_early(image: Tree, overlay: Path) -> None:
    tree = unpack_modules(make_initrd_tree(image, [overlay], ["mine"]))
    found = [path.removeprefix(f"{BASE}/") for path, n in tree.walk(BASE) if n.kind is Kind.FILE]
    assert found == ["kernel/dm-verity.ko", "kernel/mine.ko", "kernel/needed.ko", "modules.builtin"]
    assert tree.read(f"{BASE}/kernel/mine.ko") == b"mine"
    assert tree.read_text("/usr/lib/modules-load.d/initrd.conf").split() == list(LOAD_NOW)
    assert f"{BASE}/kernel/mine.ko" not in make_initrd_tree(image, [overlay])


def test_an_image_with_a_watchdog_has_it_and_its_driver_on_the_way_to_the_root_too(image: Tree, overlay: Path) -> None:
    driver = f"{BASE}/kernel/i6300esb.ko.xz"
    assert not {driver, WATCHDOG} & {path for path, _ in make_initrd_tree(image, [overlay]).walk()}
    text = (OVERLAYS / f"updates{WATCHDOG}").read_text()
    assert "RuntimeWatchdogSec=1min" in text.splitlines()
    image.put(WATCHDOG, make_file(text, origin="overlay:updates"))
    tree = make_initrd_tree(image, [overlay])
    assert tree.read_text(WATCHDOG) == text
    assert driver in tree
    image.put("/etc/systemd", make_directory(origin="overlay:mine"))
    image.put("/etc/systemd/system.conf.d", make_directory(origin="overlay:mine"))
    own = "/etc/systemd/system.conf.d/60-mine.conf"
    image.put(own, make_file("[Manager]\nRuntimeWatchdogSec=off\n", origin="overlay:mine"))
    assert own in make_initrd_tree(image, [overlay])  # or it would be on until the root says otherwise


def test_units_are_ours_and_wanted_by_us_alone(image: Tree, overlay: Path) -> None:
    tree = make_initrd_tree(image, [overlay])
    system = "/usr/lib/systemd/system"
    assert tree.read(f"{system}/sysroot.mount") == b"ours"
    assert tree.read(f"{system}/systemd-repart.service") == b"ours"
    assert f"{system}/sysinit.target.wants/unwanted.service" not in tree
    assert tree.resolve(f"{system}/default.target") == f"{system}/initrd.target"
    for path, node in tree.walk(system):
        if node.kind is Kind.SYMLINK:
            assert tree.get(path, follow=True) is not None, f"{path} leads nowhere"


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/kmod",
        "/usr/lib/systemd/system/initrd.target",
        f"/usr/lib/udev/rules.d/{RULES[0]}",
        "/etc/mke2fs.conf",
        f"{BASE}/modules.softdep",
    ],
)
def test_what_the_image_lacks_is_named(image: Tree, overlay: Path, path: str) -> None:
    image.remove(path)
    with pytest.raises(TreeError, match=f"the image has no {path}"):
        make_initrd_tree(image, [overlay])


def test_a_missing_program_is_told_before_a_missing_kernel(overlay: Path) -> None:
    with pytest.raises(TreeError, match="the image has no /usr/"):
        make_initrd_tree(Tree(), [overlay])


def test_the_same_image_gives_the_same_initrd(image: Tree, overlay: Path) -> None:
    one = make_initrd_tree(image, [overlay])
    copy = Tree(dict(reversed([(p, n.copy_with(origin="x", mtime=9)) for p, n in image.walk()])))
    two = make_initrd_tree(copy, [overlay])
    archives = []
    for tree in (one, two):
        out = io.BytesIO()
        module.write_cpio(tree, out)
        archives.append(out.getvalue())
    assert archives[0] == archives[1]


def test_a_large_package_is_compressed_by_itself_behind_the_directories_that_it_needs() -> None:
    tree = Tree()
    for name, size in (("ssl", PIECE), ("small", PIECE - 1), ("a", PIECE // 2), ("a/more", PIECE // 2)):
        package = f"package:{name.partition('/')[0]}"
        tree.put(f"/usr/lib/{name}/lib.so", make_file(b"x" * size, origin=package))
    tree.put("/usr/lib/ssl/link", make_symlink("lib.so", origin="package:ssl"))
    tree.put("/usr/ours", make_file(b"x" * PIECE, origin="stage:initrd"))
    first, *others = split_by_package(tree)
    assert [path for path, node in first.walk() if node.kind is not Kind.DIRECTORY] == [
        "/usr/lib/small/lib.so",
        "/usr/ours",
    ]
    assert {"/usr/lib/ssl", "/usr/lib/a/more"} <= {path for path, _ in first.walk()}
    assert [[path for path, _ in piece.walk() if path != "/"] for piece in others] == [
        ["/usr/lib/a/lib.so", "/usr/lib/a/more/lib.so"],
        ["/usr/lib/ssl/lib.so", "/usr/lib/ssl/link"],
    ]


def test_the_archive_is_written_with_the_modules_indexed_and_nothing_left(
    image: Tree, overlay: Path, tmp_path: Path, writing_tools: Tools
) -> None:
    seen = []

    def zstd(*arguments: str) -> str:
        seen.append(Path(arguments[-3]).read_bytes())
        return ""

    writing_tools.programs["zstd"] = zstd
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    write_initrd(make_initrd_tree(image, [overlay]), writing_tools, scratch, tmp_path / "out")
    assert b"usr/lib/modules/6.12/modules.dep.bin\0" in seen[0]
    assert list(scratch.iterdir()) == []


def test_a_module_that_the_definition_names_must_exist(image: Tree, overlay: Path) -> None:
    make_initrd_tree(image, [overlay], ["loop"])
    with pytest.raises(TreeError, match=r"kernel 6\.12 has no module mime \(did you mean 'mine'\?\)"):
        make_initrd_tree(image, [overlay], ["mime"])


def test_places_to_mount_on_are_there_and_usr_is_merged(image: Tree, overlay: Path) -> None:
    tree = make_initrd_tree(image, [overlay])
    for path in ("/dev", "/proc", "/sys", "/run", "/tmp", "/sysroot", "/etc/mine"):
        assert tree.require(path).kind is Kind.DIRECTORY
    assert {name: tree.require(f"/{name}", follow=False).target for name in ("bin", "lib64")} == {
        "bin": "usr/bin",
        "lib64": "usr/lib64",
    }
    assert tree.require("/usr/lib/systemd").origin != "overlay:initrd"

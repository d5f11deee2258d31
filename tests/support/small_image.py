"""A small image that has everything outputs look for, and tools that write what theirs would."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from builder.core.tools import Tools
from builder.outputs.initrd import DATA, PROGRAMS, RULES, UNITS
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree

KERNEL = "/usr/lib/modules/6.12"
ROOT_HASH = "00112233445566778899aabbccddeeff" + "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


@pytest.fixture
def image() -> Tree:
    """An image with every program as a script, and much that an initrd does not want."""
    tree = Tree()
    for name in ("bin", "sbin", "lib", "lib64"):
        tree.put(f"/{name}", make_symlink(f"usr/{name}", origin="package:base-files"))

    def put(path: str, data: bytes | str, mode: int = 0o644) -> None:
        tree.put(path, make_file(data, mode, origin="package:a"))

    for program in PROGRAMS:
        put(program, "#!", 0o755)
    for unit in UNITS:
        put(f"/usr/lib/systemd/system/{unit}", unit)
    put("/usr/lib/systemd/system/sysinit.target.wants/unwanted.service", "")
    for rule in RULES:
        put(f"/usr/lib/udev/rules.d/{rule}", "")
    for path in (*DATA, "/etc/passwd", "/etc/group", "/usr/bin/python3", "/usr/bin/bash", "/etc/shadow"):
        put(path, "x")
    put(f"{KERNEL}/modules.dep", "kernel/dm-verity.ko.xz:\nkernel/mine.ko.xz: kernel/needed.ko\nkernel/needed.ko:\n")
    put(f"{KERNEL}/modules.softdep", "")
    put(f"{KERNEL}/modules.builtin", "kernel/loop.ko\n")
    put(f"{KERNEL}/vmlinuz", "kernel")
    for name in ("dm-verity", "mine"):
        put(f"{KERNEL}/kernel/{name}.ko.xz", lzma.compress(name.encode()))
    put(f"{KERNEL}/kernel/needed.ko", "needed")
    for arch in ("x64", "aa64"):
        put(f"/usr/lib/systemd/boot/efi/systemd-boot{arch}.efi", f"loader {arch}")
        put(f"/usr/lib/systemd/boot/efi/linux{arch}.efi.stub", f"stub {arch}")
    return tree


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """The initrd's own units."""
    root = tmp_path / "overlay"
    (root / "usr/lib/systemd/system").mkdir(parents=True)
    (root / "usr/lib/systemd/system/sysroot.mount").write_text("ours")
    (root / "usr/lib/systemd/system/systemd-repart.service").write_text("ours")
    (root / "etc/mine").mkdir(parents=True)
    return root


@pytest.fixture
def writing_tools(fake_tools: Tools) -> Tools:
    """Every program that outputs run, as a function that writes a file of a few bytes."""

    def mkfs(*arguments: str) -> str:
        Path(arguments[-2]).write_bytes(b"erofs of %d bytes" % len(Path(arguments[-1]).read_bytes()))
        return ""

    def veritysetup(*arguments: str) -> str:
        Path(arguments[-1]).write_text("hashes")
        return f"Root hash:      \t{ROOT_HASH}\n"

    def depmod(flag: str, root: str, release: str) -> str:
        (Path(root) / f"usr/lib/modules/{release}/modules.dep.bin").write_text("index")
        return ""

    def zstd(*arguments: str) -> str:
        Path(arguments[-1]).write_bytes(b"zstd of %d bytes" % Path(arguments[-3]).stat().st_size)
        return ""

    def ukify(*arguments: str) -> str:
        options = dict(word.removeprefix("--").split("=", 1) for word in arguments[1:])
        Path(options["output"]).write_text("uki: " + Path(options["cmdline"].removeprefix("@")).read_text())
        return ""

    def repart(*arguments: str) -> str:
        Path(arguments[-1]).write_text("disk")
        return ""

    fake_tools.programs.update(
        {
            "mkfs.erofs": mkfs,
            "veritysetup": veritysetup,
            "depmod": depmod,
            "zstd": zstd,
            "ukify": ukify,
            "systemd-repart": repart,
        }
    )
    return fake_tools

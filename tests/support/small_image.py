"""A small image that has everything outputs look for, and tools that write what theirs would."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from builder.core.tools import Tools
from builder.outputs.initrd import DATA, PROGRAMS, RULES, UNITS
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree
from update.gpt import HEAD, SECTOR, SIGNATURE, TYPES

KERNEL = "/usr/lib/modules/6.12"


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
    needs = ("dm-verity.ko.xz:", "i6300esb.ko.xz:", "mine.ko.xz: kernel/needed.ko", "needed.ko:")
    put(f"{KERNEL}/modules.dep", "".join(f"kernel/{line}\n" for line in needs))
    put(f"{KERNEL}/modules.softdep", "")
    put(f"{KERNEL}/modules.builtin", "kernel/loop.ko\n")
    put(f"{KERNEL}/vmlinuz", "kernel")
    for name in ("dm-verity", "i6300esb", "mine"):
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
        data = b"erofs of %d bytes" % len(Path(arguments[-1]).read_bytes())
        Path(arguments[-2]).write_bytes(data.ljust(2 * 4096, b"\0"))
        return ""

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
        definitions = Path(next(word.partition("=")[2] for word in arguments if word.startswith("--definitions=")))
        Path(arguments[-1]).write_bytes(make_table([path.read_text() for path in sorted(definitions.iterdir())]))
        return ""

    fake_tools.programs.update(
        {
            "mkfs.erofs": mkfs,
            "depmod": depmod,
            "zstd": zstd,
            "ukify": ukify,
            "systemd-repart": repart,
        }
    )
    return fake_tools


def make_table(definitions: Sequence[str]) -> bytes:
    """A partition table (UEFI 2.10, section 5.3) of what is asked for by ``repart.d(5)``, one after the other."""
    entries, start = [], HEAD
    for text in definitions:
        lines = dict(line.partition("=")[::2] for line in text.splitlines())
        kind = lines["Type"].replace("-x86-64", "").replace("-arm64", "")
        size = int(lines["SizeMinBytes"])
        head = next(known for known, name in TYPES.items() if name == kind).bytes_le + UUID(lines["UUID"]).bytes_le
        sectors = struct.pack("<QQQ", start // SECTOR, (start + size) // SECTOR - 1, 0)
        entries.append((head + sectors + lines["Label"].encode("utf-16-le")).ljust(128, b"\0"))
        start += size
    header = SIGNATURE.ljust(72, b"\0") + struct.pack("<QII", 2, len(entries), 128)
    return bytes(SECTOR) + header.ljust(SECTOR, b"\0") + b"".join(entries)

"""A machine's state partition in a file or on a disk, what a bad disk may do to it, and the check of the initrd."""

from __future__ import annotations

import random
import re
import shlex
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from builder.core.tools import Tools

SCRIPT = Path(__file__).parents[2] / "overlays/base/usr/lib/build-os/check-state"
BLOCK = 4096


class State:
    """A state partition: a file, or a part of one that begins at ``offset``."""

    def __init__(self, path: Path, tools: Tools, offset: int = 0) -> None:
        self.path, self.tools, self.offset = path, tools, offset

    @property
    def device(self) -> str:
        """As e2fsprogs name it."""
        return f"{self.path}?offset={self.offset}" if self.offset else str(self.path)

    def debugfs(self, request: str) -> str:
        return self.tools.run("debugfs", "-R", request, self.device)

    def write(self, request: str) -> None:
        self.tools.run("debugfs", "-w", "-R", request, self.device)

    def inode(self, path: str) -> int:
        """Where the inode of a path is, in bytes."""
        found = re.search(r"located at block (\d+), offset (0x[0-9a-f]+)", self.debugfs(f"imap {named(path)}"))
        assert found is not None
        return int(found[1]) * BLOCK + int(found[2], 16)

    def number(self, path: str) -> int:
        """The number of an inode."""
        found = re.search(r"Inode: (\d+)", self.debugfs(f"stat {named(path)}"))
        assert found is not None
        return int(found[1])

    def is_unreadable(self, path: str) -> bool:
        """Whether the inode of a path, or of a directory on the way, is none: what has no kind cannot be opened."""
        ways = [path, *(str(parent) for parent in Path(path).parents)]
        return any("Type: bad type" in self.debugfs(f"stat {named(way)}") for way in ways)

    def block(self, path: str, number: int = 0) -> int:
        """Where a block of what is at a path is, in bytes."""
        return int(self.debugfs(f"bmap {named(path)} {number}").split()[0]) * BLOCK

    def group(self, what: str, number: int = 0) -> int:
        """Where a part of a block group is, in bytes."""
        said = self.tools.run("dumpe2fs", self.device)
        found = re.findall(rf"{what} at (\d+)", said)
        return int(found[number]) * BLOCK

    def change(self, at: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(self.offset + at)
            file.write(data)

    def flip(self, at: int, length: int = 1, mask: int = 0xFF) -> None:
        with self.path.open("r+b") as file:
            file.seek(self.offset + at)
            data = file.read(length)
            file.seek(self.offset + at)
            file.write(bytes(byte ^ mask for byte in data))

    def note_an_error(self) -> None:
        """What the kernel writes into the superblock when it comes upon an error."""
        self.write("set_super_value state 2")

    def files(self, into: Path) -> tuple[dict[str, str], str]:
        """All that can be read, by path, and what is said of the rest. debugfs looks at the checksums that the kernel
        looks at; the bitmaps of what is free do not matter to either of them when it reads.
        """
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        argv = self.tools.make_argv("debugfs", "-c", "-R", f"rdump / {into}", self.device)
        done = subprocess.run(
            argv, capture_output=True, text=True, check=True, env=self.tools.make_environment(), errors="replace"
        )
        paths = [path for path in into.rglob("*") if path.is_file()]
        found = {str(path.relative_to(into)): path.read_bytes().decode("latin-1") for path in paths}
        # The first line is the version.
        return found, "\n".join(done.stderr.splitlines()[1:])


def named(path: str) -> str:
    """A path, or an inode by its number, as debugfs knows it."""
    return "<2>" if path == "." else path if path.startswith("<") else f"/{path}"


class End(NamedTuple):
    """How a check ended.

    Attributes:
        status: of the script: 0 go on, 1 stop.
        said: on the console.
        repaired: whether the root will be told that something was repaired.
    """

    status: int
    said: str
    repaired: bool

    @property
    def kind(self) -> str:
        return "stopped" if self.status else "repaired" if self.repaired else "in order"


Damage = Callable[[State], object]


def zeros(length: int) -> bytes:
    return bytes(length)


def in_inode_table(state: State, seed: int) -> None:
    """One bit, anywhere in the part of the inode table that is in use."""
    chosen = random.Random(seed)
    state.flip(state.group("Inode table") + chosen.randrange(450 * 256), mask=1 << chosen.randrange(8))


def in_metadata(state: State, seed: int) -> None:
    """One byte, anywhere in the first megabyte, which is metadata."""
    state.flip(random.Random(seed).randrange(1024, 1 << 20))


def unclean_journal(state: State) -> None:
    """A journal that has to be replayed, and is no journal where it begins."""
    state.write("set_super_value feature_incompat needs_recovery")
    state.write("feature needs_recovery")
    state.flip(state.block("<8>", 0), 64)


DAMAGES: dict[str, Damage] = {
    "superblock: one byte of its checksum": lambda state: state.flip(1024 + 0x3FC),
    "superblock: magic": lambda state: state.flip(1024 + 0x38, 2),
    "superblock: number of blocks": lambda state: state.flip(1024 + 4),
    "superblock: features": lambda state: state.flip(1024 + 0x60),
    "superblock: UUID": lambda state: state.flip(1024 + 0x68, 4),
    "superblock: zeros": lambda state: state.change(1024, zeros(1024)),
    "superblock and all its copies: zeros": lambda state: [
        state.change(at, zeros(1024)) for at in (1024, *(number * 32768 * BLOCK for number in (1,)))
    ],
    "first 64 KiB: zeros": lambda state: state.change(0, zeros(65536)),
    "group descriptors: one byte": lambda state: state.flip(BLOCK + 8),
    "group descriptors: place of the inode table": lambda state: state.change(BLOCK + 8, struct.pack("<I", 7)),
    "group descriptors: zeros": lambda state: state.change(BLOCK, zeros(BLOCK)),
    "block bitmap: one byte": lambda state: state.flip(state.group("Block bitmap") + 40),
    "block bitmap: zeros": lambda state: state.change(state.group("Block bitmap"), zeros(BLOCK)),
    "inode bitmap: one byte": lambda state: state.flip(state.group("Inode bitmap") + 2),
    "inode bitmap: zeros": lambda state: state.change(state.group("Inode bitmap"), zeros(BLOCK)),
    "inode of the root: mode": lambda state: state.flip(state.inode("."), 2),
    "inode of the root: zeros": lambda state: state.change(state.inode("."), zeros(256)),
    "inode of firstboot: one byte": lambda state: state.flip(state.inode("firstboot") + 0x30),
    "inode of firstboot: zeros": lambda state: state.change(state.inode("firstboot"), zeros(256)),
    "inode of the mark: one byte": lambda state: state.flip(state.inode("firstboot/complete") + 0x28),
    "inode of the mark: zeros": lambda state: state.change(state.inode("firstboot/complete"), zeros(256)),
    "inode of the second witness: zeros": lambda state: state.change(state.inode("provisioned"), zeros(256)),
    "inode of var: zeros": lambda state: state.change(state.inode("var"), zeros(256)),
    "inode of etc/upper: extents": lambda state: state.flip(state.inode("etc/upper") + 0x28, 12),
    "inode of a file: size": lambda state: state.flip(state.inode("etc/upper/hostname") + 4),
    "inode of a file: mode": lambda state: state.flip(state.inode("etc/upper/ssh/key")),
    "inode of a file: checksum": lambda state: state.flip(state.inode("etc/upper/hostname") + 0x7C, 2),
    "inode of a large file: extents": lambda state: state.flip(state.inode("var/lib/large") + 0x28, 24),
    "inode table: sixteen inodes of zeros": lambda state: state.change(state.inode("var/lib/app/7"), zeros(BLOCK)),
    "directory of the root: one byte": lambda state: state.flip(state.block(".") + 30),
    "directory of the root: zeros": lambda state: state.change(state.block("."), zeros(BLOCK)),
    "directory firstboot: one byte": lambda state: state.flip(state.block("firstboot") + 26),
    "directory firstboot: the name of the mark": lambda state: state.flip(state.block("firstboot") + 32),
    "directory firstboot: zeros": lambda state: state.change(state.block("firstboot"), zeros(BLOCK)),
    "directory etc/upper: zeros": lambda state: state.change(state.block("etc/upper"), zeros(BLOCK)),
    "directory var/lib: one sector of zeros": lambda state: state.change(state.block("var/lib"), zeros(512)),
    "directory of many files: its index": lambda state: state.flip(state.block("var/lib/app", 0) + 40, 8),
    "directory of many files: a leaf": lambda state: state.change(state.block("var/lib/app", 1), zeros(BLOCK)),
    "journal: its superblock": lambda state: state.flip(state.block("<8>", 0), 64),
    "journal: its superblock, and it is needed": unclean_journal,
    "journal: its inode": lambda state: state.change(state.inode("<8>"), zeros(256)),
    "lost+found: gone": lambda state: state.change(state.inode("lost+found"), zeros(256)),
    **{
        f"inode table: bit {seed} by chance": lambda state, seed=seed: in_inode_table(state, seed) for seed in range(12)
    },
    **{f"metadata: byte {seed} by chance": lambda state, seed=seed: in_metadata(state, seed) for seed in range(8)},
}


class Check:
    """Runs the initrd's script on a file, with the e2fsck of the tools tree, which is of the image's own suite."""

    def __init__(self, tools: Tools, scratch: Path) -> None:
        self.tools = tools
        self.programs, self.run = scratch / "bin", scratch / "run"
        self.programs.mkdir()
        self.run.mkdir()
        wrapper = self.programs / "e2fsck"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(tools.make_argv("e2fsck"))} "$@"\n')
        wrapper.chmod(0o755)

    def __call__(self, path: Path) -> End:
        (self.run / "state-repaired").unlink(missing_ok=True)
        environment = self.tools.make_environment({"PATH": f"{self.programs}:/usr/bin:/bin"})
        argv = [shutil.which("dash") or "/bin/sh", SCRIPT, path, self.run]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, errors="replace")
        assert done.stdout == ""
        return End(done.returncode, done.stderr, (self.run / "state-repaired").exists())

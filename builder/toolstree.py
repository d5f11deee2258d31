"""The tools tree: the programs that a build runs, from locked debs, unpacked by the same code as the image."""

from __future__ import annotations

import json
import os
import platform
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.architecture import find_host_arch, require_architecture
from builder.core.console import Console
from builder.core.errors import CapabilityError
from builder.core.kept import TOOLS, derive_key, keep, look_up
from builder.core.scratch import open_scratch
from builder.core.store import Store
from builder.core.tools import FOR_SCRIPTS, Tools
from builder.debian.lock import LockedPackage
from builder.tree.elf import find_closure
from builder.tree.materialise import write_node
from builder.tree.node import Kind, Node
from builder.tree.tree import Tree
from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from builder.debian import unpack
else:
    unpack = import_lazily("builder.debian.unpack")  # most builds find the tree in the store

# What outputs and stages run. Machines run in the emulator for their own architecture.
PACKAGES = (
    "bash",
    "bubblewrap",
    "coreutils",
    "cryptsetup-bin",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fakeroot",
    "fdisk",
    "kmod",
    "libc-bin",
    "libfaketime",  # another clock, for build-os verify
    "mtools",
    "openssh-client",
    "openssl",
    "pigz",
    "python3",
    "python3-pefile",
    "python3-seccomp",
    "qemu-utils",
    "systemd",
    "systemd-repart",
    "systemd-ukify",
    "udev",
    "zstd",
)
# What maintainer scripts call, for those that run in the sandbox and whose image does not have it.
SCRIPTS_CALL = (
    "adduser",
    "debconf",
    "debianutils",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "hostname",
    "init-system-helpers",
    "mawk",
    "passwd",
    "perl-base",
    "sed",
    "sensible-utils",
    "ucf",
)
# Asked for by packages above, and used by nothing we run.
EXCLUDE = (
    "dbus",
    "dbus-bin",
    "libpam-systemd",
    "systemd-sysv",
)
NOT_CALLED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/lintian/", "/var/")


def list_tool_packages(arch: str) -> tuple[str, ...]:
    """The names to resolve for building and booting images of an architecture, sorted."""
    return tuple(sorted((*PACKAGES, *SCRIPTS_CALL, *require_architecture(arch).emulator.packages)))


def open_tools(
    packages: tuple[LockedPackage, ...],
    store: Store,
    console: Console,
    refetch: Callable[[LockedPackage], None] | None = None,
) -> Tools:
    """The tools tree made of these packages, unpacked now if it is not in the store.

    Raises:
        SourceError: a deb is damaged.
        CapabilityError: the store cannot be written, or these are tools for another machine than this.
    """
    foreign = {package.architecture for package in packages} - {"all", find_host_arch()}
    if foreign:
        raise CapabilityError(
            f"the lock's tools are for {', '.join(sorted(foreign))}, and this machine is {platform.machine()}",
            hint="run 'build-os lock' on this machine, or build on one like that which made the lock",
        )
    inputs = collect_tools_inputs(packages)
    key = derive_key(inputs)
    if look_up(store, TOOLS, key)[0] is None:

        def make(fresh: Path) -> None:
            packs = unpack.unpack_all(packages, store, console, jobs=(os.cpu_count() or 1) + 1, refetch=refetch)
            _write(unpack.unpack_tree(packs), fresh)

        with (
            store.lock(f"tools-{key}", console, "unpacking the tools tree"),
            open_scratch(store, console) as scratch,
            console.open_step("unpack tools"),
        ):
            keep(store, TOOLS, inputs, make, console, scratch)
    return Tools(store.root / TOOLS.name / key, console)


def collect_tools_inputs(packages: Sequence[LockedPackage]) -> dict[str, str]:
    """What the tools tree of these packages is made of."""
    return {package.name: package.sha256 for package in sorted(packages, key=lambda package: package.name)}


def derive_tools_key(packages: Sequence[LockedPackage]) -> str:
    """The name of the tools tree of these packages: what a program of it made depends on it."""
    return derive_key(collect_tools_inputs(packages))


def _write(tree: Tree, root: Path) -> None:
    for path, node in tree.walk():
        if path != "/":
            write_node(root, path, _tame(node))
    (root / ".root").mkdir()  # where builder.core.enter builds its view
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/nonexistent:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for name in ("resolv.conf", "hosts"):
        (root / "etc" / name).touch()  # the host's own is bound over it
    (root / FOR_SCRIPTS).write_text(json.dumps(_for_scripts(tree)))


def _for_scripts(tree: Tree) -> list[str]:
    """The files and links of :data:`SCRIPTS_CALL`, and the libraries that their programs load."""
    origins = {f"package:{name}" for name in SCRIPTS_CALL}
    own = [
        path
        for path, node in tree.walk()
        if node.origin in origins and node.kind is not Kind.DIRECTORY and not path.startswith(NOT_CALLED)
    ]
    programs = [path for path in own if tree.require(path, follow=False).is_executable]
    return sorted({*own, *find_closure(tree, programs)})


def _tame(node: Node) -> Node:
    """Nothing in the tools tree runs with more rights than its caller."""
    if node.kind is Kind.FILE:
        return node.copy_with(mode=node.mode & ~(stat.S_ISUID | stat.S_ISGID))
    return node

"""The tools tree: the programs that a build runs, from locked debs, unpacked by the same code as the image."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.core.architecture import architecture, host_arch
from builder.core.console import Console
from builder.core.errors import CapabilityError
from builder.core.files import sync_file_system
from builder.core.sealed import read_sealed, write_sealed
from builder.core.store import Store
from builder.core.tools import FOR_SCRIPTS, Tools
from builder.debian.lock import LockedPackage
from builder.debian.unpack import unpack_all, unpack_tree
from builder.tree.elf import find_closure
from builder.tree.materialise import write_node
from builder.tree.node import Kind, Node
from builder.tree.tree import Tree

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
LAYOUT = "3"
# Of a whole tree: what its files are. It is written last.
LISTING, LISTED = ".complete", "tools 1"


def packages_for(arch: str) -> tuple[str, ...]:
    """The names to resolve for building and booting images of an architecture, sorted."""
    return tuple(sorted((*PACKAGES, *SCRIPTS_CALL, *architecture(arch).emulator.packages)))


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
    foreign = {package.architecture for package in packages} - {"all", host_arch()}
    if foreign:
        raise CapabilityError(
            f"the lock's tools are for {', '.join(sorted(foreign))}, and this machine is {platform.machine()}",
            hint="run 'build-os lock' on this machine, or build on one like that which made the lock",
        )
    key = hashlib.sha256("\n".join([LAYOUT, *sorted(p.sha256 for p in packages)]).encode()).hexdigest()[:32]
    root = store.root / "tools" / key
    if not is_whole(root):
        with store.lock(f"tools-{key}", console, "unpacking the tools tree"):
            if not is_whole(root):
                if root.exists():
                    console.warn(f"{root} in the store is damaged; unpacking the tools again")
                with console.step("unpack tools"):
                    packs = unpack_all(packages, store, console, jobs=(os.cpu_count() or 1) + 1, refetch=refetch)
                    _write(unpack_tree(packs), root)
    return Tools(root, console)


def is_whole(root: Path) -> bool:
    """Whether a tools tree is as it was unpacked, as far as names, types, modes, sizes and times of its files tell."""
    body = read_sealed(root / LISTING, LISTED)
    if body is None:
        return False
    try:
        found = dict(_entries(root))
    except OSError:
        return False
    del found[f"/{LISTING}"]
    return bool(found == json.loads(body))


def _entries(root: Path) -> Iterator[tuple[str, list[int | str]]]:
    """(path below the root, what it is) of all files and links."""
    for directory, directories, names in os.walk(root):
        links = [name for name in directories if os.path.islink(f"{directory}/{name}")]  # noqa: PTH114 - many
        for name in (*names, *links):
            path = f"{directory}/{name}"
            yield path.removeprefix(str(root)), _entry(path)


def _entry(path: str) -> list[int | str]:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return [os.readlink(path)]  # noqa: PTH115 - many
    return [status.st_mode, status.st_size, status.st_mtime_ns]


def _write(tree: Tree, root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    fresh = root.with_name(f".new-{root.name}")
    gone = root.with_name(f".old-{root.name}")
    for left in (fresh, gone):  # of a build that was killed: we hold the lock for this name
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir()
    try:
        fresh.chmod(0o755)
        for path, node in tree.walk():
            if path != "/":
                write_node(fresh, path, _tame(node))
        (fresh / ".root").mkdir()  # where builder.core.enter builds its view
        (fresh / "etc").mkdir(exist_ok=True)
        (fresh / "etc/passwd").write_text("root:x:0:0:root:/nonexistent:/bin/sh\n")
        (fresh / "etc/group").write_text("root:x:0:\n")
        for name in ("resolv.conf", "hosts"):
            (fresh / "etc" / name).touch()  # the host's own is bound over it
        # The listing knows files by size and time: their bytes are on the disk before it is.
        sync_file_system(fresh)
        (fresh / FOR_SCRIPTS).write_text(json.dumps(_for_scripts(tree)))
        write_sealed(fresh / LISTING, LISTED, json.dumps(dict(_entries(fresh))).encode())
        # Aside first: what another build has just started from there finds its files until the last moment.
        if root.exists():
            root.rename(gone)
        fresh.rename(root)
        shutil.rmtree(gone, ignore_errors=True)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


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
        return node.but(mode=node.mode & ~(stat.S_ISUID | stat.S_ISGID))
    return node

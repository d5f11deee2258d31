"""Run a program inside a tools tree. Executed by :mod:`builder.core.tools` as a script of its own, because
``unshare(CLONE_NEWUSER)`` needs a process with one thread. Standard library only.

Usage: enter.py [--bind=HOST:INSIDE ...] [--outlive] TREE PROGRAM [ARG ...]
       enter.py --probe

The new root is a tmpfs with the tree's ``/usr`` and ``/etc`` and every other top-level directory of the host.
"""

import ctypes
import os
import signal
import sys

CANNOT_ENTER = 125
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # sched.h
MS_RDONLY, MS_NOSUID, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 2, 32, 4096, 16384, 1 << 18, 2
PR_SET_PDEATHSIG = 1
# From the tree, not from the host. The links into usr exist on a merged-/usr system and point into the tree's.
TREE_DIRECTORIES = ("usr", "etc")
HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")
USR_LINKS = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Turn a C result into ``OSError``."""
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    done = libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None)
    check(done, f"mount {target}")


def bind(source: str, target: str) -> None:
    """Make ``source`` visible at ``target``, with all that is mounted below it."""
    mount(source, target, flags=MS_BIND | MS_REC)


def unshare() -> None:
    """A mount namespace of our own; where that is not allowed, inside a user namespace in which we are root."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 and libc.unshare(CLONE_NEWNS) == 0:
        return
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def enter(tree: str, binds: list[tuple[str, str]]) -> None:
    """Make the tree our root, keeping the working directory."""
    here = os.getcwd()
    unshare()
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    new = f"{tree}/.root"  # an empty directory that every tools tree has
    mount("tmpfs", new, "tmpfs", MS_NOSUID, "mode=755")
    for name in os.listdir("/"):
        if name in TREE_DIRECTORIES or name in USR_LINKS:
            continue
        source = f"/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), f"{new}{source}")
        elif os.path.isdir(source):
            os.mkdir(f"{new}{source}")
            bind(source, f"{new}{source}")
    for name in TREE_DIRECTORIES:
        os.mkdir(f"{new}/{name}")
        bind(f"{tree}/{name}", f"{new}/{name}")
    for name in USR_LINKS:
        if os.path.islink(f"{tree}/{name}"):
            os.symlink(f"usr/{name}", f"{new}/{name}")
    for path in HOST_FILES:
        # QEMU's user network asks the host's resolver; the tree has an empty file to bind over.
        if os.path.exists(path) and os.path.exists(f"{new}{path}"):
            bind(os.path.realpath(path), f"{new}{path}")
    for source, inside in binds:
        os.makedirs(f"{new}{inside}", exist_ok=True)
        bind(source, f"{new}{inside}")
    os.chroot(new)
    os.chdir(here)


def main(arguments: list[str]) -> None:
    """Enter and execute; exits with :data:`CANNOT_ENTER` when the kernel refuses."""
    try:
        if arguments[0] == "--probe":
            unshare()
            mount("none", "/", flags=MS_REC | MS_PRIVATE)
            mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID, "mode=755")
            return
        binds = []
        outlive = False
        while arguments[0].startswith("--"):
            option = arguments.pop(0)
            if option == "--outlive":
                outlive = True
            else:
                source, _, inside = option.removeprefix("--bind=").rpartition(":")
                binds.append((source, inside))
        tree, *command = arguments
        if not outlive:
            # A builder that is killed must not leave a QEMU or a mkfs behind.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        enter(tree, binds)
    except OSError as error:
        sys.stderr.write(f"cannot enter the tools tree: {error}\n")
        sys.exit(CANNOT_ENTER)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Run a program inside a tools tree. Executed by :mod:`builder.core.tools` as a script of its own, because
``unshare(CLONE_NEWUSER)`` needs a process with one thread. Standard library only.

Usage: enter.py [--bind=HOST:INSIDE ...] [--closed [--as=UID] | --outlive] TREE PROGRAM [ARG ...]
       enter.py --closed --empty TREE PROGRAM [ARG ...]
       enter.py --probe

The new root is a tmpfs with the tree's ``/usr`` and ``/etc``, read-only, and every other top-level directory of the
host. A closed program has namespaces of its own for users, processes, the network and IPC, and the devices of
:data:`DEVICES` (``namespaces(7)``, ``pivot_root(2)``).

An empty root has nothing of the host, no devices and no ``/proc``: only the tree's ``/usr``, at :data:`PROGRAMS`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

TYPE_CHECKING = False  # typing takes as long to import as all the rest
if TYPE_CHECKING:
    from collections.abc import Callable

CANNOT_ENTER = 125
KILLED = 192  # and the number of the signal: how the first process of a namespace says that its child was killed
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # sched.h
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x04000000, 0x08000000, 0x20000000, 0x40000000
CLOSED = CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_STRICTATIME, MNT_DETACH = 4096, 16384, 1 << 18, 1 << 24, 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
# capability.h: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETGID, SETUID, SETPCAP, SYS_CHROOT, SETFCAP.
KEPT, LAST = (0, 1, 2, 3, 4, 6, 7, 8, 18, 31), 63
# From the tree, not from the host. The links into usr exist on a merged-/usr system and point into the tree's.
TREE_DIRECTORIES = ("usr", "etc")
HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")
USR_LINKS = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}

# In an empty root, where the tree's programs are.
PROGRAMS = "/.build-os"
EMPTY_SIZE = "256m"

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


def unshare(closed: bool) -> None:
    """Namespaces of our own; where that is not allowed, or for a closed program, inside a user namespace."""
    flags = CLONE_NEWNS | (CLOSED if closed else 0)
    root = os.getuid() == 0
    if root and not closed and libc.unshare(flags) == 0:
        return
    ids = os.getuid(), os.getgid()
    writer = _map_all_ids() if root and closed else None
    refused = libc.unshare(CLONE_NEWUSER | flags)
    if refused and writer is not None:
        # No user namespace for root, as in some containers: everything else is still to be had with CAP_SYS_ADMIN.
        writer(False)
        check(libc.unshare(flags), "unshare")
        return
    check(refused, "unshare")
    if writer is None or not writer(True):
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {ids[0]} 1"), ("gid_map", f"0 {ids[1]} 1")):
            _write(f"/proc/self/{name}", text)


def _map_all_ids() -> Callable[[bool], bool]:
    """Prepare to give this process, in a new user namespace, all ids that it has now: only one outside it may.

    Returns:
        What does it, or not, and says whether it was done.
    """
    maps = {name: _same_ids(name) for name in ("uid_map", "gid_map")}
    go_read, go_write = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(go_write)
        done = os.read(go_read, 1) == b"1"
        try:
            for name, text in maps.items() if done else ():
                _write(f"/proc/{parent}/{name}", text)
        except OSError:
            done = False
        os._exit(0 if done else 1)
    os.close(go_read)

    def write(wanted: bool) -> bool:
        os.write(go_write, b"1" if wanted else b"0")
        os.close(go_write)
        return os.waitpid(child, 0)[1] == 0

    return write


def _same_ids(name: str) -> str:
    with open(f"/proc/self/{name}", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return "".join(f"{inside} {inside} {count}\n" for inside, _, count in rows)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def enter(tree: str, binds: list[tuple[str, str]], closed: bool) -> None:
    """Make the tree our root, keeping the working directory."""
    here = os.getcwd()
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    new = f"{tree}/.root"  # an empty directory that every tools tree has
    mount("tmpfs", new, "tmpfs", MS_NOSUID, "mode=755")
    ours = ("dev", "proc", "sys") if closed else ()
    for name in os.listdir("/"):
        if name in TREE_DIRECTORIES or name in USR_LINKS or name in ours:
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
    if closed:
        _surroundings(new)
    for path in HOST_FILES:
        # QEMU's user network asks the host's resolver; the tree has an empty file to bind over.
        if os.path.exists(path) and os.path.exists(f"{new}{path}"):
            bind(os.path.realpath(path), f"{new}{path}")
    for source, inside in binds:
        os.makedirs(f"{new}{inside}", exist_ok=True)
        bind(source, f"{new}{inside}")
    for name in TREE_DIRECTORIES:
        _read_only(f"{new}/{name}")
        if closed and os.path.isdir(f"{new}{tree}/{name}"):  # where the host has it
            bind(f"{new}/{name}", f"{new}{tree}/{name}")
            _read_only(f"{new}{tree}/{name}")
    _pivot(new)
    os.chdir(here)


def enter_empty(tree: str) -> None:
    """Make an empty file system our root, with the tree's programs at :data:`PROGRAMS`; the working directory is it."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    new = f"{tree}/.root"
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_STRICTATIME
    mount("tmpfs", new, "tmpfs", flags, f"mode=755,size={EMPTY_SIZE}")
    usr = f"{new}{PROGRAMS}/usr"
    os.makedirs(usr)
    bind(f"{tree}/usr", usr)
    _read_only(usr)
    _pivot(new)


def _pivot(new: str) -> None:
    os.chdir(new)
    check(libc.pivot_root(b".", b"."), "pivot_root")
    check(libc.umount2(b".", MNT_DETACH), "umount the old root")
    os.chdir("/")


def _read_only(target: str) -> None:
    """A bound directory becomes read-only; what the host's mount forbids already must stay forbidden."""
    flags = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    relatime = 1 << 21 if os.statvfs(target).f_flag & os.ST_RELATIME else 0
    mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | flags | relatime)


def _surroundings(new: str) -> None:
    for name in ("dev", "proc", "sys"):
        os.mkdir(f"{new}/{name}")
    try:
        mount("proc", f"{new}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except PermissionError:
        # A container whose own /proc is covered in part: its processes are all that is to be seen.
        bind("/proc", f"{new}/proc")
    mount("tmpfs", f"{new}/dev", "tmpfs", MS_NOSUID, "mode=755")
    for name in DEVICES:
        os.close(os.open(f"{new}/dev/{name}", os.O_CREAT | os.O_WRONLY))
        bind(f"/dev/{name}", f"{new}/dev/{name}")
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, f"{new}/dev/{name}")
    os.mkdir(f"{new}/dev/shm", 0o1777)
    os.chmod(f"{new}/dev/shm", 0o1777)


def give_up_rights(uid: int | None) -> None:
    """Become another user if asked to, and keep only the capabilities that working on files takes."""
    for capability in range(LAST + 1):
        if capability not in KEPT:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    if uid is not None and uid != os.getuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def die_with_parent() -> None:
    """A builder that is killed must not leave a QEMU or a mkfs behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run_in_child(work: Callable[[], object], *, first: bool) -> None:
    """Have a child do the work, wait for it, and end as it did. The ``first`` process of a namespace cannot be killed
    by itself: it tells its parent, who is."""
    child = os.fork()
    if child == 0:
        die_with_parent()
        work()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ended, status = 0, 0
    while ended != child:
        ended, status = os.wait()
    if first and os.WIFSIGNALED(status):
        os._exit(KILLED + os.WTERMSIG(status))
    code = os.WEXITSTATUS(status)
    if os.WIFSIGNALED(status) or code > KILLED:
        how = os.WTERMSIG(status) if os.WIFSIGNALED(status) else code - KILLED
        if how != signal.SIGKILL:
            signal.signal(how, signal.SIG_DFL)
        os.kill(os.getpid(), how)
    os._exit(code)


def main(arguments: list[str]) -> None:
    """Enter and execute; exits with :data:`CANNOT_ENTER` when the kernel refuses."""
    try:
        if arguments[0] == "--probe":
            unshare(closed=False)
            mount("none", "/", flags=MS_REC | MS_PRIVATE)
            mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID, "mode=755")
            return
        binds = []
        outlive = closed = empty = False
        uid = None
        while arguments[0].startswith("--"):
            option, _, value = arguments.pop(0).partition("=")
            if option == "--outlive":
                outlive = True
            elif option == "--closed":
                closed = True
            elif option == "--empty":
                empty = True
            elif option == "--as":
                uid = int(value)
            else:
                source, _, inside = value.rpartition(":")
                binds.append((source, inside))
        tree, *command = arguments
        if not outlive:
            die_with_parent()
        unshare(closed)
        if not closed:
            enter(tree, binds, closed)
            os.execv(command[0], command)
    except OSError as error:
        _refuse(error)

    def run() -> None:
        try:
            if empty:
                enter_empty(tree)
            else:
                enter(tree, binds, closed)
            give_up_rights(uid)
            die_with_parent()  # who becomes another user has forgotten it
        except OSError as error:
            _refuse(error)
        run_in_child(lambda: os.execv(command[0], command), first=True)

    run_in_child(run, first=False)


def _refuse(error: OSError) -> None:
    sys.stderr.write(f"cannot enter the tools tree: {error}\n")
    sys.stderr.flush()
    os._exit(CANNOT_ENTER)


if __name__ == "__main__":
    main(sys.argv[1:])

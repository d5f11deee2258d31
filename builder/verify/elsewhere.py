"""Change what a process can change of its machine, then start :mod:`builder.verify.perturbed`. Started as a process
of its own: ``unshare(CLONE_NEWUSER)`` needs one with one thread.

Usage: python -P -m builder.verify.elsewhere SPEC.json
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

from builder.core.enter import MS_BIND, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, bind, check, libc, mount

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER = 0x00020000, 0x04000000, 0x10000000  # sched.h
MS_RELATIME = 1 << 21
# sysconf(_SC_NPROCESSORS_ONLN) of every program reads it, and no affinity changes it.
PROCESSORS = "/sys/devices/system/cpu/online"


def main(path: str) -> None:
    """Change what the kernel lets us change; what it refuses stays as it is, and the report shows that."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - nothing may import pathlib before 'perturbed' does
        spec: dict[str, Any] = json.load(file)
    try:
        enter_namespaces(spec["uid"])
        socket.sethostname(spec["hostname"])
        read_only(spec["home"])
        bind(spec["processors"], PROCESSORS)
    except OSError as error:
        sys.stderr.write(f"not all surroundings can be changed here: {error}\n")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.umask(spec["umask"])
    os.chdir(spec["cwd"])
    # A fresh start, in which the hash seed counts and in which another user than root has no capabilities.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "builder.verify.perturbed", path])


def enter_namespaces(uid: int) -> None:
    """Another user id, and mounts and a host name of our own.

    Raises:
        OSError: the kernel refuses; user_namespaces(7) says when.
    """
    before = os.getuid(), os.getgid()
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {before[0]} 1"),
        ("gid_map", f"{uid} {before[1]} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def read_only(directory: str) -> None:
    """Nobody writes there, root included. A remount must keep the flags of the mount below (mount_namespaces(7))."""
    bind(directory, directory)
    had = os.statvfs(directory).f_flag
    keep = had & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    if had & os.ST_RELATIME:
        keep |= MS_RELATIME
    mount("none", directory, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | keep)


if __name__ == "__main__":
    main(sys.argv[1])

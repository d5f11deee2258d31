"""Become somebody else in a child process: an ordinary user whom nobody knows, or root of a container."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
UID = 12345  # nobody's: no account, no home, no line in /etc/subuid
# Runs as root; becomes what its second argument says and executes the rest. The first is paths that a user is shown.
_BECOME = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
CLONE_NEWNET, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, LAST = 0x40000000, 24, 38, 40
KEPT = (18, 31)  # CAP_SYS_CHROOT; CAP_SETFCAP, without which root cannot map itself (user_namespaces(7))
paths, kind, *command = sys.argv[1:]
network = 0 if "network" in kind else CLONE_NEWNET
if libc.unshare(network | CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
    sys.exit(77)
if kind.startswith("user"):
    # A Python below root's own home: nothing but that Python, and what is named, is let through.
    shown = {path: os.open(path, os.O_PATH) for path in (sys.base_prefix, sys.prefix, *paths.split(":"))}
    for path in shown:
        above = [path[:at] for at, letter in enumerate(path) if letter == "/" and at]
        shut = next((each for each in above if os.path.exists(each) and not os.stat(each).st_mode & 0o001), None)
        if shut:
            libc.mount(b"none", shut.encode(), b"tmpfs", 0, b"mode=755")
        if not os.path.exists(path):
            os.makedirs(path)
            libc.mount(b"/proc/self/fd/%d" % shown[path], path.encode(), None, MS_BIND | MS_REC, None)
    os.setgroups([])
    os.setgid(UID)
    os.setuid(UID)
else:
    for capability in range(LAST + 1):
        if capability not in KEPT:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
os.umask(0o077)
os.execv(command[0], command)
""".replace("UID", str(UID))


def become(kind: str, *command: object, shown: Sequence[Path] = ()) -> list[str]:
    """The command line that root runs ``command`` with as somebody else; it exits with 77 where that is not possible.

    Args:
        kind: ``user``, ``user with network``, or ``root of a container``, who has two capabilities.
        shown: paths that a user can reach besides this Python and the repository, wherever they are.
    """
    paths = ":".join(map(str, (REPOSITORY, *shown)))
    return [sys.executable, "-c", _BECOME, paths, kind, *map(str, command)]

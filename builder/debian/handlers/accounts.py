"""Users and groups: Debian's static ones, then those that packages declare in ``sysusers.d(5)``.

What scripts create with ``adduser`` and its like comes after those (:mod:`builder.debian.scripts.subjects.accounts`).
"""

from __future__ import annotations

from builder.debian.handlers.work import Work
from builder.tree.node import file
from builder.tree.tree import Tree

ORIGIN = "stage:packages"
MASTERS = (("passwd", 0o644), ("group", 0o644))


def install_base_accounts(work: Work) -> None:
    """``/etc/passwd``, ``group``, ``shadow`` and ``gshadow`` from base-passwd's masters. No account has a password."""
    make_static_accounts(work.tree)


def make_static_accounts(tree: Tree) -> None:
    """The same. Without a program that reads them, ``shadow`` and ``gshadow`` are not made."""
    if "/usr/share/base-passwd/passwd.master" not in tree:
        return
    shadowed = any(
        tree.get(path, follow=True) is not None for path in ("/usr/sbin/shadowconfig", "/usr/lib/sysusers.d")
    )
    for name, mode in MASTERS:
        if f"/etc/{name}" not in tree:
            text = tree.read_text(f"/usr/share/base-passwd/{name}.master")
            # shadowconfig(8): the second field says that the password, if any, is in shadow.
            if shadowed:
                text = "".join(f"{n}:x:{rest}\n" for n, _, rest in (line.split(":", 2) for line in text.splitlines()))
            tree.put(f"/etc/{name}", file(text, mode, origin=ORIGIN))
    if not shadowed:
        return
    users = [line.split(":")[0] for line in tree.read_text("/etc/passwd").splitlines()]
    groups = [line.split(":") for line in tree.read_text("/etc/group").splitlines()]
    gid = next(int(group[2]) for group in groups if group[0] == "shadow")
    # The day of the last change is left out: it would differ from build to build and nothing expires.
    shadow = "".join(f"{user}:*::0:99999:7:::\n" for user in users)
    gshadow = "".join(f"{group[0]}:*::{group[3]}\n" for group in groups)
    tree.put("/etc/shadow", file(shadow, 0o640, gid=gid, origin=ORIGIN))
    tree.put("/etc/gshadow", file(gshadow, 0o640, gid=gid, origin=ORIGIN))
    for name in ("subuid", "subgid"):
        tree.put(f"/etc/{name}", file("", 0o644, origin=ORIGIN))


def install_system_accounts(work: Work) -> None:
    """Run ``systemd-sysusers`` over the declarations in the tree."""
    tree = work.tree
    if not work.has("/usr/lib/sysusers.d") or "/etc/passwd" not in tree:
        return
    with work.directory("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/usr/lib/sysusers.d") as part:
        work.tools.run("systemd-sysusers", f"--root={part.root}")
        part.absorb(tree, origin=ORIGIN, below="/etc")
        for backup in ("passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock"):
            tree.remove(f"/etc/{backup}")

"""Users and groups: Debian's static ones, then those that packages declare in ``sysusers.d(5)``.

What scripts create with ``adduser`` and its like comes after those (:mod:`builder.debian.scripts.subjects.accounts`).
"""

from __future__ import annotations

from dataclasses import replace

from builder.debian.scripts.subjects.generated import note_generated
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import make_file
from builder.tree.tree import Tree
from firstboot.config.account_files import find_row, format_rows, parse_rows

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
                text = format_rows([name, "x", *rest] for name, _, *rest in parse_rows(text))
            tree.put(f"/etc/{name}", make_file(text, mode, origin=ORIGIN))
    if not shadowed:
        return
    users, groups = (parse_rows(tree.read_text(f"/etc/{name}")) for name in ("passwd", "group"))
    owner = find_row(groups, "shadow")
    assert owner is not None
    gid = int(owner[2])
    # The day of the last change is left out: it would differ from build to build and nothing expires.
    shadow = format_rows([user[0], *["*", "", "0", "99999", "7", "", "", ""]] for user in users)
    gshadow = format_rows([group[0], "*", "", group[3]] for group in groups)
    tree.put("/etc/shadow", make_file(shadow, 0o640, gid=gid, origin=ORIGIN))
    tree.put("/etc/gshadow", make_file(gshadow, 0o640, gid=gid, origin=ORIGIN))
    for name in ("subuid", "subgid"):
        tree.put(f"/etc/{name}", make_file("", 0o644, origin=ORIGIN))


def install_system_accounts(work: Work) -> None:
    """Run ``systemd-sysusers`` over the declarations in the tree."""
    tree = work.tree
    if not work.has("/usr/lib/sysusers.d") or "/etc/passwd" not in tree:
        return
    with work.materialise_parts(
        "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/usr/lib/sysusers.d"
    ) as part:
        work.tools.run("systemd-sysusers", f"--root={part.root}")
        part.absorb(tree, origin=ORIGIN, below="/etc")
        for backup in ("passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock"):
            tree.remove(f"/etc/{backup}")
    _forget_days_of_change(tree)


def _forget_days_of_change(tree: Tree) -> None:
    """``systemd-sysusers`` writes the day of its clock, which stands at 0: "has to change its password" (shadow(5))."""
    node = tree.get("/etc/shadow")
    if node is None:
        return
    rows = parse_rows(tree.read_text("/etc/shadow"))
    changed = [[*row[:2], "", *row[3:]] if row[2:3] == ["0"] else row for row in rows]
    if changed != rows:
        tree.put("/etc/shadow", replace(node, content=make_file(format_rows(changed), 0, origin=ORIGIN).content))


COMMANDS = note_generated({
    "shadowconfig": "the shadow files are made with the static accounts",
})  # fmt: skip

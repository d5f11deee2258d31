"""What scripts would do, before anything is built: the same evaluation, without a program of the tools tree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from builder.debian.pack import Pack
from builder.debian.scripts.evaluate import Evaluation, evaluate
from builder.debian.scripts.order import configuration_order
from builder.debian.scripts.world import Installation
from builder.tree.node import file
from builder.tree.tree import Tree

ORIGIN = "stage:packages"
SCRIPTS = ("preinst", "postinst", "config", "templates")


def explain(
    tree: Tree, packs: Sequence[Pack], wanted: Collection[str], arch: str, answers: Mapping[str, str]
) -> list[Evaluation]:
    """Evaluate the scripts of all these packages, in the order in which they are configured.

    Args:
        tree: their files; changed.
        wanted: the packages whose evaluations are returned; the others only prepare the ground.
    """
    by_name = {pack.name: pack for pack in packs}
    versions = {pack.name: pack.package.version for pack in packs}
    declare_accounts(tree)
    known: dict[str, str] = {}
    found: list[Evaluation] = []
    for name in configuration_order({pack.name: pack.control for pack in packs}):
        scripts = {each: text for each in SCRIPTS if (text := by_name[name].script(each)) is not None}
        others = {other: version for other, version in versions.items() if other != name}
        evaluations = evaluate(tree, name, scripts, Installation(arch, others, answers), known)
        found += evaluations if name in wanted else []
    return found


def declare_accounts(tree: Tree) -> None:
    """The accounts of base-passwd and of ``sysusers.d(5)`` by name; a build has systemd-sysusers choose the numbers."""
    rows: dict[str, list[str]] = {}
    for kind in ("passwd", "group"):
        master = f"/usr/share/base-passwd/{kind}.master"
        rows[kind] = tree.read_text(master).splitlines() if master in tree else []
    number = 999
    directory = "/usr/lib/sysusers.d"
    for name in tree.children(directory) if tree.get(directory) is not None else ():
        for line in tree.read_text(f"{directory}/{name}").splitlines():
            words = line.split()
            if not words or words[0].rstrip("!") not in ("u", "g"):
                continue
            for kind in ("passwd", "group") if words[0].startswith("u") else ("group",):
                if not any(row.startswith(f"{words[1]}:") for row in rows[kind]):
                    tail = f"{number}::/:/usr/sbin/nologin" if kind == "passwd" else ""
                    rows[kind].append(f"{words[1]}:x:{number}:{tail}")
            number -= 1
    for kind, lines in rows.items():
        if lines:
            tree.put(f"/etc/{kind}", file("".join(f"{line}\n" for line in lines), origin=ORIGIN))

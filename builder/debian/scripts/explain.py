"""What scripts would do, before anything is built: the same evaluation, without what handlers make."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from builder.debian.database import install_database
from builder.debian.pack import Pack
from builder.debian.scripts.decisions import Decision, find_decision
from builder.debian.scripts.effects import Evaluation
from builder.debian.scripts.evaluate import evaluate_decided
from builder.debian.scripts.language.evaluator import Commands
from builder.debian.scripts.order import sort_for_configuration
from builder.debian.scripts.state import Records
from builder.debian.scripts.subjects.base_accounts import make_static_accounts
from builder.debian.scripts.target_system import Installation
from builder.tree.node import make_file
from builder.tree.tree import Tree

ORIGIN = "stage:packages"
KINDS = ("passwd", "group")
SCRIPTS = ("preinst", "postinst", "config", "templates")


def explain(
    tree: Tree,
    packs: Sequence[Pack],
    wanted: Collection[str],
    arch: str,
    answers: Mapping[str, str],
    decisions: Mapping[str, Decision] | None = None,
    excluded: Iterable[str] = (),
    *,
    commands: Commands,
) -> list[Evaluation]:
    """Evaluate the scripts of all these packages, in the order in which they are configured.

    The scripts find what they find in a build: the files of exactly these packages, dpkg's database of them, their
    accounts, and what is declared of scripts before them. Only what a sandboxed script does is not there.

    Args:
        tree: their files; changed.
        wanted: the packages whose evaluations are returned; the others only prepare the ground.
    """
    by_name = {pack.name: pack for pack in packs}
    installation = Installation(arch, {pack.name: pack.package.version for pack in packs}, answers, frozenset(excluded))
    install_database(tree, packs)
    declare_accounts(tree)
    records = Records()
    explained: list[Evaluation] = []
    for name in sort_for_configuration({pack.name: pack.control for pack in packs}):
        scripts = {script: text for script in SCRIPTS if (text := by_name[name].find_script(script)) is not None}
        decision = find_decision(decisions or {}, name)
        evaluations = evaluate_decided(tree, name, scripts, installation, commands, records, decision)
        explained += evaluations if name in wanted else []
    return explained


def declare_accounts(tree: Tree) -> None:
    """The accounts of base-passwd and of ``sysusers.d(5)`` by name; a build has systemd-sysusers choose the numbers."""
    make_static_accounts(tree)
    rows = {kind: tree.read_text(f"/etc/{kind}").splitlines() for kind in KINDS if f"/etc/{kind}" in tree}
    number = 999
    directory = "/usr/lib/sysusers.d"
    for name in tree.list_children(directory) if rows and tree.get(directory) is not None else ():
        for line in tree.read_text(f"{directory}/{name}").splitlines():
            words = line.split()
            if not words or words[0].rstrip("!") not in ("u", "g"):
                continue
            for kind in KINDS if words[0].startswith("u") else ("group",):
                if not any(row.startswith(f"{words[1]}:") for row in rows[kind]):
                    tail = f"{number}::/:/usr/sbin/nologin" if kind == "passwd" else ""
                    rows[kind].append(f"{words[1]}:x:{number}:{tail}")
            number -= 1
    for kind, lines in rows.items():
        tree.put(f"/etc/{kind}", make_file("".join(f"{line}\n" for line in lines), origin=ORIGIN))

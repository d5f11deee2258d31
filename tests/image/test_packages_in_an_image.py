"""Packages among those of feature base, from today's archive: they can be had, and are explained as they are built."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.database import install_database
from builder.debian.fetch import fetch_packages
from builder.debian.lock import LockedPackage
from builder.debian.pack import Pack
from builder.debian.scripts.configure import evaluate_scripts
from builder.debian.scripts.diversions import find_diversions
from builder.debian.scripts.explain import explain
from builder.debian.scripts.subjects.base_accounts import install_base_accounts, install_system_accounts
from builder.debian.scripts.table import open_commands
from builder.debian.unpack import unpack_all, unpack_tree
from builder.definition.load import load, load_base
from builder.definition.resolved import Resolved
from builder.locking import choose_mirrors, make_lock, resolve_today
from builder.stages.packages import make_work
from builder.stages.stage import Context
from builder.toolstree import open_tools

pytestmark = pytest.mark.image

# One of each kind of which a system has one, and what it takes the place of. The others: docs/packages.md.
ONE_OF_SEVERAL = [
    ("chrony", {"systemd-timesyncd"}),
    ("ntpsec", {"systemd-timesyncd"}),
    ("openntpd", {"systemd-timesyncd"}),
    ("openresolv", {"systemd-resolved", "libnss-resolve"}),
    ("resolvconf", {"systemd-resolved", "libnss-resolve"}),
    ("exim4-daemon-light", set()),
    ("msmtp-mta", set()),
    ("opensmtpd", set()),
    ("rsyslog", set()),
    ("syslog-ng-core", set()),
    ("cronie", set()),
    ("systemd-cron", set()),
    ("dhcpcd", set()),
    ("isc-dhcp-client", set()),
    ("nftables", set()),
    ("firewalld", set()),
    ("ufw", set()),
]


def unpacked(packages: tuple[LockedPackage, ...], resolved: Resolved, store: Store) -> list[Pack]:
    fetch_packages(packages, lambda: choose_mirrors(resolved), store, QuietConsole())
    return unpack_all(packages, store, QuietConsole(), jobs=2)


@pytest.mark.parametrize(("name", "gone"), ONE_OF_SEVERAL, ids=[name for name, _ in ONE_OF_SEVERAL])
def test_a_package_of_a_kind_takes_its_place_in_base_without_a_decision(
    name: str, gone: set[str], store: Store, tools: Tools, tmp_path: Path
) -> None:
    resolved = load_base([name], tmp_path).resolved
    packages = resolve_today(resolved, store, QuietConsole())
    wanted = {each.partition("=")[0] for each in resolved.packages}
    assert wanted - {package.name for package in packages} == gone
    packs = unpacked(packages, resolved, store)
    with open_commands(tools, store) as commands:
        found = explain(
            unpack_tree(packs, diversions=find_diversions(packs, commands)),
            packs,
            {name},
            str(resolved.arch),
            {},
            None,
            resolved.exclude,
            commands=commands,
        )
    assert [(each.script, line) for each in found for line in each.unmodelled] == []


# The feature ssh excludes ucf, by which chrony gets its configuration.
@pytest.mark.parametrize("more", ["", "features: [base, ssh]\n"])
def test_scripts_are_explained_as_a_build_evaluates_them(more: str, store: Store, tmp_path: Path) -> None:
    definition = tmp_path / "os.yaml"
    definition.write_text(
        "name: explained\nversion: 1.0.0\n"
        "packages: [chrony, nginx, openssh-server, rsyslog, nullmailer, postgresql]\n"
        "scripts: {nullmailer: {effects: [{file: /etc/mailname, text: mine}]}}\n" + more
    )
    resolved = load(definition).resolved
    console = QuietConsole()
    lock = make_lock(resolved, store, console)
    packs = unpacked(lock.packages, resolved, store)
    fetch_packages(lock.tools, lambda: choose_mirrors(resolved), store, console)
    context = Context(open_tools(lock.tools, store, console), store, console, tmp_path)
    from builder.stages import list_stages

    stage = list_stages(resolved, lock)[0]
    with open_commands(context.tools, store) as commands:
        tree = unpack_tree(packs, diversions=find_diversions(packs, commands))
        install_database(tree, packs)
        work = make_work(tree, packs, context, commands, stage.decisions, {}, stage.excluded)
        install_base_accounts(work)
        install_system_accounts(work)
        evaluate_scripts(work)
        names = {pack.name for pack in packs}
        again = unpack_tree(packs, diversions=find_diversions(packs, commands))
        arch = str(resolved.arch)
        explained = explain(again, packs, names, arch, {}, stage.decisions, stage.excluded, commands=commands)
    assert [(e.package, e.script, e.unmodelled) for e in explained] == [
        (e.package, e.script, e.unmodelled) for e in work.evaluations
    ]
    assert "/etc/chrony/chrony.conf" in work.tree
    assert [list(map(str, e.effects)) for e in explained] == [list(map(str, e.effects)) for e in work.evaluations]

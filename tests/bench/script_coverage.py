"""How many of Debian's packages have scripts that are modelled to the last line, without a user's decision?

python -m tests.bench.script_coverage                 the 1000 most popular packages (tests/bench/popularity.py)
python -m tests.bench.script_coverage --servers 300   the most popular of the sections where daemons live
python -m tests.bench.script_coverage NAME ...        these

Each package is resolved with all it depends on, and all their scripts are evaluated in the order of an installation; it
counts as modelled if its own are. Debs are fetched into the store, each once: several GB for 1000 packages.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from builder.core.architecture import find_host_arch
from builder.core.console import Console, QuietConsole, make_console
from builder.core.errors import BuildError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.archive import PackageArchive, lock_package, open_archive
from builder.debian.deb import Source, read_control
from builder.debian.fetch import fetch_packages
from builder.debian.index import Package
from builder.debian.mirror import Mirrors, find_mirrors, list_default_suites
from builder.debian.pack import Pack
from builder.debian.release import Freshness
from builder.debian.resolve import ResolveRequest, resolve
from builder.debian.scripts.diversions import find_diversions
from builder.debian.scripts.effects import Evaluation
from builder.debian.scripts.explain import explain
from builder.debian.scripts.language.evaluator import Commands
from builder.debian.scripts.table import open_commands
from builder.debian.unpack import unpack_all, unpack_tree
from builder.definition.model import DEFAULT_SUITE
from builder.toolstree import EXCLUDE, list_tool_packages, open_tools
from tests.bench.popularity import SERVERS, by_popularity

SCRIPTS = ("preinst", "postinst")


class Bench:
    """The archive of the day, and the store."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.store = Store.open()
        self.packs: dict[str, Pack] = {}
        suites = list_default_suites(DEFAULT_SUITE)
        self.mirrors: Mirrors = find_mirrors((), os.environ, suites)
        arch = find_host_arch()
        assert arch is not None
        self.arch = arch
        freshness = Freshness(datetime.now(UTC), check_valid_until=False)
        self.archive: PackageArchive = open_archive(self.mirrors, suites, arch, self.store, console, freshness)

    def fetch(self, packages: Sequence[Package]) -> None:
        """Have their debs in the store."""
        fetch_packages([lock_package(p) for p in packages], lambda: self.mirrors, self.store, self.console)

    def has_scripts(self, package: Package) -> bool:
        """Whether an installation would run something of it."""
        with self.store.locate_blob(package.sha256).open("rb") as file:
            _, files = read_control(Source(file))
        return any(name in files for name in SCRIPTS)

    def evaluations(self, package: Package, commands: Commands) -> list[Evaluation]:
        """What the package's own scripts do among all that it depends on.

        Raises:
            BuildError: it cannot be installed, or unpacked beside what it depends on.
        """
        closure = resolve(self.archive, ResolveRequest((package.name,)))
        self.fetch(closure)
        missing = [lock_package(p) for p in closure if p.sha256 not in self.packs]
        for pack in unpack_all(missing, self.store, QuietConsole(), jobs=2, verify=False):
            self.packs[pack.package.sha256] = pack
        packs = [self.packs[p.sha256] for p in closure]
        tree = unpack_tree(packs, diversions=find_diversions(packs, commands))
        return explain(tree, packs, {package.name}, self.arch, {}, commands=commands)

    def tools(self) -> Tools:
        """Today's tools tree."""
        wanted = ResolveRequest(list_tool_packages(self.archive.arch), excluded=EXCLUDE, essential=False)
        packages = resolve(self.archive, wanted)
        self.fetch(packages)
        return open_tools(tuple(map(lock_package, packages)), self.store, self.console)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is not modelled, then the share of what is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=0)
    args = parser.parse_args(arguments)
    bench = Bench(make_console("plain", None))
    if args.names:
        packages = [bench.archive.get(name)[0] for name in args.names]
    elif args.servers:
        packages = by_popularity(bench.archive, SERVERS)[: args.servers]
    else:
        packages = by_popularity(bench.archive)[: args.count]
    bench.fetch(packages)
    tools = bench.tools()
    started = time.monotonic()
    scripted = [package for package in packages if bench.has_scripts(package)]
    bad, failed = 0, 0
    for package in scripted:
        try:
            with open_commands(tools, bench.store) as commands:
                evaluations = bench.evaluations(package, commands)
        except BuildError as error:
            failed += 1
            print(f"{package.name} {package.version}: {error.what}")
            continue
        found = [(each.script, line) for each in evaluations for line in each.unmodelled]
        bad += bool(found)
        for script, line in found:
            print(f"{package.name} {package.version}, {script}, line {line.first}: {line.reason}")
        sys.stdout.flush()
    good = len(packages) - bad - failed
    print(f"{len(packages)} packages, {len(scripted)} with scripts: {good} modelled, {good / len(packages):.1%}")
    of_scripted = len(scripted) - bad - failed
    print(
        f"of those with scripts: {of_scripted / max(len(scripted), 1):.1%}; {failed} could not be resolved or unpacked"
    )
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

"""Of random sets of Debian's daemons, how many can be built without a user's decision about a script?

python -m tests.bench.daemon_sets                        80 sets of four, evaluated
python -m tests.bench.daemon_sets --sets 20 --seed 3     others
python -m tests.bench.daemon_sets --packages NAME ...    this set
python -m tests.bench.daemon_sets --policy               and those that need one built with scripts: {default: sandbox}

A daemon is a package of main that ships a systemd service (tests/bench/daemons.py). Each set is resolved with all that
it depends on, and all its packages' scripts are evaluated in the order of an installation. Debs are fetched into the
store, each once: several GB for 80 sets. With the policy a set counts as built if its root is made as a build makes it,
up to the presets of its units and without indexes; what was kept out of the image is printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from builder.core.console import QuietConsole, make_console
from builder.core.errors import BuildError
from builder.core.tools import Tools
from builder.debian.archive import lock_package
from builder.debian.database import install_database
from builder.debian.index import Package
from builder.debian.resolve import ResolveRequest, resolve
from builder.debian.scripts.decisions import DEFAULT, Decision
from builder.debian.scripts.diversions import find_diversions
from builder.debian.scripts.effects import Evaluation
from builder.debian.scripts.explain import explain
from builder.debian.scripts.handlers import HANDLERS
from builder.debian.scripts.table import open_commands
from builder.debian.unpack import unpack_all, unpack_tree
from builder.stages.packages import make_work
from builder.stages.stage import Context
from builder.stages.units import apply_presets
from builder.tree.tree import Tree
from tests.bench.daemons import daemons, draw
from tests.bench.script_coverage import Bench


def evaluated(bench: Bench, closure: Sequence[Package], tools: Tools) -> list[str]:
    """What is not modelled in the scripts of these packages: ``PACKAGE SCRIPT LINE: REASON``.

    Raises:
        BuildError: a deb cannot be had, or they cannot be unpacked beside each other.
    """
    bench.fetch(closure)
    packs = unpack_all([lock_package(p) for p in closure], bench.store, QuietConsole(), jobs=2, verify=False)
    with open_commands(tools, bench.store) as commands:
        tree = unpack_tree(packs, diversions=find_diversions(packs, commands))
        found = explain(tree, packs, {pack.name for pack in packs}, bench.arch, {}, commands=commands)
    return in_words(found)


def in_words(evaluations: Iterable[Evaluation]) -> list[str]:
    """What is not modelled: ``PACKAGE SCRIPT LINE: REASON``."""
    return [f"{e.package} {e.script} {line.first}: {line.reason}" for e in evaluations for line in e.unmodelled]


class Warnings(QuietConsole):
    """Keeps what a build warns of."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


def built(bench: Bench, closure: Sequence[Package], tools: Tools) -> tuple[list[str], list[str]]:
    """Build the root of these packages with the policy to run what is not understood.

    Returns:
        What is not, as :func:`evaluated` has it; what the build warned of.

    Raises:
        BuildError: that is not possible.
    """
    bench.fetch(closure)
    console = Warnings()
    with tempfile.TemporaryDirectory(prefix="build-os-bench-") as scratch:
        context = Context(Tools(tools.root, console), bench.store, console, Path(scratch))
        packs = unpack_all([lock_package(p) for p in closure], bench.store, console, jobs=2, verify=False)
        with open_commands(tools, bench.store) as commands:
            tree = unpack_tree(packs, Tree(), find_diversions(packs, commands))
            install_database(tree, packs)
            work = make_work(tree, packs, context, commands, {DEFAULT: Decision("sandbox")}, {})
            for _, handler in HANDLERS:
                handler(work)
        apply_presets(tree, context, {})
    return in_words(work.evaluations), console.said


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each set with what stops it, the packages that stop sets, and the share that nothing stops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=80, help="how many (default: 80)")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many first ones")
    parser.add_argument("--size", type=int, default=4, help="packages of a set (default: 4)")
    parser.add_argument("--seed", type=int, default=9, help="which ones (default: 9)")
    parser.add_argument("--packages", nargs="+", default=[], metavar="NAME", help="one set of one's own choice")
    parser.add_argument("--policy", action="store_true", help="build what needs a decision with the sandbox")
    args = parser.parse_args(arguments)
    bench = Bench(make_console("plain", None))
    if args.packages:
        sets = [(tuple(args.packages), resolve(bench.archive, ResolveRequest(tuple(args.packages))))]
    else:
        names = daemons(bench.archive, bench.mirrors)
        print(f"{len(names)} daemon packages; {args.sets} sets of {args.size}, seed {args.seed}", flush=True)
        sets = list(islice(draw(bench.archive, names, args.size, args.seed), args.skip, args.skip + args.sets))
    started = time.monotonic()
    stops: Counter[str] = Counter()
    good = with_policy = 0
    tools = bench.tools()
    for number, (chosen, closure) in enumerate(sets, 1):
        begun = time.monotonic()
        said: list[str] = []
        failed = ""
        try:
            if args.policy:
                problems, said = built(bench, closure, tools)
            else:
                problems = evaluated(bench, closure, tools)
        except BuildError as error:
            problems, failed = [error.what], str(error)
        good += not problems
        with_policy += not failed
        word = "decision" if problems else "ok      "
        print(f"{number:3} {word} {' '.join(chosen)} ({len(closure)} packages, {time.monotonic() - begun:.0f} s)")
        print("".join(f"      {line}\n" for line in (*problems, *said, *failed.splitlines())), end="", flush=True)
        stops.update({problem.partition(" ")[0] for problem in problems})
    for package, count in stops.most_common():
        print(f"{count:4} sets need a decision about {package}")
    print(f"{good} of {len(sets)} sets need no decision, {good / len(sets):.1%}; {time.monotonic() - started:.0f} s")
    if args.policy:
        print(f"{with_policy} of {len(sets)} sets are built with the policy, {with_policy / len(sets):.1%}")


if __name__ == "__main__":
    main()

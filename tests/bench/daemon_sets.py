"""Of random sets of Debian's daemons, how many can be built without a user's decision about a script?

python -m tests.bench.daemon_sets                        80 sets of four, evaluated
python -m tests.bench.daemon_sets --sets 20 --seed 3     others
python -m tests.bench.daemon_sets --packages NAME ...    this set

A daemon is a package of main that ships a systemd service (tests/bench/daemons.py). Each set is resolved with all that
it depends on, and all its packages' scripts are evaluated in the order of an installation. Debs are fetched into the
store, each once: several GB for 80 sets.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from builder.core.console import QuietConsole, make_console
from builder.core.errors import BuildError
from builder.debian.archive import locked
from builder.debian.index import Package
from builder.debian.resolve import Request, resolve
from builder.debian.scripts.diversions import diversions_of
from builder.debian.scripts.explain import explain
from builder.debian.unpack import unpack_all, unpack_tree
from tests.bench.daemons import daemons, draw
from tests.bench.script_coverage import Bench


def evaluated(bench: Bench, closure: Sequence[Package]) -> list[str]:
    """What nobody speaks for in the scripts of these packages: ``PACKAGE SCRIPT LINE: REASON``.

    Raises:
        BuildError: a deb cannot be had, or they cannot be unpacked beside each other.
    """
    bench.fetch(closure)
    packs = unpack_all([locked(p) for p in closure], bench.store, QuietConsole(), jobs=2, verify=False)
    tree = unpack_tree(packs, diversions=diversions_of(packs))
    found = explain(tree, packs, {pack.name for pack in packs}, bench.arch, {})
    return [f"{e.package} {e.script} {line.first}: {line.reason}" for e in found for line in e.unaccounted]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each set with what stops it, the packages that stop sets, and the share that nothing stops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=80, help="how many (default: 80)")
    parser.add_argument("--size", type=int, default=4, help="packages of a set (default: 4)")
    parser.add_argument("--seed", type=int, default=9, help="which ones (default: 9)")
    parser.add_argument("--packages", nargs="+", default=[], metavar="NAME", help="one set of one's own choice")
    args = parser.parse_args(arguments)
    bench = Bench(make_console("plain", None))
    if args.packages:
        sets = [(tuple(args.packages), resolve(bench.archive, Request(tuple(args.packages))))]
    else:
        names = daemons(bench.archive, bench.mirrors)
        print(f"{len(names)} daemon packages; {args.sets} sets of {args.size}, seed {args.seed}", flush=True)
        sets = list(islice(draw(bench.archive, names, args.size, args.seed), args.sets))
    started = time.monotonic()
    stops: Counter[str] = Counter()
    good = 0
    for number, (chosen, closure) in enumerate(sets, 1):
        try:
            problems = evaluated(bench, closure)
        except BuildError as error:
            problems = [f"{error.what}"]
        good += not problems
        print(f"{number:3} {'ok      ' if not problems else 'decision'} {' '.join(chosen)} ({len(closure)} packages)")
        for problem in problems:
            print(f"      {problem}", flush=True)
        stops.update({problem.partition(" ")[0] for problem in problems})
    for package, count in stops.most_common():
        print(f"{count:4} sets need a decision about {package}")
    print(f"{good} of {len(sets)} sets need no decision, {good / len(sets):.1%}; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

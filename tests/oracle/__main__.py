"""Sets of packages by build-os and by dpkg, compared path by path.

python -m tests.oracle                  every set
python -m tests.oracle servers mail     these
python -m tests.oracle --packages squid cups   packages of one's own choice, installed together
python -m tests.oracle --policy --packages NAME ...   with scripts: {default: sandbox}
"""

from __future__ import annotations

import argparse
import sys

from builder.core.store import Store
from tests.oracle.report import compare_set
from tests.oracle.roots import why_not
from tests.oracle.sets import QUICK, SLOW


def main() -> int:
    """Print a line a set, the differences that nothing explains, and what explains the others."""
    sets = {**QUICK, **SLOW}
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description="compare our trees with dpkg's")
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"one of {', '.join(sets)} (default: all)")
    parser.add_argument("--packages", nargs="+", default=[], metavar="PACKAGE", help="a set of one's own choice")
    parser.add_argument("--policy", action="store_true", help="run what is not understood in the sandbox")
    args = parser.parse_args()
    if args.packages:
        sets["packages"] = tuple(args.packages)
    chosen = [*args.sets, *(["packages"] if args.packages else [])] or list(sets)
    if unknown := [name for name in chosen if name not in sets]:
        parser.error(f"no such set: {', '.join(unknown)}")
    if reason := why_not():
        sys.exit(reason)
    total: dict[str, int] = {}
    failed = False
    for name in chosen:
        report = compare_set(sets[name], Store.open(), policy=args.policy)
        accepted = sum(report.counts.values())
        print(
            f"{name:<12} {report.packages:4} packages {report.paths:6} paths {accepted:5} accepted"
            f" {len(report.unexplained):4} unexplained",
            flush=True,
        )
        for difference in report.unexplained:
            print(f"    {difference}")
        for entry in report.stale:
            print(f"    explains nothing here: {' '.join(entry.paths)}")
        for entry, count in report.counts.items():
            total[entry.reason] = total.get(entry.reason, 0) + count
        # What a script leaves behind that is run is not always what ours leave out.
        failed = failed or bool(report.unexplained or (report.stale and not args.policy))
    print("\naccepted, by reason:")
    for reason, count in sorted(total.items(), key=lambda row: -row[1]):
        print(f"{count:6}  {reason}")
    return failed


if __name__ == "__main__":
    sys.exit(main())

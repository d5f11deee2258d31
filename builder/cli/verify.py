"""Build twice and compare every artifact by hash.

The first build is the ordinary one, into -o, with all that is kept of earlier builds. The second starts from
the downloads alone, as another user, in another directory, at another time ... ('--surroundings' lists them).
Where they differ, the artifact, partition or section, file, package and stage are named.

  build-os verify
  build-os verify configs/demo.yaml --surroundings

Or build once, from the downloads alone, and compare what a cache has that machines share:

  build-os verify --against-cache --cache /mnt/cache --cache-key keys/cache.pub
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import (
    add_definition,
    add_locked,
    add_out,
    add_signing,
    can_relock,
    choose_key_pair,
    require_definition,
)
from builder.cli.sharing import add_sharing, require_cache
from builder.core.console import Console

if TYPE_CHECKING:
    from builder.verify.run import Report

HELP = "build twice in different surroundings and compare the bits"
SHOWN = 40


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_definition(parser)
    add_out(parser)
    add_signing(parser)
    add_locked(parser)
    parser.add_argument("--offline", action="store_true", help="download nothing")
    parser.add_argument("--surroundings", action="store_true", help="list what differed around the two builds")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--against-cache", action="store_true", help="build once from downloads alone, and compare what the cache has"
    )
    add_sharing(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Verify; print a line for each artifact."""
    from builder.build import BuildRequest
    from builder.core.errors import DifferenceError
    from builder.core.store import Store
    from builder.locking import make_lock_path
    from builder.verify.run import verify

    path = require_definition(args.definition)
    if args.against_cache:
        return _verify_cache(args, path, console)
    key_pair = choose_key_pair(args, os.environ)
    relock = can_relock(args, os.environ, make_lock_path(path), console)
    report = verify(
        BuildRequest(path, args.out, Store.open(), console, offline=args.offline, relock=relock, key_pair=key_pair)
    )
    if args.json:
        sys.stdout.write(json.dumps({"same": report.same, **asdict(report)}, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in format_lines(report, surroundings=args.surroundings)))
    if not report.same:
        rows = [str(difference) for difference in report.differences]
        raise DifferenceError(
            "the two builds are not the same",
            details=rows[:SHOWN] + ([f"... and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []),
            hint="what the store kept is not what a build makes now: 'build-os cache clear --stages'"
            if report.cached
            else "a build that does not repeat is a bug in build-os: please report it with these lines",
        )
    return 0


def _verify_cache(args: argparse.Namespace, path: Path, console: Console) -> int:
    """Build, and compare every entry of the shared cache that this build could have used."""
    from builder.build import BuildRequest
    from builder.core.errors import DifferenceError, SourceError
    from builder.core.store import Store
    from builder.verify.against_cache import compare_with_cache

    cache = require_cache(args, console)
    request = BuildRequest(path, args.out, Store.open(), console, offline=args.offline, relock=False)
    compared, wrong = compare_with_cache(request, cache)
    if wrong:
        raise DifferenceError(
            f"the cache {cache.place.url} has what a build does not make",
            details=wrong[:SHOWN],
            hint="delete these entries, and find out who has the key that signed them",
        )
    if not compared:
        raise SourceError(
            f"the cache {cache.place.url} has nothing that this build could have used: nothing was compared",
            hint="entries are of one version of build-os and one lock: is it the cache of these?",
        )
    console.note(f"{compared} entries of the cache are what a build makes")
    return 0


def format_lines(report: Report, *, surroundings: bool) -> list[str]:
    """A report for people."""
    lines = []
    if surroundings:
        width = max(map(len, report.surroundings))
        for name, (first, second) in report.surroundings.items():
            lines.append(f"{name:<{width}}  {first}")
            lines.append(f"{'':<{width}}  {second if second != first else '(the same)'}")
        lines.append("")
    width = max(len(row.name) for row in report.compared)
    for row in report.compared:
        word = "same     " if row.same else "DIFFERENT"
        lines.append(f"{row.name:<{width}}  {word}  {row.first or 'not there'}")
    return lines

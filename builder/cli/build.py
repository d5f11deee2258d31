"""Build a definition: lock, fetch, assemble, seal, and write the artifacts.

Needs no root: only user namespaces, for the programs of the tools tree. Prints the path of build.json.
Where the definition asks for something else than its lock has, the lock is renewed for that; the rest stays as it is.

  build-os build
  build-os build configs/demo.yaml -o out
  build-os build --offline              download nothing
  build-os build --locked               refuse a lock that is missing or stale
  build-os build --no-cache             from the downloads alone, for what is published
  build-os build --cache /mnt/cache --cache-key keys/cache.pub     what other machines have made
  build-os build --timeline out.html    draw where the time went, and what takes room
  build-os build --sign-key secure-boot.key --sign-certificate secure-boot.crt      sign it for Secure Boot
"""

from __future__ import annotations

import argparse
import os
import sys
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
from builder.cli.sharing import add_sharing, open_sharing_store, say_what_came
from builder.core.console import Console, format_seconds, format_size

if TYPE_CHECKING:
    from builder.build import BuildResult

HELP = "build the image"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_definition(parser)
    add_out(parser)
    add_signing(parser)
    parser.add_argument("--offline", action="store_true", help="download nothing")
    add_locked(parser)
    add_sharing(parser)
    parser.add_argument(
        "--no-cache", action="store_true", help="use downloads alone, which are checked by hash; always so when signing"
    )
    parser.add_argument(
        "--release",
        action="store_true",
        help="others rely on it: as with --locked and --no-cache, and development keys are refused",
    )
    parser.add_argument(
        "--timeline",
        type=Path,
        metavar="FILE",
        help="draw when what was done, as one HTML file; as a picture alone in FILE.svg",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Build; print the manifest's path."""
    from builder.build import BuildRequest, build_definition
    from builder.core.remembered import OUTPUT
    from builder.locking import make_lock_path

    path = require_definition(args.definition)
    request = BuildRequest(
        path,
        args.out,
        open_sharing_store(args, console),
        console,
        offline=args.offline,
        relock=not args.release and can_relock(args, os.environ, make_lock_path(path), console),
        key_pair=choose_key_pair(args, os.environ),
        no_cache=args.no_cache or args.release,
        release=args.release,
        with_tree=args.timeline is not None,
    )
    result = build_definition(request)
    if request.store.tier is not None:
        say_what_came(request.store, console)
    if result.seconds:
        for line in format_table(result.manifest):
            console.note(line)
        console.note(f"built in {format_seconds(result.seconds)}")
    if args.timeline is not None:
        write_timeline(args.timeline, result, console)
    sys.stdout.write(f"{result.manifest}\n")
    if result.answer:
        args.answer = [*result.answer, (OUTPUT, f"{result.manifest}\n")]
    return 0


def can_be_remembered(args: argparse.Namespace) -> bool:
    """Whether what a build with nothing to do says may be said again: not where it starts anew, or draws."""
    return not (args.no_cache or args.release or args.timeline or choose_key_pair(args, os.environ))


def write_timeline(path: Path, result: BuildResult, console: Console) -> None:
    """Write the page, and say in a line what took longest."""
    from builder.core.files import write_file
    from builder.outputs.manifest import read_manifest
    from builder.report.page import Facts, make_page, make_picture
    from builder.report.timeline import find_longest

    data = read_manifest(result.manifest)
    assert data is not None
    used = os.times()
    facts = Facts(
        title=f"{data['name']} {data['version']}, {data['arch']}",
        wall=result.seconds,
        cpu=used.user + used.system + used.children_user + used.children_system,
        processors=os.cpu_count() or 1,
        reused=result.reused,
        artifacts=tuple((a["path"], a["size"], a["sha256"]) for a in data["artifacts"].values()),
    )
    is_picture = path.suffix == ".svg" and console.spans
    write_file(path, make_picture(console.spans) if is_picture else make_page(facts, console.spans, result.tree))
    if words := find_longest(console.spans):
        console.note(f"programs that took longest: {words}")
    console.note(f"wrote {path}")


def format_table(manifest: Path) -> list[str]:
    """The artifacts, one a line: file, size, sha256."""
    from builder.outputs.manifest import read_manifest

    data = read_manifest(manifest)
    assert data is not None
    rows = [(a["path"], format_size(a["size"]), a["sha256"]) for a in data["artifacts"].values()]
    width = max(len(row[0]) for row in rows)
    return [f"{name:<{width}}  {size:>9}  {sha256}" for name, size, sha256 in rows]

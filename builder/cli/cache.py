"""Show or clear the store: what is kept between builds. All of it can be made or downloaded again.

build-os cache                     how much is there
build-os cache clear --stages      keeps downloads and tools: the next build is a cold one
build-os cache clear --all

Or a cache that machines share, in a directory, a registry, or what fsspec knows:

build-os cache push --cache /mnt/cache --cache-sign-key keys/cache.key -o out
build-os cache pull --cache /mnt/cache --cache-key keys/cache.pub
build-os cache stats --cache oci://127.0.0.1:5000/cache --cache-key keys/cache.pub
build-os cache prune --cache /mnt/cache --cache-sign-key keys/cache.key --older-than 30 --largest 50G
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from builder.cli.sharing import add_sharing, require_cache
from builder.core.console import Console, format_size

HELP = "show or clear what is kept between builds; fill and prune a cache that machines share"
GROUPS = {
    "downloads": ("blobs", "partial", "indexes", "images"),
    "stages": ("packs", "stages", "presets", "derived", "builds", "outputs", "roots", "answers"),
    "tools": ("tools", "filters"),
    "machines": ("machines",),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = ("show", "clear", "push", "pull", "stats", "prune")
    parser.add_argument("action", nargs="?", choices=actions, default="show")
    for group, sections in GROUPS.items():
        parser.add_argument(f"--{group}", action="store_true", help=f"clear: {', '.join(sections)}")
    parser.add_argument("--all", action="store_true", help="clear: everything")
    add_sharing(parser)
    parser.add_argument(
        "-o", "--out", action="append", default=[], type=Path, metavar="DIR", help="push: what was built there as well"
    )
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="prune: entries that were made before")
    parser.add_argument("--largest", metavar="SIZE", help="prune: the oldest, until the rest is not more than that")
    parser.add_argument("--json", action="store_true", help="stats: as JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Show or clear."""
    match args.action:
        case "clear":
            return clear_store(args, console)
        case "push":
            return push_entries(args, console)
        case "pull":
            return pull_entries(args, console)
        case "stats":
            return show_stats(args, console)
        case "prune":
            return prune_cache(args, console)
        case _:
            return show_store()


def show_store() -> int:
    """How much is in each part of the store."""
    from builder.core.store import Store

    store = Store.open()
    usage = store.measure_usage()
    sys.stdout.write(f"{store.root}\n")
    for group, sections in GROUPS.items():
        count, size = (sum(usage[section][i] for section in sections) for i in (0, 1))
        sys.stdout.write(f"  {group:<10} {format_size(size):>9}  {count} files\n")
    return 0


def clear_store(args: argparse.Namespace, console: Console) -> int:
    """Delete parts of the store."""
    from builder.core.errors import InputError
    from builder.core.store import Store

    chosen = [g for g in GROUPS if args.all or getattr(args, g)]
    if not chosen:
        raise InputError("say what to clear", hint="--stages, --tools, --machines, --downloads or --all")
    Store.open().clear(console, *(section for group in chosen for section in GROUPS[group]))
    console.note(f"cleared {', '.join(chosen)}")
    return 0


def push_entries(args: argparse.Namespace, console: Console) -> int:
    """Put there what the store has and others can use, and what was built."""
    from builder.build.shared import list_shareable, push_build, push_entry
    from builder.core.errors import InputError, SourceError
    from builder.core.kept import is_usable
    from builder.core.store import Store
    from builder.sharing.cache import TooSlow
    from builder.sharing.downloads import list_debs, push_downloads

    cache, store = require_cache(args, console, to_write=True), Store.open()
    new = 0
    try:
        with store.keep_in_use(console):
            for out in args.out:
                if not (out / "build.json").is_file():
                    raise InputError(f"nothing was built into {out}")
                new += push_build(cache, out, seconds=UNKNOWN)
            for entry in list_shareable(store):
                if is_usable(entry):
                    new += push_entry(cache, entry, UNKNOWN)
            new += push_downloads(cache, store, dict.fromkeys(list_debs(store), UNKNOWN), console)
    except (OSError, TooSlow) as error:
        raise SourceError(f"the cache {cache.place.url} does not take it: {error}") from error
    console.note(f"{new} new entries, {format_size(cache.counts.pushed)}")
    return 0


SHOWN = 10
UNKNOWN = 10.0  # seconds that something took to make, where nobody has measured it


def pull_entries(args: argparse.Namespace, console: Console) -> int:
    """Bring into the store what it has not, of makers that are trusted."""
    from builder.core.errors import SourceError
    from builder.core.store import Store
    from builder.sharing.listing import bring_missing

    cache, store = require_cache(args, console), Store.open()
    cache.is_patient = True
    with store.keep_in_use(console), console.open_step("pull"):
        pulled, failed = bring_missing(cache, store)
    console.note(f"{pulled} entries, {format_size(cache.counts.fetched)}; {cache.counts.refused} refused")
    if failed:
        raise SourceError(
            f"{len(failed)} entries of the cache {cache.place.url} could not be brought",
            details=_shorten(failed),
            hint="what came stays: the same command brings the rest",
        )
    return 0


def show_stats(args: argparse.Namespace, console: Console) -> int:
    """How much there is, of what kind and by whom."""
    from builder.sharing.listing import NOTHING, list_entries, summarize

    cache = require_cache(args, console)
    listing = list_entries(cache)
    rows = summarize(listing.rows)
    if not (rows or listing.foreign or listing.unreadable):
        console.warn(NOTHING.format(cache.place.url))
    if args.json:
        sys.stdout.write(json.dumps({"url": cache.place.url, "entries": rows}, indent=1) + "\n")
        return 0
    sys.stdout.write(f"{cache.place.url}\n")
    for row in rows:
        trusted = "" if row["trusted"] else ", not trusted here"
        sys.stdout.write(
            f"  {row['section']:<10} {format_size(row['size']):>9}  {row['count']} entries by {row['maker']}{trusted}\n"
        )
    return 0


def prune_cache(args: argparse.Namespace, console: Console) -> int:
    """Delete entries by age and size, and what was left half uploaded."""
    from builder.core.errors import InputError, SourceError
    from builder.definition.scalars import Size
    from builder.sharing.listing import prune_entries

    if args.older_than is None and args.largest is None:
        raise InputError("say what to delete", hint="--older-than DAYS, --largest SIZE")
    try:
        largest = None if args.largest is None else int(Size.parse(args.largest))
    except ValueError as error:
        raise InputError(f"--largest: {error}") from error
    cache = require_cache(args, console, to_write=True)
    pruned = prune_entries(cache, older_than=args.older_than, largest=largest)
    said = f"deleted {pruned.entries} entries, {format_size(pruned.size)}"
    if pruned.archives is None:
        console.note(f"{said}; archives that nothing refers to stay while there is what cannot be read")
    else:
        console.note(f"{said}, and {pruned.archives} archives that nothing refers to")
    if pruned.unreadable:
        raise SourceError(
            f"{len(pruned.unreadable)} entries of the cache {cache.place.url} could not be read",
            details=_shorten(pruned.unreadable),
            hint="what could be read was pruned",
        )
    return 0


def _shorten(names: Collection[str]) -> list[str]:
    more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return [*islice(names, SHOWN), *more]

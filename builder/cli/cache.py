"""Show or clear the store: what is kept between builds. All of it can be made or downloaded again.

build-os cache                     how much is there
build-os cache clear --stages      keeps downloads and tools: the next build is a cold one
build-os cache clear --all
"""

from __future__ import annotations

import argparse
import sys

from builder.core.console import Console, format_size

HELP = "show or clear what is kept between builds"
GROUPS = {
    "downloads": ("blobs", "partial", "indexes", "images"),
    "stages": ("packs", "stages", "presets", "builds", "outputs", "roots", "answers"),
    "tools": ("tools", "filters"),
    "machines": ("machines",),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("action", nargs="?", choices=("show", "clear"), default="show")
    for group, sections in GROUPS.items():
        parser.add_argument(f"--{group}", action="store_true", help=f"clear: {', '.join(sections)}")
    parser.add_argument("--all", action="store_true", help="clear: everything")


def run(args: argparse.Namespace, console: Console) -> int:
    """Show or clear."""
    from builder.core.errors import InputError
    from builder.core.store import Store

    store = Store.open()
    if args.action == "clear":
        chosen = [g for g in GROUPS if args.all or getattr(args, g)]
        if not chosen:
            raise InputError("say what to clear", hint="--stages, --tools, --machines, --downloads or --all")
        store.clear(console, *(section for group in chosen for section in GROUPS[group]))
        console.note(f"cleared {', '.join(chosen)}")
        return 0
    usage = store.measure_usage()
    sys.stdout.write(f"{store.root}\n")
    for group, sections in GROUPS.items():
        count, size = (sum(usage[section][i] for section in sections) for i in (0, 1))
        sys.stdout.write(f"  {group:<10} {format_size(size):>9}  {count} files\n")
    return 0

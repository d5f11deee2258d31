"""Move what builds download to a machine without a network, as one file.

  build-os store export debs.tar                    what os.yaml needs: debs, artifacts, images, tools
  build-os store export debs.tar a.yaml b.yaml
  build-os store import debs.tar                    every file is verified by its hash
  build-os build --offline                          then needs nothing else

The definition and its lock travel with your repository.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from builder.cli.common import DEFAULT_DEFINITION, require_definition
from builder.core.console import Console, format_size

HELP = "carry downloads to a machine without a network"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("action", nargs="?", choices=("export", "import"))
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the archive")
    parser.add_argument(
        "definitions",
        nargs="*",
        type=Path,
        metavar="DEFINITION",
        help=f"export: whose files (default: {DEFAULT_DEFINITION})",
    )
    parser.add_argument("--offline", action="store_true", help="export: download nothing that is missing")


def run(args: argparse.Namespace, console: Console) -> int:
    """Write or read an archive; print its path."""
    from builder.core.bundle import read_bundle
    from builder.core.errors import InputError
    from builder.core.store import Store

    if args.action is None or args.file is None:
        raise InputError("say what to do with which archive", hint="build-os store export FILE, or import FILE")
    store = Store.open()
    if args.action == "export":
        with store.keep_in_use(console):
            _export(args, store, console)
    else:
        if args.definitions:
            raise InputError("an import takes everything that is in the archive", hint="build-os store import FILE")
        if not args.file.is_file():
            raise InputError(f"there is no {args.file}", hint="'build-os store export' makes one")
        with store.keep_in_use(console), console.open_step(f"import {args.file}"):
            files = read_bundle(args.file, store, console)
        console.note(f"{len(files)} files, {format_size(sum(file.size for file in files))}, all verified")
    sys.stdout.write(f"{args.file}\n")
    return 0


def _export(args: argparse.Namespace, store: object, console: Console) -> None:
    from functools import partial

    from builder.artifacts.locking import fetch_artifacts, list_carried
    from builder.core.bundle import Carried, write_bundle
    from builder.core.store import Store
    from builder.debian.fetch import fetch_packages
    from builder.debian.lock import Lock, LockedPackage, LockedWheel
    from builder.images.locking import fetch_images, list_carried_images
    from builder.locking import choose_mirrors, fetch_locked_wheels, hash_recipe, load_any, make_lock_path

    assert isinstance(store, Store)
    wanted = {}
    for definition in args.definitions or [Path(DEFAULT_DEFINITION)]:
        resolved = load_any(require_definition(definition))
        path = make_lock_path(definition)
        lock = Lock.load(path)
        lock.require_recipe(hash_recipe(resolved), str(path))
        packages = lock.list_all_packages()
        with console.open_step(f"fetch what {definition} needs"):
            fetch_packages(
                packages, partial(choose_mirrors, resolved, lock.releases), store, console, offline=args.offline
            )
            fetch_locked_wheels(lock, resolved, store, console, offline=args.offline)
            fetch_images(resolved, lock.images, store, console, offline=args.offline)
            fetch_artifacts(resolved, lock, store, console, offline=args.offline)
        carried: list[LockedPackage | LockedWheel] = [*packages, *lock.wheels]
        wanted.update({row.sha256: Carried(row.sha256, row.size, f"{row.name} {row.version}") for row in carried})
        wanted.update({row.sha256: row for row in (*list_carried(lock, store), *list_carried_images(lock, store))})
    with console.open_step(f"write {args.file}"):
        size = write_bundle(wanted.values(), store, args.file, console)
    console.note(f"{len(wanted)} files, {format_size(size)}")

"""Work for a scheduler of Dask's: build images and run tests that other machines ask for, until Ctrl-C.

Definitions come from the shared cache, and what was built goes there, so both keys are needed: one whose entries are
used, and one that signs. Only a client of the same build-os gives this worker anything.

  dask scheduler --host 127.0.0.1                        somewhere, once
  build-os worker tcp://127.0.0.1:8786 --cache /mnt/cache --cache-sign-key keys/cache.key
  build-os matrix build --on tcp://127.0.0.1:8786 --cache /mnt/cache --cache-sign-key keys/cache.key
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from builder.cli.sharing import add_sharing, require_cache
from builder.core.console import Console
from builder.sharing import KEYS, SIGN_KEY, URL

HELP = "build and test for other machines"
AGAIN = 2.0  # seconds until a scheduler that has gone is looked for again


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("scheduler", metavar="tcp://HOST:PORT", help="Dask's scheduler")
    parser.add_argument("--jobs", type=int, metavar="N", help="tasks at the same time (default: what memory bears)")
    parser.add_argument("--once", action="store_true", help="end with the scheduler, instead of waiting for the next")
    add_sharing(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Check this machine, then work."""
    import asyncio

    from builder.core.errors import CapabilityError, InputError
    from builder.core.store import Store
    from builder.core.tools import can_enter
    from builder.matrix.run import count_jobs
    from builder.workers.serve import serve_tasks
    from builder.workers.task import import_distributed

    if args.jobs is not None and args.jobs < 1:
        raise InputError("--jobs: at least one task at a time")
    cache, store = require_cache(args, console, to_write=True), Store.open()
    import_distributed()
    if (why := can_enter()) is not None:
        raise CapabilityError(f"this machine cannot build: {why}", hint="'build-os doctor' says more")
    if next(iter(cache.place.list_names()), None) is None:  # but it answers
        console.warn(f"there is nothing in the cache {cache.place.url} yet")
    keep_in_environment(args, store.root)
    joined = False
    while True:
        try:
            asyncio.run(serve_tasks(args.scheduler, cache, store, count_jobs(args.jobs), console))
            joined = True
        except CapabilityError:
            if args.once or not joined:
                raise
        if args.once:
            return 0
        console.note(f"{args.scheduler} has gone; waiting for it")
        time.sleep(AGAIN)


def keep_in_environment(args: argparse.Namespace, store: Path) -> None:
    """Have the processes that build the cells use the same store, cache and files of keys and passwords, wherever they
    run: paths of the command line, and those that the environment has, as absolute ones."""
    from builder.oci.registry.credentials import AUTH_FILE

    os.environ["BUILD_OS_CACHE"] = str(store.absolute())
    keys = args.cache_key or [Path(word) for word in os.environ.get(KEYS, "").split(os.pathsep) if word]
    if url := args.cache or os.environ.get(URL):
        os.environ[URL] = url if "://" in url else str(Path(url).absolute())
    if keys:
        os.environ[KEYS] = os.pathsep.join(str(path.absolute()) for path in keys)
    for name, chosen in ((SIGN_KEY, args.cache_sign_key), (AUTH_FILE, None)):
        if path := chosen or os.environ.get(name):
            os.environ[name] = str(Path(path).absolute())

"""Programs of Debian that only tests run, beside ours: the newest of the archive, in a tools tree of their own."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from builder.core.architecture import find_host_arch
from builder.core.console import Console, QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.archive import lock_package, open_archive
from builder.debian.fetch import fetch_packages
from builder.debian.mirror import find_mirrors, list_default_suites
from builder.debian.release import Freshness
from builder.debian.resolve import ResolveRequest, resolve
from builder.toolstree import open_tools


def open_programs(store: Store, *packages: str, console: Console | None = None) -> Tools:
    """A tree with these packages and all that they depend on; unpacked once, kept in the store."""
    shown = console or QuietConsole()
    suites = list_default_suites("trixie")
    mirrors = find_mirrors((), os.environ, suites)
    arch = find_host_arch()
    assert arch is not None
    archive = open_archive(mirrors, suites, arch, store, shown, Freshness(datetime.now(UTC), check_valid_until=True))
    found = resolve(archive, ResolveRequest(packages, essential=False))
    locked = tuple(lock_package(package) for package in found)
    fetch_packages(locked, lambda: mirrors, store, shown, offline=False)
    return open_tools(locked, store, shown)

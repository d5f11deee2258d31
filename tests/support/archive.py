"""Debian's archive as a build sees it, and programs from it for tests: nothing is installed on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from builder.core.console import Console
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.archive import PackageArchive, lock_package, open_archive
from builder.debian.fetch import fetch_packages
from builder.debian.lock import LockedPackage
from builder.debian.mirror import Mirrors, find_mirrors, list_default_suites
from builder.debian.release import Freshness
from builder.debian.resolve import ResolveRequest, resolve
from builder.locking import require_host_arch
from builder.toolstree import EXCLUDE, open_tools

SUITE = "trixie"


@dataclass(frozen=True)
class Source:
    """Where packages are taken from: one archive, one set of suites, no recommended packages."""

    mirrors: Mirrors
    archive: PackageArchive
    store: Store
    console: Console

    @classmethod
    def open(cls, store: Store, console: Console) -> Source:
        """The archive as a build of this machine's architecture sees it."""
        suites = list_default_suites(SUITE)
        mirrors = find_mirrors(None, os.environ, suites)
        archive = open_archive(mirrors, suites, require_host_arch(), store, console, Freshness(datetime.now(UTC)))
        return cls(mirrors, archive, store, console)

    def packages(self, names: Sequence[str]) -> tuple[LockedPackage, ...]:
        """The names, the essential packages, and all that they depend on."""
        return tuple(lock_package(package) for package in resolve(self.archive, ResolveRequest(tuple(names))))

    def fetch(self, packages: Sequence[LockedPackage]) -> None:
        """Have the packages in the store."""
        fetch_packages(tuple(packages), lambda: self.mirrors, self.store, self.console)

    def tools(self, names: Sequence[str]) -> Tools:
        """A tools tree with the packages of these names and all that they depend on."""
        wanted = ResolveRequest(tuple(names), excluded=EXCLUDE, essential=False)
        packages = tuple(lock_package(package) for package in resolve(self.archive, wanted))
        self.fetch(packages)
        return open_tools(packages, self.store, self.console)

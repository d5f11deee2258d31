"""One set of packages as a root file system: by build-os, and by mmdebstrap, which runs dpkg and every script."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from builder.core.console import Console
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.archive import Archive, locked, open_archive
from builder.debian.control import parse_stanza
from builder.debian.fetch import fetch_packages
from builder.debian.lock import LockedPackage
from builder.debian.mirror import Mirrors, default_suites, find_mirrors
from builder.debian.release import Freshness
from builder.debian.resolve import Request, resolve
from builder.debian.scripts.decisions import Decision
from builder.locking import require_host_arch
from builder.stages.packages import Packages
from builder.stages.stage import Context
from builder.stages.units import apply_presets
from builder.toolstree import EXCLUDE, open_tools, packages_for
from builder.tree.layer import read_layer
from builder.tree.tree import Tree

SUITE = "trixie"


@dataclass(frozen=True)
class Source:
    """Where both sides take their packages from: one archive, one set of suites, no recommended packages."""

    mirrors: Mirrors
    archive: Archive
    store: Store
    console: Console

    @classmethod
    def open(cls, store: Store, console: Console) -> Source:
        """The archive as a build of this machine's architecture sees it."""
        suites = default_suites(SUITE)
        mirrors = find_mirrors(None, os.environ, suites)
        archive = open_archive(mirrors, suites, require_host_arch(), store, console, Freshness(datetime.now(UTC)))
        return cls(mirrors, archive, store, console)

    def packages(self, names: Sequence[str]) -> tuple[LockedPackage, ...]:
        """The names, the essential packages, and all that they depend on."""
        return tuple(locked(package) for package in resolve(self.archive, Request(tuple(names))))

    def ours(
        self, packages: tuple[LockedPackage, ...], decisions: Mapping[str, Decision] | None = None
    ) -> tuple[Tree, Tools]:
        """The tree of our own code, by what a build does with packages, and the tools it took."""
        wanted = Request(packages_for(self.archive.arch), excluded=EXCLUDE, essential=False)
        tools = tuple(locked(package) for package in resolve(self.archive, wanted))
        fetch_packages((*packages, *tools), lambda: self.mirrors, self.store, self.console)
        with tempfile.TemporaryDirectory(prefix="build-os-oracle-") as scratch:
            context = Context(open_tools(tools, self.store, self.console), self.store, self.console, Path(scratch))
            tree = Packages(packages, decisions or {}).apply(Tree(), context)
            apply_presets(tree, context, {})
            return tree, context.tools

    def theirs(self, names: Sequence[str], packages: Sequence[LockedPackage], room: Path) -> Tree:
        """The tree of mmdebstrap, kept in ``room`` as a tar as long as the packages are the same."""
        key = hashlib.sha256("\n".join(sorted(package.sha256 for package in packages)).encode()).hexdigest()[:16]
        tar = room / f"{key}.tar"
        if not tar.exists():
            room.mkdir(parents=True, exist_ok=True)
            self._bootstrap(names, tar)
        return read_layer(Tree(), tar, origin="oracle")

    def _bootstrap(self, names: Sequence[str], tar: Path) -> None:
        lines = [f"deb {self.mirrors.of(suite)[0]} {suite} main" for suite in default_suites(SUITE)]
        fresh = tar.with_suffix(".new.tar")
        command = ["mmdebstrap", "--quiet", "--variant=essential", f"--architectures={self.archive.arch}"]
        if names:
            command.append("--include=" + ",".join(names))
        done = subprocess.run(
            [*command, SUITE, str(fresh), "-"],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": "0", "TMPDIR": tempfile.gettempdir()},
        )
        if done.returncode != 0:
            fresh.unlink(missing_ok=True)
            raise AssertionError(f"mmdebstrap failed:\n{done.stderr[-4000:]}")
        fresh.replace(tar)


def installed(tree: Tree) -> dict[str, str]:
    """Packages and versions by dpkg's own record."""
    found = {}
    for text in tree.read_text("/var/lib/dpkg/status").split("\n\n"):
        if text.strip():
            stanza = parse_stanza(text.strip("\n"))
            if stanza["Status"] == "install ok installed":
                found[stanza["Package"]] = stanza["Version"]
    return found


def why_not() -> str | None:
    """``None`` when mmdebstrap can be run here, or the reason why not. Root gets it installed."""
    if shutil.which("mmdebstrap"):
        return None
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return "mmdebstrap is not installed, and only root on a Debian system can install it"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "mmdebstrap"]):
        done = subprocess.run(["apt-get", "-q", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"apt-get {command[0]} failed: {done.stderr[-500:]}"
    return None

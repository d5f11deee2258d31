"""Which packages are popular, as far as the archive itself can tell.

No survey of installations is part of the archive. What is: how important Debian holds a package (``Priority``), and how
many others want it. The order is by priority, then by how many source packages depend on it or recommend it (each
counted once, or a source with thirty binaries would vote thirty times), then by name. Sections of what no machine runs
(debugging symbols, headers, documentation) are left out: they have no scripts, and would flatter the result.
"""

from __future__ import annotations

from collections import defaultdict

from builder.debian.archive import PackageArchive
from builder.debian.candidates import PRIORITIES
from builder.debian.control import parse_relations
from builder.debian.index import Package

NOT_RUN = frozenset({"debug", "libdevel", "doc", "translations", "metapackages", "kernel", "golang", "rust", "haskell"})
# Where daemons, and what is configured by scripts, live.
SERVERS = frozenset({"admin", "net", "httpd", "database", "mail", "news", "web", "comm"})


def newest(archive: PackageArchive) -> dict[str, Package]:
    """Every real package of the archive in its newest version, by name."""
    found: dict[str, Package] = {}
    for name in archive.names:
        packages = archive.get(name)
        if packages:
            found[name] = packages[0]
    return found


def by_popularity(archive: PackageArchive, sections: frozenset[str] | None = None) -> list[Package]:
    """All packages that a machine would run (of these sections only, if given), the most popular first."""
    packages = newest(archive)
    votes: dict[str, set[str]] = defaultdict(set)
    for package in packages.values():
        source = package.source.partition(" ")[0]
        for field in (package.pre_depends, package.depends, package.recommends):
            for group in parse_relations(field):
                votes[group[0].name].add(source)
    wanted = [p for p in packages.values() if p.section not in NOT_RUN and (sections is None or p.section in sections)]
    return sorted(wanted, key=lambda p: (PRIORITIES.get(p.priority, 4), -len(votes[p.name]), p.name))

"""An archive in which packages keep the version that a lock has, for updates of some packages only.

Debian's index has one version of each package. What a lock holds on to is often no longer in it; what such a package
needs is then read from the deb itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from builder.core.console import Console
from builder.core.errors import SourceError
from builder.core.store import Store
from builder.debian.archive import PackageArchive
from builder.debian.control import parse_relations
from builder.debian.index import Package, make_package
from builder.debian.lock import LockedPackage
from builder.debian.pack import unpack


@dataclass(frozen=True)
class ArchiveWithHeldPackages(PackageArchive):
    """The archive, with the held versions preferred to all others. Others stay possible: where a held one cannot be
    had together with what is wanted, it gives way.
    """

    held: Mapping[str, Package] = field(default_factory=dict)

    def get(self, name: str) -> list[Package]:
        """All versions of a package: the held one, then the archive's, newest first."""
        packages = super().get(name)
        held = self.held.get(name)
        return packages if held is None else [held, *(package for package in packages if package.sha256 != held.sha256)]

    def list_providers(self, name: str) -> list[str]:
        """The names of packages that provide a name, in the archive or as held."""
        own = (
            package.name
            for package in self.held.values()
            if any(relation.name == name for group in parse_relations(package.provides) for relation in group)
        )
        return sorted({*super().list_providers(name), *own})


def hold_packages(
    archive: PackageArchive,
    packages: Iterable[LockedPackage],
    store: Store,
    console: Console,
    fetch: Callable[[LockedPackage], object],
) -> ArchiveWithHeldPackages:
    """The archive with these packages held. One that is neither in the archive nor to be had any more is not held,
    and ``console`` is told.

    Args:
        fetch: gets a deb into the store.
    """
    held = {}
    for package in packages:
        held_package = next((p for p in archive.get(package.name) if p.sha256 == package.sha256), None)
        if held_package is None:
            try:
                fetch(package)
                held_package = make_package(unpack(store, package).control, package)
            except SourceError as error:
                console.warn(f"{package.name} {package.version} is updated as well: {error.what}")
                continue
        held[package.name] = held_package
    return ArchiveWithHeldPackages(archive.releases, archive.indexes, archive.arch, archive.sources, held)


def find_needed(names: Collection[str], packages: Sequence[Package]) -> set[str]:
    """The packages of these names and all that they need, as far as it is among ``packages``."""
    by_name = {package.name: package for package in packages}
    providers: dict[str, list[str]] = {}
    for package in packages:
        for group in parse_relations(package.provides):
            providers.setdefault(group[0].name, []).append(package.name)
    needed: set[str] = set()
    pending = [name for name in names if name in by_name]
    while pending:
        name = pending.pop()
        if name in needed:
            continue
        needed.add(name)
        package = by_name[name]
        for group in (*parse_relations(package.pre_depends), *parse_relations(package.depends)):
            for relation in group:
                pending.extend([relation.name] if relation.name in by_name else providers.get(relation.name, ()))
    return needed

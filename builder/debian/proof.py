"""Is a lock what the signed indexes say? Every deb's hash is looked up again, in a chain that begins with a signature.

A lock is text that people merge, and that a machine wrote which may have believed a store that others fill. The chain:
the signature of a suite's index (InRelease), the hash of that in the lock, the lists that it vouches for, the entry of
the deb in one of them. What the lock's own indexes do not have (a package that kept its version when others were
updated) may still be in today's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from builder.debian.archive import PackageArchive
from builder.debian.index import Index
from builder.debian.lock import Lock, LockedPackage


@dataclass(frozen=True)
class Unproven:
    """A deb of a lock for which no signature stands.

    Attributes:
        signed: what signed indexes say of this version instead (SHA-256); empty if they do not know it.
    """

    package: LockedPackage
    groups: tuple[str, ...]
    signed: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = f"{self.package.name} {self.package.version} {self.package.architecture} ({', '.join(self.groups)})"
        if self.signed:
            return f"{name}: locked sha256 {self.package.sha256}, signed sha256 {' or '.join(self.signed)}"
        return f"{name}: in no signed index that can be had"


def find_unproven(
    lock: Lock, then: Iterable[PackageArchive], today: Callable[[], Iterable[PackageArchive]]
) -> list[Unproven]:
    """The debs that no signed index has as the lock has them, sorted by name.

    Args:
        then: the archive as the lock saw it, for each architecture.
        today: the archive as it is now; asked only if something is left to prove.
    """
    groups = lock.list_groups()
    left = list(lock.list_all_packages())
    seen: list[Index] = []

    def look(archives: Iterable[PackageArchive]) -> None:
        seen.extend(index for archive in archives for index in archive.indexes)
        left[:] = [package for package in left if not any(_has(index, package) for index in seen)]

    look(then)
    if left:
        look(today())
    return [
        Unproven(
            package,
            tuple(name for name, group in groups.items() if package in group),
            tuple(sorted({entry for index in seen for entry in _others(index, package)})),
        )
        for package in left
    ]


def _has(index: Index, package: LockedPackage) -> bool:
    wanted = (package.version, package.architecture, package.sha256, package.size)
    return any((p.version, p.architecture, p.sha256, p.size) == wanted for p in index.get(package.name))


def _others(index: Index, package: LockedPackage) -> list[str]:
    same = (package.version, package.architecture)
    return [p.sha256 for p in index.get(package.name) if (p.version, p.architecture) == same]

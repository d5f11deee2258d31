"""The packages that could matter for what is asked for, and the set of them that apt would come by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from builder.debian.archive import PackageArchive
from builder.debian.control import Alternatives, Relation, parse_relations
from builder.debian.index import Package
from builder.debian.version import is_satisfied

# apt takes the most important of those that provide a name.
PRIORITIES = {"required": 0, "important": 1, "standard": 2, "optional": 3}


@dataclass
class Candidates:
    """All packages that could matter: the closure over names, with all versions and alternatives."""

    archive: PackageArchive
    excluded: frozenset[str]
    recommends: bool
    packages: dict[str, list[Package]] = field(default_factory=dict)
    providers: dict[str, list[str]] = field(default_factory=dict)
    _todo: deque[str] = field(default_factory=deque)

    def add(self, name: str) -> None:
        """Take in a name and whatever provides it."""
        if name in self.providers:
            return
        self.providers[name] = self.archive.list_providers(name)
        for real in (name, *self.providers[name]):
            if real not in self.packages:
                self.packages[real] = self.archive.get(real)
                self._todo.append(real)

    def close(self) -> None:
        """Take in what those need, and so on."""
        while self._todo:
            name = self._todo.popleft()
            if name in self.excluded:
                continue
            for package in self.packages[name]:
                for group in self.list_needs(package):
                    for relation in group:
                        self.add(relation.name)

    def list_needs(self, package: Package) -> Iterator[Alternatives]:
        """What a package depends on, in apt's order."""
        if package.name in self.excluded:
            return
        yield from parse_relations(package.pre_depends)
        yield from parse_relations(package.depends)
        if self.recommends:
            yield from self.list_recommended(package)

    def list_recommended(self, package: Package) -> tuple[Alternatives, ...]:
        """What it recommends, if that was asked for."""
        return parse_relations(package.recommends) if self.recommends else ()

    def list_matching(self, relation: Relation) -> list[Package]:
        """The packages that fulfil a relation: those of that name, newest first, then providers by priority."""
        if relation.architecture not in ("", "any", "native", "all", self.archive.arch):
            return []
        real = [p for p in self.packages.get(relation.name, ()) if is_fitting(p.version, relation)]
        others = [
            package
            for name in self._providers(relation.name)
            if name != relation.name
            for package in self.packages[name]
            if _provides(package, relation)
        ]
        return real + sorted(others, key=lambda p: (PRIORITIES.get(p.priority, len(PRIORITIES)), p.name))

    def _providers(self, name: str) -> list[str]:
        if name not in self.providers:
            # Only conflicts name it, so its providers were not taken in on its account.
            providers = self.archive.list_providers(name)
            self.providers[name] = [provider for provider in providers if provider in self.packages]
        return self.providers[name]


def is_fitting(version: str, relation: Relation) -> bool:
    """Whether a version fulfils a relation's."""
    return not relation.operator or is_satisfied(version, relation.operator, relation.version)


def _provides(package: Package, relation: Relation) -> bool:
    """Policy 7.5: a provided name has no version unless it says ``(= VERSION)``."""
    return any(
        provided.name == relation.name
        and (not relation.operator or (provided.operator == "=" and is_fitting(provided.version, relation)))
        for group in parse_relations(package.provides)
        for provided in group
    )


def find_preferred(candidates: Candidates, wanted: Sequence[Relation]) -> list[Package]:
    """What apt would come by: what is wanted, then depth first, in the order of each package's fields, what that
    needs and is not there yet; of a choice, the first that is possible.
    """
    walk = _Walk(candidates)
    for relation in wanted:
        walk.take(next(p for p in candidates.packages[relation.name] if is_fitting(p.version, relation)))
    for package in list(walk.taken.values()):
        walk.expand(package)
    return list(walk.taken.values())


class _Walk:
    """Packages taken so far, and what they cannot live with."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self.taken: dict[str, Package] = {}
        self._enemies: dict[str, list[Relation]] = {}

    def take(self, package: Package) -> None:
        self.taken[package.name] = package
        for group in (*parse_relations(package.conflicts), *parse_relations(package.breaks)):
            self._enemies.setdefault(group[0].name, []).append(group[0])

    def expand(self, package: Package) -> None:
        """Take what a package needs, and what that needs, and so on."""
        # A stack of our own, because chains of dependencies are longer than Python's.
        stack = [self._candidates.list_needs(package)]
        while stack:
            group = next(stack[-1], None)
            if group is None:
                stack.pop()
            elif (chosen := self._choose(group)) is not None:
                self.take(chosen)
                stack.append(self._candidates.list_needs(chosen))

    def _choose(self, group: Alternatives) -> Package | None:
        """What to take for a group; nothing if it is fulfilled, or cannot be."""
        options = [package for relation in group for package in self._candidates.list_matching(relation)]
        if any(p.name in self._candidates.excluded or self.taken.get(p.name) == p for p in options):
            return None
        return next((p for p in options if self._is_possible(p)), None)

    def _is_possible(self, package: Package) -> bool:
        if package.name in self.taken:  # another version of it
            return False
        names = {package.name: package.version}
        for group in parse_relations(package.provides):
            names.setdefault(group[0].name, group[0].version)
        for name, version in names.items():
            for enemy in self._enemies.get(name, ()):
                if not enemy.operator or (version and is_fitting(version, enemy)):
                    return False
        return not any(
            other.name != package.name and self.taken.get(other.name) == other
            for group in (*parse_relations(package.conflicts), *parse_relations(package.breaks))
            for other in self._candidates.list_matching(group[0])
        )

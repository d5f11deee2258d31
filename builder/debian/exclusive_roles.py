"""Packages of which a system has one: mail servers, time daemons, resolvers, system loggers.

In Debian they provide one virtual package and conflict with it (Policy 7.4), so apt takes out the one that is there
when another is installed. A definition says the same by its order: what a later part of it names takes the place of a
rival that an earlier part, a feature, brought along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from builder.debian.candidates import Candidates, is_fitting
from builder.debian.control import Relation, parse_relations
from builder.debian.index import Package

# Without them a system is not usable (Policy 2.5), whoever offers to do a part of their work.
KEPT = frozenset({"required", "important"})


def find_common_role(one: Package, other: Package) -> str | None:
    """The name that both are or provide, and that one of them conflicts with; ``None`` if there is no such name."""
    ours, theirs = _names(one), _names(other)
    for name in sorted(ours.keys() & theirs.keys()):
        if _excludes(one, name, theirs[name]) or _excludes(other, name, ours[name]):
            return name
    return None


def find_yielding(ranked: Mapping[Relation, int], candidates: Candidates, taken: Iterable[Package]) -> set[str]:
    """The names of wanted packages that give way: to a rival, or because what they need gives way to one.

    Args:
        ranked: for each wanted package, how late it is named.
        taken: packages that are wanted, or needed by what is named last.
    """
    ranks = {relation.name: rank for relation, rank in ranked.items()}
    last = max(ranks.values(), default=0)
    wanted = {relation: find_best(candidates, relation) for relation in ranked}
    early = [p for relation, p in wanted.items() if ranked[relation] < last and p.priority not in KEPT]
    taken = list(taken)
    gone = {
        package.name
        for package in early
        for other in taken
        if ranks.get(other.name, last) > ranks[package.name]
        and other.name != package.name
        and find_common_role(package, other)
    }
    while more := {p.name for p in early if p.name not in gone and _needs_one_of(p, gone, candidates)}:
        gone |= more
    return gone


def find_best(candidates: Candidates, relation: Relation) -> Package:
    """The newest package that a wanted name means."""
    return next(p for p in candidates.packages[relation.name] if is_fitting(p.version, relation))


def _needs_one_of(package: Package, gone: set[str], candidates: Candidates) -> bool:
    """Whether something that a package depends on is to be had of packages that are gone, and of no other."""
    for group in candidates.list_needs(package):
        names = {package.name for relation in group for package in candidates.list_matching(relation)}
        if names and names <= gone:
            return True
    return False


def find_replaced(names: Sequence[str], archive: Mapping[str, Package], chosen: Sequence[Package]) -> list[str]:
    """What is to be said of wanted packages that are not among the chosen: what is there instead, or why."""
    there = {package.name for package in chosen}
    lines = []
    for name in names:
        if name in archive and name not in there:
            rivals = [(package.name, role) for package in chosen if (role := find_common_role(archive[name], package))]
            lines += [f"{rival} takes the place of {name} ({role})" for rival, role in rivals[:1]]
            lines += [] if rivals else [f"{name} is left out, because what it needs is replaced"]
    return lines


def _names(package: Package) -> dict[str, str]:
    """What a package is and provides, and in which version."""
    names = {package.name: package.version}
    for group in parse_relations(package.provides):
        names.setdefault(group[0].name, group[0].version)
    return names


def _excludes(package: Package, name: str, version: str) -> bool:
    return any(
        group[0].name == name and (not group[0].operator or (bool(version) and is_fitting(version, group[0])))
        for group in (*parse_relations(package.conflicts), *parse_relations(package.breaks))
    )

"""Which packages it takes: the wanted ones and all that they depend on.

Of alternatives (``a | b``) apt takes the first that it can, unless another is coming anyway. A walk in apt's
manner finds that set (:mod:`builder.debian.candidates`) and libsolv confirms it
(:mod:`builder.debian.solver`); where the walk runs into a conflict, libsolv finds the way round, with a
favour for what the walk preferred.
"""

from __future__ import annotations

from dataclasses import dataclass

from builder.debian.archive import PackageArchive
from builder.debian.candidates import Candidates, find_preferred
from builder.debian.control import Relation, is_package_name
from builder.debian.exclusive_roles import find_best, find_yielding
from builder.debian.index import Package
from builder.debian.solver import ResolveError, Solver
from builder.debian.version import is_version


@dataclass(frozen=True)
class ResolveRequest:
    """What an image asks for.

    Attributes:
        wanted: ``NAME`` or ``NAME=VERSION``.
        excluded: packages that are taken as installed without being so: nothing of theirs ends up in
            the image, and what depends on them is content.
        recommends: also what is only recommended.
        essential: also the packages that every Debian system has.
        layers: names by the part of a definition that names them, in order; the rest is named with the last. Of
            rivals (:mod:`builder.debian.exclusive_roles`) the one that is named later is taken.
    """

    wanted: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    recommends: bool = False
    essential: bool = True
    layers: tuple[tuple[str, ...], ...] = ()


def resolve(archive: PackageArchive, request: ResolveRequest) -> tuple[Package, ...]:
    """The packages that fulfil a request, sorted by name. The same archive gives the same answer, always.

    Raises:
        ResolveError: a name that does not exist (with the nearest ones), or wishes that exclude each other.
    """
    wanted = _wanted(archive, request)
    candidates = Candidates(archive, frozenset(request.excluded), request.recommends)
    for relation in wanted:
        candidates.add(relation.name)
    candidates.close()
    ranked = {relation: _rank(request, relation.name) for relation in wanted}
    gone = find_yielding(ranked, candidates, [find_best(candidates, relation) for relation in wanted])
    try:
        chosen = _solve(candidates, wanted, gone)
    except ResolveError:
        # What is named last may need a rival of what a feature named.
        named_last = [relation for relation in wanted if ranked[relation] == max(ranked.values())]
        more = find_yielding(ranked, candidates, find_preferred(candidates, named_last))
        if more <= gone:
            raise
        chosen = _solve(candidates, wanted, gone | more)
    return tuple(sorted(chosen, key=lambda p: p.name))


def _solve(candidates: Candidates, wanted: list[Relation], gone: set[str]) -> list[Package]:
    return Solver(candidates, [relation for relation in wanted if relation.name not in gone]).solve()


def _rank(request: ResolveRequest, name: str) -> int:
    return next((rank for rank, names in enumerate(request.layers) if name in names), len(request.layers))


def _wanted(archive: PackageArchive, request: ResolveRequest) -> list[Relation]:
    """The request's names as relations, essential packages first."""
    problems: dict[str, str] = {}
    relations: dict[Relation, None] = {}
    excluded = set(request.excluded)
    if request.essential:
        relations.update((Relation(name), None) for name in archive.list_essential() if name not in excluded)
    for text in sorted(set(request.wanted)):
        name, equals, version = text.partition("=")
        if not is_package_name(name) or (equals and not is_version(version)):
            problems[text] = f"{text!r} is neither a package's name nor NAME=VERSION"
        elif name in excluded:
            problems[name] = f"{name} is both wanted and excluded"
        else:
            problem = _missing(archive, name, version)
            if problem:
                problems[name] = problem
            relations[Relation(name, "=" if equals else "", version)] = None
    problems |= {name: problem for name in sorted(excluded) if (problem := _missing(archive, name, ""))}
    if problems:
        lines = list(problems.values())
        one = len(lines) == 1
        raise ResolveError(
            lines[0] if one else "some packages do not exist", details=() if one else lines, names=problems
        )
    return list(relations)


def _missing(archive: PackageArchive, name: str, version: str) -> str | None:
    """What is wrong with a name, or ``None``."""
    packages = archive.get(name)
    if packages:
        versions = [package.version for package in packages]
        if version and version not in versions:
            return f"{name} has no version {version}; there is {', '.join(versions)}"
        return None
    suites = " ".join(release.suite for release in archive.releases)
    providers = archive.list_providers(name)
    if providers:
        return f"{name} is a virtual package; choose one of {', '.join(providers[:8])}"
    similar = archive.list_similar(name)
    tail = f"; did you mean {' or '.join(similar)}?" if similar else ""
    return f"there is no package {name!r} in {suites} for {archive.arch}{tail}"

"""The candidates as libsolv sees them, and its answer or its reasons in our words.

Every relation becomes a token that the packages which fulfil it provide, so Debian's rules on versions,
virtual packages and qualifiers are ours (:mod:`builder.debian.candidates`), and libsolv is left with what it
is good at: finding a set in which everything holds at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import solv

from builder.core.errors import InputError
from builder.debian.candidates import Candidates, find_preferred, is_fitting
from builder.debian.control import Alternatives, Relation, parse_relations
from builder.debian.index import Package

MAX_PROBLEMS = 10
MAX_LINES = 12


class ResolveError(InputError):
    """The wanted packages cannot be had together, or not at all."""


class Solver:
    """The candidates as libsolv sees them."""

    def __init__(self, candidates: Candidates, wanted: Sequence[Relation]) -> None:
        self._candidates = candidates
        self._wanted = wanted
        self._pool = solv.Pool()
        self._pool.setdisttype(solv.Pool.DISTTYPE_DEB)
        self._packages: dict[int, Package] = {}
        self._solvables: dict[tuple[str, str, str], solv.XSolvable] = {}
        self._tokens: dict[str, solv.Dep] = {}
        self._texts: dict[int, str] = {}

    def solve(self) -> list[Package]:
        """The packages to take.

        Raises:
            ResolveError: there is no such set.
        """
        self._fill()
        favoured = find_preferred(self._candidates, self._wanted)
        problems: list[solv.Problem] = []
        # apt's own set, if everything in it holds at once; else the nearest to it that does.
        for how in (solv.Job.SOLVER_INSTALL, solv.Job.SOLVER_FAVOR):
            solver = self._pool.Solver()
            ignore = 0 if self._candidates.recommends else 1
            solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, ignore)
            problems = solver.solve(self._jobs(favoured, how))
            if not problems:
                chosen = [self._packages[s.id] for s in solver.transaction().newsolvables()]
                return [package for package in chosen if package.name not in self._candidates.excluded]
        raise ResolveError(
            "the packages cannot be installed together",
            details=[line for problem in problems[:MAX_PROBLEMS] for line in self._explain(problem)],
            hint="leave one of them out, or exclude what it needs",
        )

    def _fill(self) -> None:
        # Sorted, because libsolv's choices depend on the order in which it learns of things.
        repo = self._pool.add_repo("archive")
        packages = self._candidates.packages
        for name in sorted(packages):
            for package in reversed(packages[name]):
                solvable = repo.add_solvable()
                # "noarch" is installable on any machine; that it fits ours was decided before.
                solvable.name, solvable.evr, solvable.arch = package.name, package.version, "noarch"
                self._packages[solvable.id] = package
                self._solvables[_key(package)] = solvable
        for package in self._packages.values():
            self._relate(package)
        for relation in self._wanted:
            self._itself(relation)
        self._pool.createwhatprovides()

    def _relate(self, package: Package) -> None:
        solvable = self._solvables[_key(package)]
        solvable.add_provides(self._pool.rel2id(solvable.nameid, solvable.evrid, solv.REL_EQ))
        if package.name in self._candidates.excluded:
            return
        for group in (*parse_relations(package.pre_depends), *parse_relations(package.depends)):
            solvable.add_requires(self._group(group))
        for group in self._candidates.list_recommended(package):
            solvable.add_recommends(self._group(group))
        for group in (*parse_relations(package.conflicts), *parse_relations(package.breaks)):
            self._conflict(package, solvable, group)

    def _conflict(self, package: Package, solvable: solv.XSolvable, group: Alternatives) -> None:
        # A package may provide what it conflicts with: "no other of this kind" (Policy 7.4).
        others = [p for p in self._candidates.list_matching(group[0]) if p.name != package.name]
        if others:
            solvable.add_conflicts(self._provided_by(f"{group[0]} other than {package.name}", others))

    def _group(self, group: Alternatives) -> solv.Dep:
        dep = self._token(group[0])
        for relation in group[1:]:
            dep = dep.Rel(solv.REL_OR, self._token(relation))
        self._texts[dep.id] = " | ".join(map(str, group))
        return dep

    def _token(self, relation: Relation) -> solv.Dep:
        return self._provided_by(str(relation), self._candidates.list_matching(relation))

    def _itself(self, relation: Relation) -> solv.Dep:
        """A wanted package: no other that provides its name will do."""
        packages = self._candidates.packages[relation.name]
        return self._provided_by(f"package {relation}", [p for p in packages if is_fitting(p.version, relation)])

    def _provided_by(self, token: str, packages: Iterable[Package]) -> solv.Dep:
        """The token as libsolv's dependency; on first use, the packages are made to provide it."""
        dep = self._tokens.get(token)
        if dep is None:
            # In brackets, because every solvable provides its bare name by itself.
            dep = self._tokens[token] = self._pool.Dep(f"<{token}>")
            self._texts[dep.id] = token
            for package in packages:
                self._solvables[_key(package)].add_provides(dep)
        return dep

    def _jobs(self, favoured: Sequence[Package], how: int) -> list[solv.Job]:
        install, by_name = solv.Job.SOLVER_INSTALL, solv.Job.SOLVER_SOLVABLE_PROVIDES
        jobs = [self._pool.Job(install | by_name, self._itself(relation).id) for relation in self._wanted]
        for name in sorted(set(self._candidates.excluded) & self._candidates.packages.keys()):
            best = self._solvables[_key(self._candidates.packages[name][0])]
            jobs.append(self._pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE, best.id))
        for package in favoured:
            solvable = self._solvables[_key(package)]
            jobs.append(self._pool.Job(how | solv.Job.SOLVER_SOLVABLE, solvable.id))
        return jobs

    def _explain(self, problem: solv.Problem) -> list[str]:
        """A problem's rules as sentences, the ones that say most first."""
        lines: dict[str, None] = {}
        for rule in problem.findallproblemrules():
            lines[self._sentence(rule.info())] = None
        all_lines = list(lines)
        return all_lines[:MAX_LINES] + (["..."] if len(all_lines) > MAX_LINES else [])

    def _sentence(self, info: solv.Ruleinfo) -> str:
        match info.type:
            case solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP:
                return f"{self._name(info.solvable)} needs {self._text(info)}, which no package is or provides"
            case solv.Solver.SOLVER_RULE_PKG_REQUIRES:
                return f"{self._name(info.solvable)} needs {self._text(info)}"
            case solv.Solver.SOLVER_RULE_PKG_CONFLICTS:
                return f"{self._name(info.solvable)} conflicts with {self._name(info.othersolvable)}"
            case solv.Solver.SOLVER_RULE_PKG_SAME_NAME:
                one, other = self._name(info.solvable), self._name(info.othersolvable)
                return f"{one} and {other} are one package, of which there can be one version"
            case solv.Solver.SOLVER_RULE_JOB:
                return f"{self._text(info).removeprefix('package ')} is wanted"
            case _:
                return str(info.problemstr())

    def _text(self, info: solv.Ruleinfo) -> str:
        return self._texts.get(info.dep_id, str(info.dep))

    def _name(self, solvable: solv.XSolvable) -> str:
        package = self._packages[solvable.id]
        return f"{package.name} {package.version}"


def _key(package: Package) -> tuple[str, str, str]:
    return package.name, package.version, package.architecture

"""Decide for all cells together: what is built already, what runs and why, and which cells share what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from builder.build.request import BuildRequest
from builder.build.system import make_system_key, plan_system
from builder.build.workspace import Workspace
from builder.core.console import QuietConsole
from builder.core.errors import BuildError
from builder.core.kept import PACKS, SEAL, TOOLS
from builder.core.once import ask_once
from builder.core.store import Store
from builder.debian.lock import Lock
from builder.definition.load import check_outputs, load
from builder.definition.resolved import Resolved
from builder.definition.variation import Variation
from builder.locking import locate_lock, make_lock_path, require_current
from builder.matrix.cells import Cell
from builder.matrix.records import Outcome, read_outcomes
from builder.outputs.manifest import FILE, is_current
from builder.stages.plan import Plan
from builder.toolstree import derive_tools_key

CURRENT, BUILD, LOCK, REFUSED, SHARED = "up to date", "to build", "to lock", "refused", "in the cache"


@dataclass(frozen=True)
class PlannedCell:
    """What is to become of a cell.

    Attributes:
        state: ``up to date``, ``to build``, ``to lock`` (and then to build: which packages there will be, only the
            archive knows), ``in the cache`` that machines share, or ``refused``.
        reason: why; the whole complaint of one that is refused.
        ran: stage -> why it runs.
        reused: the stages that do not run.
        claims: what it makes that other cells may need, too: nobody else should make it at the same time.
        shares: a cell before it that makes some of what it needs.
        key: of all that decides its artifacts; empty where it has no lock that fits, or is refused.
        seconds: how long it will take, by what it or a cell of the same definition took; ``None`` if nobody knows.
        last: how each command ended the last time.
    """

    cell: Cell
    state: str
    reason: str = ""
    ran: Mapping[str, str] | None = None
    reused: tuple[str, ...] = ()
    claims: frozenset[str] = frozenset()
    shares: str = ""
    key: str = ""
    seconds: float | None = None
    last: Mapping[str, Outcome] | None = None

    @property
    def is_built(self) -> bool:
        """Whether there is nothing to do for it."""
        return self.state == CURRENT


@dataclass(frozen=True)
class _Group:
    """What cells have in common that differ in their outputs alone."""

    resolved: Resolved | None = None
    lock: Lock | None = None
    plan: Plan | None = None
    state: str = BUILD
    reason: str = ""
    claims: frozenset[str] = frozenset()


class _Planner:
    """Plans what cells have in common, once; reads each lock once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups: dict[tuple[Path, Variation], _Group] = {}
        self._load_lock = cache(Lock.load)

    def plan_group(self, cell: Cell) -> _Group:
        """The plan of the cells that differ from this one in their outputs alone."""
        same = (cell.definition, replace(cell.variation, outputs=()))
        if same not in self._groups:
            self._groups[same] = self._plan(*same)
        return self._groups[same]

    def _plan(self, definition: Path, variation: Variation) -> _Group:
        """Load, look at the lock, plan the stages."""
        try:
            resolved = load(definition, variation=variation).resolved
        except BuildError as error:
            return _Group(state=REFUSED, reason=str(error))
        path = make_lock_path(resolved.path)
        try:
            path = locate_lock(resolved, variation.locked_as, self._load_lock)
            if not path.exists():
                reason = f"there is no {path.name}"
                return _Group(resolved, state=LOCK, reason=reason, claims=frozenset({f"lock {path}"}))
            lock = self._load_lock(path)
            require_current(lock, resolved, str(path))
        except BuildError as error:
            return _Group(resolved, state=LOCK, reason=error.what, claims=frozenset({f"lock {path}"}))
        request = BuildRequest(definition, path.parent, self._store, QuietConsole(), variation=variation)
        plan = plan_system(Workspace(request, self._store), resolved, lock)
        return _Group(resolved, lock, plan, claims=self._list_claims(plan, lock))

    def _list_claims(self, plan: Plan, lock: Lock) -> frozenset[str]:
        running = [planned for planned in plan.stages if planned.run]
        claims = {f"stage {planned.key}" for planned in running if planned.stage.checkpoint}
        tools = derive_tools_key(lock.tools)
        missing: set[str] = set()
        if tools not in self._tools:
            claims.add(f"tools {tools}")
            missing.update(package.sha256 for package in lock.tools)
        if len(running) == len(plan.stages):
            missing.update(package.sha256 for package in lock.packages)
        return frozenset(claims | {f"deb {sha256}" for sha256 in missing - self._packs})

    @cached_property
    def _packs(self) -> set[str]:
        """The debs that are unpacked."""
        return {path.name.removesuffix(SEAL) for path in (self._store.root / PACKS.name).glob(f"*{SEAL}")}

    @cached_property
    def _tools(self) -> set[str]:
        """The keys of the tools trees that are there."""
        return {path.name.removesuffix(SEAL) for path in (self._store.root / TOOLS.name).glob(f"*{SEAL}")}


def plan_cells(cells: Sequence[Cell], out: Path, store: Store) -> list[PlannedCell]:
    """The plan of each cell, in order; changes nothing."""
    planner = _Planner(store)
    with ask_once():
        planned = [_plan_cell(cell, planner.plan_group(cell), out, store) for cell in cells]
    return _estimate(_share(planned))


def _plan_cell(cell: Cell, group: _Group, out: Path, store: Store) -> PlannedCell:
    last = read_outcomes(out / cell.id)
    if group.resolved is None or group.state == LOCK:
        return PlannedCell(cell, group.state, group.reason, claims=group.claims, last=last)
    assert group.plan is not None
    outputs = cell.variation.outputs or group.resolved.outputs
    problems = [*check_outputs(outputs, int(group.resolved.disk.size))]
    if problems:
        return PlannedCell(cell, REFUSED, "; ".join(problem.message for problem in problems), last=last)
    plan = group.plan
    ran = {planned.stage.name: planned.reason for planned in plan.stages if planned.run}
    # By the key of all that decides the artifacts, wherever they were built: the stages may have run elsewhere.
    manifest, key = out / cell.id / FILE, _derive_key(cell, group, store)
    if manifest.exists() and is_current(manifest, key):
        return PlannedCell(cell, CURRENT, reused=plan.reused, key=key, last=last)
    reason = next(iter(ran.values()), "its files are not there, or of something else")
    return PlannedCell(cell, BUILD, reason, ran, plan.reused, group.claims, key=key, last=last)


def derive_keys(cells: Sequence[Cell], store: Store) -> dict[str, str]:
    """The key of everything that decides a cell's artifacts, by its name; empty where it has no lock that fits, or
    cannot be built."""
    planner = _Planner(store)
    with ask_once():
        return {cell.id: _derive_key(cell, planner.plan_group(cell), store) for cell in cells}


def _derive_key(cell: Cell, group: _Group, store: Store) -> str:
    if group.resolved is None or group.lock is None or group.plan is None:
        return ""
    resolved = replace(group.resolved, outputs=cell.variation.outputs or group.resolved.outputs)
    request = BuildRequest(cell.definition, Path(), store, QuietConsole(), variation=cell.variation)
    return make_system_key(request, resolved, group.lock, group.plan)


def mark_shared(planned: Sequence[PlannedCell], has: Callable[[str], bool]) -> list[PlannedCell]:
    """The plan, in which cells that a cache has whole are not built.

    Args:
        has: whether it has the build of a key.
    """
    return [
        replace(row, state=SHARED, reason="", ran=None, shares="", seconds=None)
        if row.state == BUILD and has(row.key)
        else row
        for row in planned
    ]


def _share(planned: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Say of each cell which one before it makes some of what it needs."""
    makers: dict[str, str] = {}
    result = []
    for row in planned:
        shares = next((makers[claim] for claim in sorted(row.claims) if claim in makers), "")
        for claim in row.claims:
            makers.setdefault(claim, row.cell.id)
        result.append(replace(row, shares=shares))
    return result


def _estimate(planned: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Seconds from earlier runs: of the cell itself, else of one of the same definition; a stage that a cell before it
    runs as well takes nothing."""
    known: dict[Path, Outcome] = {}
    for row in planned:
        done = (row.last or {}).get("build")
        if done is not None and done.stages and done.status == 0:
            before = known.setdefault(row.cell.definition, done)
            if before.seconds < done.seconds:  # one that ran more stages says more
                known[row.cell.definition] = done
    result = []
    for row in planned:
        own = (row.last or {}).get("build")
        model = own if own is not None and own.stages and own.status == 0 else known.get(row.cell.definition)
        if row.state == CURRENT or model is None:
            result.append(replace(row, seconds=0.0 if row.state == CURRENT else None))
            continue
        whole = known[row.cell.definition]
        running = () if row.shares else (row.ran if row.ran is not None else whole.stages)
        stages = {**whole.stages, **model.stages}
        rest = model.seconds - sum(model.stages.values())
        result.append(replace(row, seconds=max(0.0, rest) + sum(stages.get(name, 0.0) for name in running)))
    return result

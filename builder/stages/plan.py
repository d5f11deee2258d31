"""Decide, then do: which stages run, and because of what; then run just those."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder.core.files import write_file
from builder.core.sealed import head_of, is_sealed, read_sealed, write_sealed
from builder.core.store import Store
from builder.stages.stage import Context, Stage, explain, inputs_of, key_of
from builder.tree.node import Inline, Kind, Slice
from builder.tree.tree import Tree

# Content smaller than this stays in the snapshot itself.
SPILL = 2048
# The kinds of its files; a number is changed with what they hold.
TREE, DATA, USES = "tree 1", "data 1", "uses 1"


@dataclass(frozen=True)
class Planned:
    """A stage, its key, and whether its result is in the store.

    Attributes:
        reason: why it runs; empty if it does not.
    """

    stage: Stage
    key: str
    run: bool
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What a build will do. Printable; making it changes nothing."""

    stages: tuple[Planned, ...]

    @property
    def key(self) -> str:
        """Of the finished tree."""
        return self.stages[-1].key

    @property
    def reused(self) -> tuple[str, ...]:
        """The names of the stages that do not run."""
        return tuple(planned.stage.name for planned in self.stages if not planned.run)


def make_plan(stages: Sequence[Stage], store: Store, record: Path, *, anew: str = "") -> Plan:
    """Compare the stages with the store, and with ``record``, which says what the last build of this definition had.

    A stage whose snapshot is missing runs only if a later one needs its tree.

    Args:
        anew: why all stages run, whatever is in the store.
    """
    before = _read_record(record)
    keys: list[str] = []
    for stage in stages:
        keys.append(key_of(stage, keys[-1] if keys else ""))
    if anew:
        return Plan(tuple(Planned(stage, key, run=True, reason=anew) for stage, key in zip(stages, keys, strict=True)))
    usable = [i for i, key in enumerate(keys) if is_usable(store, key)]
    start = usable[-1] + 1 if usable else 0
    planned = []
    for index, (stage, key) in enumerate(zip(stages, keys, strict=True)):
        if index < start:
            planned.append(Planned(stage, key, run=False))
            continue
        known = before.get(stage.name)
        if known is None:
            reason = "it has not run before"
        elif known["key"] == key:
            reason = "its result is not kept" if not stage.checkpoint else "its result is no longer in the store"
        else:
            inputs = known["inputs"]
            reason = explain(inputs if isinstance(inputs, dict) else {}, inputs_of(stage))
        planned.append(Planned(stage, key, run=True, reason=reason))
    return Plan(tuple(planned))


def _read_record(record: Path) -> dict[str, dict[str, object]]:
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    # Of another version, it may be anything.
    known = data.items() if isinstance(data, dict) else ()
    return {name: value for name, value in known if isinstance(value, dict) and "key" in value and "inputs" in value}


def write_record(plan: Plan, record: Path) -> None:
    """Remember what this build was made from, so that the next plan can say what changed."""
    data = {p.stage.name: {"key": p.key, "inputs": inputs_of(p.stage)} for p in plan.stages}
    write_file(record, json.dumps(data))


def snapshot_path(store: Store, key: str) -> Path:
    """Where a stage's tree is kept. Beside it are ``.data``, what it had in memory, and ``.uses``, its files."""
    return store.root / "stages" / f"{key}.tree"


def is_usable(store: Store, key: str) -> bool:
    """Whether a stage's tree is kept, with every file of the store that it points into, none written since.

    Packs were read through when they were made or used by the stage that unpacks; from then on their size and time
    must stay. What is in the files of snapshots themselves, :func:`is_whole` knows.
    """
    uses = _uses(store, key)
    if uses is None:
        return False
    try:
        return all(_identity(name, timed=len(known) > 1) == known for name, known in uses.items())
    except (OSError, ValueError):
        return False


def is_whole(store: Store, key: str) -> bool:
    """Whether a snapshot that is usable is so bit for bit; reads what is in its files and those of earlier stages."""
    path = snapshot_path(store, key)
    if not is_sealed(path, TREE):
        return False
    packs = [Path(name) for name in _uses(store, key) or () if Path(name).suffix == ".data"]
    return all(is_sealed(pack, DATA) for pack in packs)


def damaged_snapshot(plan: Plan, store: Store) -> str | None:
    """The key of the snapshot that the plan goes on from, if that is damaged."""
    reused = [planned.key for planned in plan.stages if not planned.run]
    return reused[-1] if reused and not is_whole(store, reused[-1]) else None


def forget_snapshot(store: Store, key: str) -> None:
    """Let nobody use a snapshot any more."""
    snapshot_path(store, key).with_suffix(".uses").unlink(missing_ok=True)


def _uses(store: Store, key: str) -> dict[str, list[int]] | None:
    """Of all files that a snapshot points into: the size, and where that counts the time in nanoseconds."""
    body = read_sealed(snapshot_path(store, key).with_suffix(".uses"), USES)
    return None if body is None else dict(json.loads(body))


def _identity(name: str, *, timed: bool) -> list[int]:
    """Size and time of a regular file.

    Raises:
        OSError: there is none.
        ValueError: it is something else.
    """
    status = os.lstat(name)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{name} is no regular file")
    return [status.st_size, status.st_mtime_ns] if timed else [status.st_size]


def run_plan(
    plan: Plan,
    context: Context,
    seconds: dict[str, float],
    watch: Callable[[str, Tree], None] | None = None,
) -> Tree:
    """Run what the plan says and return the finished tree.

    ``seconds`` receives how long each stage took; ``watch`` is shown the tree after each stage that ran.
    """
    tree = Tree()
    for index, planned in enumerate(plan.stages):
        if planned.run:
            if index and not plan.stages[index - 1].run:
                tree = load_snapshot(context.store, plan.stages[index - 1].key)
            started = time.monotonic()
            with context.console.step(planned.stage.name), _scratch(context) as scratch:
                tree = planned.stage.apply(tree.copy(), replace(context, scratch=scratch))
                if planned.stage.checkpoint:
                    tree = save_snapshot(context.store, planned.key, tree)
            seconds[planned.stage.name] = time.monotonic() - started
            if watch is not None:
                watch(planned.stage.name, tree)
    if not plan.stages[-1].run:
        tree = load_snapshot(context.store, plan.key)
    return tree


class _scratch:
    """A directory for one stage, gone afterwards."""

    def __init__(self, context: Context) -> None:
        self._parent = context.scratch

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(dir=self._parent, prefix="stage-"))
        return self._path

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def save_snapshot(store: Store, key: str, tree: Tree) -> Tree:
    """Keep a tree: larger content that is in memory goes into one file beside the index. Returns the kept tree."""
    path = snapshot_path(store, key)
    pack = path.with_suffix(".data")
    nodes = dict(tree.walk())
    pieces = []
    offset = len(head_of(DATA, 64 * "0"))
    for where, node in nodes.items():
        if node.kind is Kind.FILE and isinstance(node.content, Inline) and node.content.size >= SPILL:
            pieces.append(node.content.data)
            nodes[where] = node.but(content=Slice(str(pack), offset, node.content.size))
            offset += node.content.size
    write_sealed(pack, DATA, *pieces)
    kept = Tree(nodes)
    write_sealed(path, TREE, kept.dumps())
    names = {n.content.path for n in nodes.values() if isinstance(n.content, Slice)} | {str(pack), str(path)}
    # The time of files of stages is when they were used last; they have their hash in them.
    uses = {name: _identity(name, timed=Path(name).parent != path.parent) for name in sorted(names)}
    # The list last: where it is, all the rest is.
    write_sealed(path.with_suffix(".uses"), USES, json.dumps(uses).encode())
    return kept


def load_snapshot(store: Store, key: str) -> Tree:
    """A tree that :func:`save_snapshot` kept, now used again.

    Raises:
        ValueError: it is damaged; see :func:`damaged_snapshot`.
    """
    path = snapshot_path(store, key)
    for name in (*(_uses(store, key) or ()), str(path.with_suffix(".uses"))):
        # The data of earlier stages as well, or Store.prune would take those for unused.
        if Path(name).parent == path.parent:
            os.utime(name)
    body = read_sealed(path, TREE)
    if body is None:
        raise ValueError(f"{path} is damaged")
    return Tree.loads(body)


def lines(plan: Plan) -> list[str]:
    """A plan for people, one line a stage."""
    width = max(len(p.stage.name) for p in plan.stages)
    return [f"{p.stage.name:<{width}}  {f'runs    because {p.reason}' if p.run else 'reused'}" for p in plan.stages]

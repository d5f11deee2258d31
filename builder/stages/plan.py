"""Decide, then do: which stages run, and because of what; then run just those."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder.core import kept
from builder.core.files import open_replacement
from builder.core.inputs import collect_inputs, explain_change
from builder.core.kept import BUILDS, STAGES, Row, derive_key, describe_file, forget_entry, read_entry, seal_entry
from builder.core.once import remember_answer
from builder.core.store import Store
from builder.stages.stage import Context, Stage
from builder.tree.node import Inline, Kind, Slice
from builder.tree.tree import Tree

# Content smaller than this stays in the snapshot itself.
SPILL = 2048
EARLIER = "\0earlier"  # no path has that
MADE = "made of it"  # no stage is called so


@dataclass(frozen=True)
class Planned:
    """A stage, its key, and whether its result is in the store.

    Attributes:
        inputs: what it depends on, besides the stage before.
        reason: why it runs; empty if it does not.
    """

    stage: Stage
    key: str
    inputs: Mapping[str, str]
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


def make_plan(stages: Sequence[Stage], store: Store, definition: Path, *, tools: str, anew: str = "") -> Plan:
    """Compare the stages with the store, and with what the last build of this definition was made from.

    A stage whose snapshot is missing runs only if a later one needs its tree.

    Args:
        tools: the key of the tools tree, whose programs the stages run.
        anew: why all stages run, whatever is in the store.
    """
    inputs = [collect_inputs(stage) | {"tools": tools} for stage in stages]
    keys: list[str] = []
    for stage, labels in zip(stages, inputs, strict=True):
        keys.append(derive_stage_key(stage, keys[-1] if keys else "", labels))
    if anew:
        return Plan(
            tuple(Planned(*row, run=True, reason=anew) for row in zip(stages, keys, inputs, strict=True)),
        )
    start = next((i + 1 for i in reversed(range(len(keys))) if is_usable(store, keys[i])), 0)
    last = read_entry(store, BUILDS, _name_of(definition))
    before = {} if last is None else last.value
    planned = []
    for index, (stage, key, labels) in enumerate(zip(stages, keys, inputs, strict=True)):
        if index < start:
            planned.append(Planned(stage, key, labels, run=False))
            continue
        known = before.get(stage.name)
        if known is None:
            reason = "it has not run before"
        elif known["key"] == key:
            reason = "its result is not kept" if not stage.checkpoint else "its result is no longer in the store"
        else:
            reason = explain_change(known["inputs"], labels)
        planned.append(Planned(stage, key, labels, run=True, reason=reason))
    return Plan(tuple(planned))


def derive_stage_key(stage: Stage, before: str, inputs: Mapping[str, str]) -> str:
    """The key of a stage's tree: its inputs, on top of the key of the stage before."""
    return derive_key({"stage": type(stage).__qualname__, "before": before, **inputs})


def record_plan(plan: Plan, store: Store, definition: Path, made: str | None = None) -> None:
    """Remember what this build was made from, so that the next plan can say what changed; and what the one before, if
    that made another tree.

    Args:
        made: the key of the tree that was made of the plan's, if it is another.
    """
    last = find_recorded_key(store, definition)
    if last is not None and last != (made or plan.key):
        before = read_entry(store, BUILDS, _name_of(definition))
        assert before is not None
        seal_entry(store, BUILDS, _name_of(definition, EARLIER), value=before.value)
    value = {p.stage.name: {"key": p.key, "inputs": p.inputs} for p in plan.stages}
    if made is not None:
        value[MADE] = {"key": made, "inputs": {}}
    seal_entry(store, BUILDS, _name_of(definition), value=value)


def find_recorded_key(store: Store, definition: Path, *, earlier: bool = False) -> str | None:
    """The key of the finished tree of a definition's last build; or of the one before, that had another."""
    entry = read_entry(store, BUILDS, _name_of(definition, EARLIER if earlier else ""))
    rows = [] if entry is None else [*entry.value.values()]
    return str(rows[-1]["key"]) if rows else None


def _name_of(definition: Path, which: str = "") -> str:
    return hashlib.sha256(f"{definition.absolute()}{which}".encode(errors="surrogateescape")).hexdigest()


def make_snapshot_path(store: Store, key: str) -> Path:
    """Where a stage's tree is kept. Beside it is ``.data``, what it had in memory."""
    return store.root / STAGES.name / f"{key}.tree"


@remember_answer
def is_usable(store: Store, key: str) -> bool:
    """Whether a stage's tree is kept, with every file of the store that it points into, none written since.

    Packs were read through when they were made or used by the stage that unpacks; from then on their size and time
    must stay. What is in the files of snapshots themselves, :func:`find_damaged_snapshot` knows.
    """
    entry = read_entry(store, STAGES, key)
    return entry is not None and kept.is_usable(entry)


def find_damaged_snapshot(plan: Plan, store: Store) -> str | None:
    """The key of the snapshot that the plan goes on from, if that is damaged: it and those of earlier stages are read.

    Raises:
        OSError: the disk failed.
    """
    reused = [planned.key for planned in plan.stages if not planned.run]
    entry = read_entry(store, STAGES, reused[-1]) if reused else None
    return reused[-1] if reused and (entry is None or not kept.is_whole(entry)) else None


def forget_snapshot(store: Store, key: str) -> None:
    """Let nobody use a snapshot any more."""
    forget_entry(store, STAGES, key)


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
            with context.console.open_step(planned.stage.name), _scratch(context) as scratch:
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
    path = make_snapshot_path(store, key)
    data = path.with_suffix(".data")
    nodes = dict(tree.walk())
    pieces = []
    offset = 0
    for where, node in nodes.items():
        if node.kind is Kind.FILE and isinstance(node.content, Inline) and node.content.size >= SPILL:
            pieces.append(node.content.data)
            nodes[where] = node.copy_with(content=Slice(str(data), offset, node.content.size))
            offset += node.content.size
    smaller = Tree(nodes)
    files = {path.name: _write_hashed(path, [smaller.encode()])}
    if pieces:
        files[data.name] = _write_hashed(data, pieces)
    names = {n.content.path for n in nodes.values() if isinstance(n.content, Slice)} - {str(data)}
    uses = {name: _row_of(store, Path(name)) for name in sorted(names)}
    seal_entry(store, STAGES, key, files=files, uses=uses)
    return smaller


def _write_hashed(path: Path, pieces: Sequence[bytes]) -> Row:
    digest = hashlib.sha256()
    with open_replacement(path) as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
    return [sum(map(len, pieces)), digest.hexdigest()]


def _row_of(store: Store, path: Path) -> Row:
    """Of a file that a snapshot points into: of an earlier snapshot's, its hash."""
    if path.parent == store.root / STAGES.name:
        earlier = read_entry(store, STAGES, path.stem)
        if earlier is not None:
            return earlier.files[path.name]
    return describe_file(str(path))


def load_snapshot(store: Store, key: str) -> Tree:
    """A tree that :func:`save_snapshot` kept, now used again.

    Raises:
        ValueError: it is damaged; see :func:`find_damaged_snapshot`.
    """
    path = make_snapshot_path(store, key)
    entry = read_entry(store, STAGES, key)
    if entry is None:
        raise ValueError(f"{path} is damaged")
    # With the data of earlier stages, or pruning would take those for unused.
    entry.touch()
    return Tree.decode(entry.read(path))


def format_plan(plan: Plan) -> list[str]:
    """A plan for people, one line a stage."""
    width = max(len(p.stage.name) for p in plan.stages)
    return [f"{p.stage.name:<{width}}  {f'runs    because {p.reason}' if p.run else 'reused'}" for p in plan.stages]

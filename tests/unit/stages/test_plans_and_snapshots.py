"""What a plan says will run and why; what a run takes from the store and leaves in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from builder.core import kept
from builder.core.kept import STAGES as SECTION
from builder.core.kept import prune, read_entry, seal_entry
from builder.core.store import Store
from builder.stages.plan import (
    SPILL,
    Plan,
    find_damaged_snapshot,
    forget_snapshot,
    format_plan,
    is_usable,
    load_snapshot,
    make_plan,
    make_snapshot_path,
    record_plan,
    run_plan,
    save_snapshot,
)
from builder.stages.stage import Context
from builder.tree.node import Inline, Slice, make_directory, make_file, make_symlink
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit

RAN: list[str] = []
TOOLS = "a tools tree"


@dataclass(frozen=True)
class First:
    """Writes a large file, and keeps the tree."""

    name: ClassVar[str] = "first"
    checkpoint: ClassVar[bool] = True

    text: str = "1"

    def apply(self, tree: Tree, context: Context) -> Tree:
        RAN.append(self.name)
        assert context.scratch.is_dir()
        (context.scratch / "on-the-way").touch()
        tree.put("/first", make_file(self.text * SPILL, origin="stage:first"))
        return tree


@dataclass(frozen=True)
class Second:
    """Adds a line; its tree is not kept."""

    name: ClassVar[str] = "second"
    checkpoint: ClassVar[bool] = False

    text: str = "2"

    def apply(self, tree: Tree, context: Context) -> Tree:
        RAN.append(self.name)
        tree.put("/second", make_file(tree.read("/first")[:1] + self.text.encode(), origin="stage:second"))
        return tree


@dataclass(frozen=True)
class Third:
    """Adds a little, and keeps the tree."""

    name: ClassVar[str] = "third"
    checkpoint: ClassVar[bool] = True

    text: str = "3"

    def apply(self, tree: Tree, context: Context) -> Tree:
        RAN.append(self.name)
        tree.put("/third", make_file(tree.read("/second") + self.text.encode(), origin="stage:third"))
        return tree


Stages = list[First | Second | Third]
STAGES: Stages = [First(), Second(), Third()]


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    return tmp_path / "os.yaml"


@pytest.fixture
def build(store: Store, definition: Path, context: Context) -> Callable[[Stages], Tree]:
    """Plan and run, as a build does."""

    def run(stages: Stages) -> Tree:
        RAN.clear()
        plan = make_plan(stages, store, definition, tools=TOOLS)
        tree = run_plan(plan, context, {})
        record_plan(plan, store, definition)
        return tree

    return run


def decisions(plan: Plan) -> list[tuple[str, bool, str]]:
    return [(p.stage.name, p.run, p.reason) for p in plan.stages]


def test_at_first_everything_runs(store: Store, definition: Path) -> None:
    plan = make_plan(STAGES, store, definition, tools=TOOLS)
    assert decisions(plan) == [(name, True, "it has not run before") for name in ("first", "second", "third")]
    assert format_plan(plan)[0] == "first   runs    because it has not run before"
    assert plan.key == plan.stages[-1].key
    assert not (store.root / "stages").exists(), "making a plan changes nothing"


def test_nothing_runs_twice(build: Callable[[Stages], Tree], store: Store, definition: Path) -> None:
    tree = build(STAGES)
    assert RAN == ["first", "second", "third"]
    plan = make_plan(STAGES, store, definition, tools=TOOLS)
    assert format_plan(plan) == ["first   reused", "second  reused", "third   reused"]
    again = build(STAGES)
    assert RAN == []
    assert again.compute_digest() == tree.compute_digest()
    assert again.read("/third") == b"123"


def test_a_late_change_starts_from_the_last_kept_tree(
    build: Callable[[Stages], Tree], store: Store, definition: Path
) -> None:
    build(STAGES)
    changed: Stages = [First(), Second(), Third("x")]
    assert decisions(make_plan(changed, store, definition, tools=TOOLS)) == [
        ("first", False, ""),
        ("second", True, "its result is not kept"),
        ("third", True, "text changed"),
    ]
    assert build(changed).read("/third") == b"12x"
    assert RAN == ["second", "third"]


def test_an_early_change_runs_all_that_follow(build: Callable[[Stages], Tree], store: Store, definition: Path) -> None:
    build(STAGES)
    changed: Stages = [First("x"), Second(), Third()]
    assert decisions(make_plan(changed, store, definition, tools=TOOLS)) == [
        ("first", True, "text changed"),
        ("second", True, "an earlier stage runs"),
        ("third", True, "an earlier stage runs"),
    ]
    assert build(changed).read("/third") == b"x23"


def test_going_back_to_what_was_built_before_runs_nothing(build: Callable[[Stages], Tree]) -> None:
    tree = build(STAGES)
    build([First("x"), Second(), Third()])
    assert build(STAGES) == tree
    assert RAN == []


def test_the_times_of_what_ran_are_measured(store: Store, definition: Path, context: Context) -> None:
    seconds: dict[str, float] = {}
    run_plan(make_plan(STAGES, store, definition, tools=TOOLS), context, seconds)
    assert list(seconds) == ["first", "second", "third"]
    assert list(context.scratch.iterdir()) == [], "what stages make on the way is gone"


def test_a_watcher_sees_the_tree_after_each_stage_that_ran(store: Store, definition: Path, context: Context) -> None:
    seen: list[tuple[str, int]] = []
    run_plan(
        make_plan(STAGES, store, definition, tools=TOOLS),
        context,
        {},
        lambda stage, tree: seen.append((stage, len(tree))),
    )
    assert seen == [("first", 2), ("second", 3), ("third", 4)]


def test_a_stage_that_fails_leaves_no_scratch_and_no_snapshot(
    store: Store, definition: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Second, tree: Tree, context: Context) -> Tree:
        (context.scratch / "half").touch()
        raise ValueError("no")

    monkeypatch.setattr(Second, "apply", fail)
    plan = make_plan(STAGES, store, definition, tools=TOOLS)
    with pytest.raises(ValueError, match="no"):
        run_plan(plan, context, {})
    assert list(context.scratch.iterdir()) == []
    assert [is_usable(store, p.key) for p in plan.stages] == [True, False, False]


def test_a_damaged_record_only_costs_the_reason(
    build: Callable[[Stages], Tree], store: Store, definition: Path
) -> None:
    build(STAGES)
    (record,) = (store.root / "builds").iterdir()
    for text in ("", "{", "[]", "\xff"):
        record.write_text(text)
        plan = make_plan([First("x"), Second(), Third()], store, definition, tools=TOOLS)
        assert {p.reason for p in plan.stages} == {"it has not run before"}
        assert format_plan(make_plan(STAGES, store, definition, tools=TOOLS))[2] == "third   reused"


def test_other_tools_make_no_tree_twice(build: Callable[[Stages], Tree], store: Store, definition: Path) -> None:
    """What a program of the tools tree wrote into a tree is another program's, once the tools are others."""
    build(STAGES)
    plan = make_plan(STAGES, store, definition, tools="another tools tree")
    assert decisions(plan) == [(name, True, "tools changed") for name in ("first", "second", "third")]


# --- snapshots -------------------------------------------------------------------------------------


def third_key(store: Store, definition: Path) -> str:
    return make_plan(STAGES, store, definition, tools=TOOLS).key


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("suffix", [".tree", ".data", ".seal"])
@pytest.mark.parametrize("harm", [Path.unlink, cut], ids=["missing", "truncated"])
def test_a_tree_that_is_not_whole_is_made_again(
    build: Callable[[Stages], Tree], store: Store, definition: Path, suffix: str, harm: Callable[[Path], None]
) -> None:
    tree = build(STAGES)
    first = make_snapshot_path(store, make_plan(STAGES, store, definition, tools=TOOLS).stages[0].key)
    harm(first.with_suffix(suffix))
    harm(make_snapshot_path(store, third_key(store, definition)).with_suffix(".seal"))
    plan = make_plan(STAGES, store, definition, tools=TOOLS)
    assert decisions(plan)[0] == ("first", True, "its result is no longer in the store")
    assert build(STAGES) == tree
    assert RAN == ["first", "second", "third"]


def test_a_tree_that_points_into_a_lost_pack_of_an_earlier_stage_is_made_again(
    build: Callable[[Stages], Tree], store: Store, definition: Path
) -> None:
    tree = build(STAGES)
    key = make_plan(STAGES, store, definition, tools=TOOLS).stages[0].key
    make_snapshot_path(store, key).with_suffix(".data").unlink()
    assert not is_usable(store, third_key(store, definition))
    assert build(STAGES) == tree
    assert RAN == ["first", "second", "third"]


def test_a_tree_is_kept_with_large_content_beside_it(store: Store) -> None:
    tree = Tree()
    tree.put("/large", make_file(b"x" * SPILL, 0o4755, uid=3, origin="package:a"))
    tree.put("/larger", make_file(b"y" * 3 * SPILL, origin="package:a"))
    tree.put("/small", make_file(b"z" * (SPILL - 1), origin="package:a"))
    tree.put("/link", make_symlink("large", origin="package:a"))
    tree.put("/dir", make_directory(0o1777, origin="package:a"))
    kept = save_snapshot(store, "key", tree)
    assert kept.compute_digest() == tree.compute_digest()
    assert load_snapshot(store, "key") == kept
    assert isinstance(kept.require("/large").content, Slice)
    assert isinstance(kept.require("/small").content, Inline)
    assert kept.require("/large").copy_with(content=Inline(b"")) == tree.require("/large").copy_with(
        content=Inline(b"")
    )
    assert (store.root / "stages" / "key.data").stat().st_size == 4 * SPILL


def test_a_tree_of_small_files_has_nothing_beside_it(store: Store) -> None:
    save_snapshot(store, "key", Tree())
    assert is_usable(store, "key")
    assert not (store.root / "stages" / "key.data").exists()


@pytest.mark.parametrize("text", ["", "[]", "3", '{"/nowhere": 1}'])
def test_a_seal_that_makes_no_sense_makes_a_tree_unusable(store: Store, text: str) -> None:
    save_snapshot(store, "key", Tree())
    (store.root / "stages" / "key.seal").write_text(text)
    assert not is_usable(store, "key")


def test_a_tree_that_points_to_nowhere_is_not_used(store: Store) -> None:
    save_snapshot(store, "key", Tree())
    seal_entry(store, SECTION, "key", uses={"/nowhere": [1, 2, 3]})
    assert not is_usable(store, "key")


def flip(path: Path) -> None:
    """Change a bit and nothing else that can be seen from outside."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("suffix", [".tree", ".data"])
@pytest.mark.parametrize("stage", [0, -1], ids=["of an earlier stage", "of the last"])
def test_a_flipped_bit_is_found_before_a_tree_is_used(
    build: Callable[[Stages], Tree], store: Store, definition: Path, suffix: str, stage: int
) -> None:
    stages: Stages = [First(), Second(), Third("3" * SPILL)]
    build(stages)
    plan = make_plan(stages, store, definition, tools=TOOLS)
    assert find_damaged_snapshot(plan, store) is None
    flip(make_snapshot_path(store, plan.stages[stage].key).with_suffix(suffix))
    if stage == 0 and suffix == ".tree":
        assert find_damaged_snapshot(plan, store) is None, "only what the last tree needs counts"
        return
    assert find_damaged_snapshot(plan, store) == plan.key
    forget_snapshot(store, plan.key)
    again = make_plan(stages, store, definition, tools=TOOLS)
    assert again.stages[-1].run
    assert (find_damaged_snapshot(again, store) is not None) == (stage == 0)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes()[::-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.rename(path.with_name("b")) and path.symlink_to("b"),
        lambda path: path.unlink() or path.mkdir(),
    ],
    ids=["written", "emptied", "a link", "a directory"],
)
def test_a_tree_that_points_into_a_pack_that_was_touched_since_is_not_used(
    store: Store, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    pack = tmp_path / "a.tar"
    pack.write_bytes(b"0123456789")
    os.utime(pack, (1, 1))
    tree = Tree()
    tree.put("/a", make_file("", origin="package:a").copy_with(content=Slice(str(pack), 2, 3)))
    save_snapshot(store, "key", tree)
    assert is_usable(store, "key")
    harm(pack)
    assert not is_usable(store, "key")


def test_a_tree_of_another_version_of_build_os_is_not_misread(store: Store) -> None:
    save_snapshot(store, "key", Tree())
    entry = read_entry(store, SECTION, "key")
    assert entry is not None
    seal_entry(store, replace(SECTION, version=99), "key", files=entry.files, uses=entry.uses)
    assert not is_usable(store, "key")
    with pytest.raises(ValueError, match="is damaged"):
        load_snapshot(store, "key")


def test_using_a_tree_keeps_it_from_being_pruned_with_all_it_points_into(
    build: Callable[[Stages], Tree], store: Store, definition: Path
) -> None:
    tree = build(STAGES)
    long_ago = time.time() - 100_000
    for path in (store.root / "stages").iterdir():
        os.utime(path, (long_ago, long_ago))
    build(STAGES)
    prune(store, [replace(SECTION, last=0)])
    assert build(STAGES) == tree
    assert RAN == []
    first = make_plan(STAGES, store, definition, tools=TOOLS).stages[0].key
    assert make_snapshot_path(store, first).with_suffix(".data").exists()


def test_what_nobody_used_is_pruned_whole(build: Callable[[Stages], Tree], store: Store) -> None:
    build(STAGES)
    build([First("x"), Second(), Third()])
    assert len(list((store.root / "stages").iterdir())) == 10
    long_ago = time.time() - 100_000
    for path in (store.root / "stages").iterdir():
        os.utime(path, (long_ago, long_ago))
    build(STAGES)
    prune(store, [replace(SECTION, last=2)])
    assert len(list((store.root / "stages").iterdir())) == 5
    build(STAGES)
    assert RAN == []


def test_the_record_says_what_a_person_could_change(
    build: Callable[[Stages], Tree], store: Store, definition: Path
) -> None:
    build(STAGES)
    (record,) = (store.root / "builds").glob("*.seal")
    entry = read_entry(store, kept.BUILDS, record.stem)
    assert entry is not None
    data = entry.value
    assert list(data) == ["first", "second", "third"]
    assert list(data["first"]["inputs"]) == ["build-os", "text", "tools"]
    assert data["third"]["key"] == third_key(store, definition)

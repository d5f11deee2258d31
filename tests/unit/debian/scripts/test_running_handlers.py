"""Handlers in their order, indexes beside each other: what the tree gets does not depend on who is faster."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.debian.scripts import handlers, kept_indexes
from builder.debian.scripts.handlers import run_handlers
from builder.debian.scripts.work import Work
from builder.tree.node import make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit


def writes(path: str, text: str) -> Callable[[Work], None]:
    return lambda work: work.tree.put(path, make_file(text, origin="x")) and None


def test_each_handler_sees_what_those_before_it_did_and_indexes_see_all_of_it(
    work_on: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    look = ("look", lambda work: seen.append((work.has("/one"), work.has("/two"), work.has("/index"))))
    monkeypatch.setattr(handlers, "HANDLERS", (("one", writes("/one", "")), look, ("two", writes("/two", ""))))
    monkeypatch.setattr(handlers, "INDEXES", (("index", writes("/index", "")), look))
    work = work_on({})
    run_handlers(work, QuietConsole())
    assert seen == [(True, False, False), (True, True, False)]
    assert work.tree.list_children("/") == ["index", "one", "two"]


@pytest.mark.parametrize("first", [0, 1])
def test_the_tree_is_the_same_whichever_index_is_ready_first(
    work_on: Callable[..., Work], monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    ready = threading.Event()

    def index(number: int) -> Callable[[Work], None]:
        def run(work: Work) -> None:
            if number != first:
                assert ready.wait(5)
            writes("/etc/both", str(number))(work)
            writes(f"/var/{number}/index", "")(work)
            work.tree.remove(f"/old/{number}")
            if number == first:
                ready.set()

        return run

    monkeypatch.setattr(handlers, "HANDLERS", ())
    monkeypatch.setattr(handlers, "INDEXES", (("zero", index(0)), ("one", index(1))))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    work = work_on({"/old/0": "", "/old/1": "", "/old/kept": ""})
    run_handlers(work, QuietConsole())
    assert [path for path, _ in work.tree.walk()] == [
        "/", "/etc", "/etc/both", "/old", "/old/kept", "/var", "/var/0", "/var/0/index", "/var/1", "/var/1/index",
    ]  # fmt: skip
    assert work.tree.read("/etc/both") == b"1"


def test_an_index_is_made_once_for_what_it_is_made_of(
    work_on: Callable[..., Work], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = []

    def index(work: Work) -> None:
        made.append(work.tree.read_text("/modules/one"))
        work.tree.put("/modules/index", make_file(f"of {made[-1]}", 0o600, origin="x"))
        work.tree.remove("/modules/stale")

    monkeypatch.setattr(handlers, "HANDLERS", ())
    monkeypatch.setattr(handlers, "INDEXES", (("index", index),))
    monkeypatch.setattr(kept_indexes, "READ", {index: lambda _: ("/modules",)})
    store = Store(tmp_path / "store")

    def build(one: str, other: str) -> Tree:
        work = work_on({"/modules/one": one, "/modules/stale": "", "/other": other})
        run_handlers(work, QuietConsole(), store)
        return work.tree

    first, again = build("a", "1"), build("a", "2")
    assert made == ["a"]
    assert list(first.walk("/modules")) == list(again.walk("/modules"))
    assert again.list_children("/modules") == ["index", "one"]
    assert again.read("/other") == b"2"
    assert build("b", "2").read("/modules/index") == b"of b"
    next((store.root / "derived").glob(f"*/{kept_indexes.CHANGES}")).write_bytes(b"[]")
    for one in "ab":  # damaged, and made again
        assert build(one, "3").read_text("/modules/index") == f"of {one}"
    assert len(made) == 3


def test_an_index_that_fails_fails_the_build(work_on: Callable[..., Work], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(work: Work) -> None:
        raise ValueError("no index")

    monkeypatch.setattr(handlers, "HANDLERS", ())
    monkeypatch.setattr(handlers, "INDEXES", (("good", writes("/good", "")), ("bad", fail)))
    work = work_on({})
    with pytest.raises(ValueError, match="no index"):
        run_handlers(work, QuietConsole())
    assert "/good" not in work.tree

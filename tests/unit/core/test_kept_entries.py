"""What is kept: made once, found by what it was made of, and taken for nothing where anything of it is damaged."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.console import QuietConsole
from builder.core.errors import BuildError
from builder.core.kept import (
    OUTPUTS,
    TOOLS,
    Contents,
    KeptEntry,
    Section,
    derive_key,
    forget_entry,
    is_whole,
    keep,
    look_up,
    prune,
    read_entry,
    seal_entry,
)
from builder.core.store import Store
from tests.support.fuzz import examples, mutated
from tests.support.power import SyncedDisk

pytestmark = pytest.mark.unit

INPUTS = {"what": "thing", "tree": "1", "name": "a"}
SECTIONS = {"by content": OUTPUTS, "by size and time": TOOLS}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def made(store: Store, log: Path) -> Callable[..., tuple[KeptEntry, bool]]:
    """Keep something; the entry, and whether it had to be made."""

    def make(
        section: Section = OUTPUTS, inputs: dict[str, str] = INPUTS, text: str = "content"
    ) -> tuple[KeptEntry, bool]:
        calls: list[Path] = []

        def write(directory: Path) -> Contents:
            calls.append(directory)
            (directory / "sub").mkdir()
            (directory / "sub/file").write_text(text)
            (directory / "link").symlink_to("sub/file")
            if section.by_content:
                (directory / "link").unlink()
            return Contents(value={"text": text})

        scratch = store.root / "scratch"
        scratch.mkdir(exist_ok=True)
        console = QuietConsole(log)
        entry = keep(store, section, inputs, write, console, scratch)
        console.close()
        assert list(scratch.iterdir()) == []
        return entry, bool(calls)

    return make


@pytest.mark.parametrize("section", SECTIONS)
def test_a_thing_is_made_once(made: Callable[..., tuple[KeptEntry, bool]], section: str) -> None:
    first, fresh = made(SECTIONS[section])
    assert fresh
    again, fresh = made(SECTIONS[section], text="other")
    assert not fresh
    assert again == first
    assert again.value == {"text": "content"}
    assert (again.path / "sub/file").read_text() == "content"
    assert made(SECTIONS[section], {**INPUTS, "name": "b"})[1]


def test_the_order_of_inputs_counts() -> None:
    assert derive_key({"a": "1", "b": "2"}) != derive_key({"b": "2", "a": "1"})


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def flipped(path: Path) -> None:
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


HARM: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "a flipped bit": flipped,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a link": linked,
    "a pipe that nobody writes to": piped,
    "a directory": lambda path: path.unlink() or path.mkdir(),
}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("file", ["KEY.seal", "KEY/sub/file"])
@pytest.mark.parametrize("harm", HARM)
def test_damage_of_any_kind_is_found_and_mended(
    made: Callable[..., tuple[KeptEntry, bool]], log: Path, section: str, file: str, harm: str
) -> None:
    entry, _ = made(SECTIONS[section])
    path = entry.path.parent / file.replace("KEY", entry.key)
    HARM[harm](path)
    if path.is_dir():
        path.rmdir()  # what is no file at all may lie in the way; the entry is damaged as well without it
    again, fresh = made(SECTIONS[section])
    assert fresh
    assert is_whole(again)
    assert (again.path / "sub/file").read_text() == "content"
    assert "damaged or of another format; making it again" in log.read_text()
    left = {path.name for path in entry.path.parent.iterdir()}
    assert left - {"elsewhere"} == {entry.key, f"{entry.key}.seal"}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_file_more_is_damage(made: Callable[..., tuple[KeptEntry, bool]], section: str) -> None:
    entry, _ = made(SECTIONS[section])
    (entry.path / "sub/more").touch()
    assert made(SECTIONS[section])[1]
    assert not (entry.path / "sub/more").exists()


@pytest.mark.parametrize("section", SECTIONS)
def test_an_entry_of_another_version_is_made_again(made: Callable[..., tuple[KeptEntry, bool]], section: str) -> None:
    entry, _ = made(replace(SECTIONS[section], version=99))
    assert read_entry(entry.store, SECTIONS[section], entry.key) is None
    assert made(SECTIONS[section])[1]
    assert not made(SECTIONS[section])[1]


@examples(200)
@given(data=st.one_of(st.binary(max_size=300), mutated(b"build-os outputs 2 " + b"ef" * 32 + b"\n{}\n" * 20)))
def test_nothing_else_is_taken_for_a_seal(tmp_path: Path, data: bytes) -> None:
    store = Store(tmp_path)
    (tmp_path / "outputs").mkdir(exist_ok=True)
    (tmp_path / "outputs/key.seal").write_bytes(data)
    assert read_entry(store, OUTPUTS, "key") is None


def test_it_says_why_something_is_made(made: Callable[..., tuple[KeptEntry, bool]], store: Store, log: Path) -> None:
    made()
    assert "is made because it was not made before" in log.read_text()
    made(inputs={**INPUTS, "tree": "2"})
    assert "is made because tree changed" in log.read_text()
    made(inputs={**INPUTS, "what": "another"})
    assert log.read_text().endswith("is made because it was not made before\n")
    assert look_up(store, OUTPUTS, "key", {**INPUTS, "more": "1"})[1] == "tree changed, more is new"


def test_what_fails_is_not_kept(store: Store, tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        keep(store, OUTPUTS, INPUTS, fail, QuietConsole(), None)
    assert list((store.root / "outputs").iterdir()) == []


def test_another_build_that_was_faster_is_as_good(made: Callable[..., tuple[KeptEntry, bool]], store: Store) -> None:
    def slow(directory: Path) -> None:
        (directory / "file").write_text("ours")
        made(text="theirs")

    entry = keep(store, OUTPUTS, INPUTS, slow, QuietConsole(), None)
    assert (entry.path / "sub/file").read_text() == "theirs"
    assert is_whole(entry)


def test_a_store_that_cannot_keep_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(BuildError, match=r"cannot keep .*/outputs/[0-9a-f]{64} in the store: Input/output error"):
        keep(store, OUTPUTS, INPUTS, lambda directory: (directory / "file").touch(), QuietConsole(), None)
    assert list((store.root / "outputs").iterdir()) == []


def test_what_is_known_by_size_and_time_is_on_the_disk_before_its_seal(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SyncedDisk(monkeypatch)
    contents: list[bytes] = []
    seal = seal_entry

    def require_durable(store: Store, section: Section, key: str, **facts: object) -> KeptEntry:
        contents.append(disk.after_a_power_cut(store.root / section.name / key / "file"))
        return seal(store, section, key, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr("builder.core.kept.seal_entry", require_durable)
    keep(store, TOOLS, INPUTS, lambda directory: (directory / "file").write_text("x") and None, QuietConsole())
    assert contents == [b"x"]


def test_a_forgotten_entry_is_gone(made: Callable[..., tuple[KeptEntry, bool]]) -> None:
    entry, _ = made()
    forget_entry(entry.store, OUTPUTS, entry.key)
    assert list(entry.path.parent.iterdir()) == []


# --- pruning ---------------------------------------------------------------------------------------


def age(store: Store, seconds: float) -> None:
    """All that is in the section was used so long ago."""
    for path in (store.root / "outputs").iterdir():
        os.utime(path, (time.time() - seconds, time.time() - seconds), follow_symlinks=False)


def names(store: Store) -> set[str]:
    return {path.name for path in (store.root / "outputs").iterdir()}


def test_pruning_keeps_what_was_used_last(made: Callable[..., tuple[KeptEntry, bool]], store: Store) -> None:
    entries = []
    for number in range(4):
        entries.append(made(inputs={"number": str(number)})[0])
        age(store, 10_000 - number)
    age(store, 10_000)
    made(inputs={"number": "1"})
    prune(store, [replace(OUTPUTS, last=1)])
    assert names(store) == {entries[1].key, f"{entries[1].key}.seal"}


def test_pruning_leaves_what_may_be_in_use(made: Callable[..., tuple[KeptEntry, bool]], store: Store) -> None:
    entry, _ = made()
    age(store, 1000)
    prune(store, [replace(OUTPUTS, last=0)])
    assert is_whole(entry)
    age(store, 4000)
    prune(store, [replace(OUTPUTS, last=0)])
    assert names(store) == set()


def test_what_another_build_has_pruned_just_now_is_no_failure(
    made: Callable[..., tuple[KeptEntry, bool]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two builds with one store: what one has listed, the other has removed since."""
    entry, _ = made()
    age(store, 10_000)
    gone = [f"{'0' * 64}.seal", "0" * 64, ".new-outputs-x"]
    listed = [*names(store), *gone]
    monkeypatch.setattr(os, "listdir", lambda _: listed)
    prune(store, [replace(OUTPUTS, last=1)])
    assert is_whole(entry)


def test_pruning_takes_what_was_never_finished(made: Callable[..., tuple[KeptEntry, bool]], store: Store) -> None:
    entry, _ = made()
    (store.root / "outputs/half").mkdir()
    (store.root / "outputs/half/file").touch()
    (store.root / "outputs/.new-outputs-x").mkdir()
    age(store, 10_000)
    prune(store)
    assert names(store) == {entry.key, f"{entry.key}.seal"}


def test_pruning_takes_what_was_never_finished_of_what_stays_for_good(store: Store) -> None:
    (store.root / "tools/.new-tools-x").mkdir(parents=True)
    (store.root / "packs").mkdir()
    (store.root / "packs/of-an-earlier-layout.json").touch()
    for path in store.root.glob("*/*"):
        os.utime(path, (time.time() - 10_000,) * 2)
    prune(store)
    assert [path.name for path in store.root.rglob("*") if path.parent != store.root] == []


def test_two_who_make_the_same_at_the_same_time_both_get_it(store: Store) -> None:
    ready = threading.Barrier(3)
    problems: list[BaseException] = []

    def make_all() -> None:
        try:
            for number in range(40):
                ready.wait()
                entry = keep(store, OUTPUTS, {"number": str(number)}, make, QuietConsole())
                assert (entry.path / "one").read_bytes() == b"x" * 2000
        except BaseException as problem:
            problems.append(problem)
            ready.abort()

    def make(directory: Path) -> Contents:
        (directory / "one").write_bytes(b"x" * 2000)
        return Contents()

    threads = [threading.Thread(target=make_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_pruning_removes_links_and_not_what_they_point_to(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine/sub").mkdir(parents=True)
    (store.root / "outputs").mkdir()
    (store.root / "outputs/link").symlink_to(tmp_path / "mine")
    age(store, 10_000)
    prune(store)
    assert names(store) == set()
    assert (tmp_path / "mine/sub").is_dir()


def test_pruning_a_room_that_is_not_there_does_nothing(store: Store) -> None:
    prune(store)
    assert list(store.root.iterdir()) == []

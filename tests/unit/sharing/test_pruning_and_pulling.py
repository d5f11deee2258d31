"""What is in a shared cache can be listed, pruned and brought at once."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from builder.core.errors import SourceError
from builder.core.store import Store
from builder.sharing import cache as cache_module
from builder.sharing import listing
from builder.sharing.entry import SharedEntry, sign_entry
from builder.sharing.listing import bring_missing, list_entries, prune_entries, summarize
from builder.sharing.places import DirectoryPlace
from builder.signatures.pem import parse_private_key
from tests.support.command import run_command
from tests.unit.sharing.conftest import Machines, cache_of, damage_archive, make_key, refuse, sign_payload

pytestmark = pytest.mark.unit


def test_old_entries_and_those_over_the_size_go(machines: Machines) -> None:
    cache = cache_of(machines.add("first"))
    now = int(time.time())
    for number, age in enumerate((40, 3, 2, 1)):
        path = machines.directory / f"f{number}"
        path.write_bytes(os.urandom(1000))
        name = f"outputs-3-{number:064x}"
        cache.push(name, {"f": path}, machines.directory, seconds=1.0)
        where = machines.directory / f"cache/entries/{name}.json"
        entry = next(row.entry for row in list_entries(cache).rows if row.entry.name == name)
        where.write_bytes(sign_entry(replace(entry, made=now - age * 86400), machines.key))
    assert [row["count"] for row in summarize(list_entries(cache).rows)] == [4]
    assert prune_entries(cache, older_than=30, largest=None)[0] == 1
    assert prune_entries(cache, older_than=None, largest=3000)[0] == 1
    assert [name[-1] for name in machines.place.list_names()] == ["2", "3"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("made", "now"),
        ("made", None),
        pytest.param("made", 10**400, id="made-later-than-all-clocks"),
        ("seconds", "a day"),
        ("seconds", float("nan")),
        ("size", -1),
    ],
)
def test_a_document_without_sense_hinders_no_pruning(
    machines: Machines, name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.build(machines.add("first"), push=True)
    kept, other = machines.name, f"outputs-3-{'0' * 64}"
    cache = cache_of(machines.add("reader"))
    nonsense = json.dumps(sign_payload(machines, name=other, **{name: value}))
    (machines.directory / f"cache/entries/{other}.json").write_text(nonsense)
    assert [row.entry.name for row in list_entries(cache).rows] == [kept]
    assert f"{other} in {machines.place.url}: " in capsys.readouterr().err
    assert prune_entries(cache, older_than=None, largest=0)[0] == 1
    (machines.directory / "empty").mkdir()
    assert cache.bring(other, machines.directory / "empty") is None


def test_a_document_in_another_one_s_name_has_nothing_pruned(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    kept = machines.name
    machines.key = make_key()
    old = json.dumps(sign_payload(machines, made=1))
    (machines.directory / f"cache/entries/outputs-3-{'0' * 64}.json").write_text(old)
    assert prune_entries(cache_of(machines.add("reader")), older_than=30, largest=None)[0] == 0
    assert kept in machines.place.list_names()


def leave_archive(machines: Machines) -> Path:
    """What somebody left half uploaded, long ago."""
    archive = machines.directory / f"cache/blobs/sha256/ab/{'ab' * 32}"
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(b"half")
    os.utime(archive, (1, 1))
    return archive


@pytest.fixture
def words(machines: Machines, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, ...]:
    """How the machines' cache is named to commands."""
    run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache")
    machines.key = parse_private_key((tmp_path / "keys/cache.key").read_bytes())
    return ("--cache", str(tmp_path / "cache"), "--cache-sign-key", str(tmp_path / "keys/cache.key"))


def test_an_entry_that_cannot_be_read_hinders_no_pruning_of_others(
    machines: Machines, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, *_ = push_many(machines, machines.add("first"), 3)
    archive = leave_archive(machines)
    read_entry = DirectoryPlace.read_entry

    def read_most(place: DirectoryPlace, name: str) -> bytes | None:
        if name == bad:
            raise PermissionError("Permission denied")
        return read_entry(place, name)

    monkeypatch.setattr(DirectoryPlace, "read_entry", read_most)
    said = f"{bad} in {machines.place.url}: the cache {machines.place.url} cannot be used: Permission denied"
    outcome = run_command(capsys, "cache", "stats", "--json", *words)
    assert [row["count"] for row in json.loads(outcome.out)["entries"]] == [2]
    assert (outcome.status, outcome.err) == (0, f"warning: {said}\n")
    outcome = run_command(capsys, "cache", "prune", "--older-than", "-1", *words)
    assert outcome.status == 6
    assert "deleted 2 entries" in outcome.err
    assert f"error: 1 entries of the cache {machines.place.url} could not be read\n  {bad}\n" in outcome.err
    assert list(machines.place.list_names()) == [bad]
    assert archive.exists()  # it may be that entry's
    monkeypatch.setattr(DirectoryPlace, "read_entry", read_entry)
    outcome = run_command(capsys, "cache", "prune", "--older-than", "-1", *words)
    assert (outcome.status, archive.exists()) == (0, False)


def test_entries_that_cannot_be_read_are_not_waited_for_all_day(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_many(machines, machines.add("first"), 2)
    monkeypatch.setattr(DirectoryPlace, "read_entry", refuse)
    monkeypatch.setattr(listing, "LOST", 0.0)
    with pytest.raises(SourceError, match="Connection refused"):
        list_entries(cache_of(machines.add("reader")))


def test_archives_of_entries_that_are_not_known_stay(machines: Machines) -> None:
    """They may be those of a newer build-os."""
    push_many(machines, machines.add("first"), 1)
    other = machines.directory / f"cache/entries/outputs-9-{'0' * 64}.json"
    other.write_text(json.dumps(sign_payload(machines, name=other.stem, schema=9)))
    archive, cache = leave_archive(machines), cache_of(machines.add("reader"))
    assert prune_entries(cache, older_than=30, largest=None).archives is None
    assert archive.exists()
    other.unlink()
    assert prune_entries(cache, older_than=30, largest=None).archives == 1
    assert not archive.exists()


def test_a_cache_that_is_not_there_is_said(
    machines: Machines, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is not mounted looks like this."""
    said = f"there is no cache at {machines.place.url}, or it is empty\n"
    outcome = run_command(capsys, "cache", "pull", *words)
    assert outcome.status == 6
    assert outcome.err.endswith(f"error: {said}  = is it mounted, and the URL right?\n")
    outcome = run_command(capsys, "cache", "stats", *words)
    assert (outcome.status, outcome.err) == (0, f"warning: {said}")


def test_everything_can_be_brought_at_once(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    second = machines.add("second")
    assert bring_missing(cache_of(second), second) == (1, [])
    assert bring_missing(cache_of(second), second) == (0, [])
    machines.build(second)
    assert machines.makes == ["first"]


def push_many(machines: Machines, store: Store, count: int) -> list[str]:
    """Entries that only differ by name."""
    names = [f"outputs-3-{number:064x}" for number in range(count)]
    path = machines.directory / "f"
    path.write_text("content")
    for name in names:
        cache_of(store).push(name, {"f": path}, machines.directory, seconds=0.0)
    return names


def test_a_pull_goes_on_with_a_cache_that_a_build_would_give_up(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache")
    machines.key = parse_private_key((tmp_path / "keys/cache.key").read_bytes())
    names = push_many(machines, machines.add("first"), 4)
    stranger = make_key()
    push_many(machines, machines.add("stranger", key=stranger, trusted=stranger), 1)  # replaces the first
    fetch = DirectoryPlace.fetch

    def limp(place: DirectoryPlace, entry: SharedEntry, file: BinaryIO) -> None:
        time.sleep(0.05)
        if entry.name == names[1]:
            raise OSError("Connection reset by peer")
        fetch(place, entry, file)

    monkeypatch.setattr(DirectoryPlace, "fetch", limp)
    monkeypatch.setattr(cache_module, "LEAST", 0.02)
    monkeypatch.setattr(cache_module, "LOSS", 0.0)
    outcome = run_command(
        capsys, "cache", "pull", "--cache", str(tmp_path / "cache"), "--cache-key", str(tmp_path / "keys/cache.pub")
    )
    assert outcome.status == 6
    assert "2 entries, " in outcome.err
    assert "1 refused" in outcome.err
    assert f"{names[1]} in {tmp_path}/cache cannot be brought: Connection reset by peer" in outcome.err
    assert f"1 entries of the cache {tmp_path}/cache could not be brought\n  {names[1]}\n" in outcome.err


def test_a_pull_names_what_is_damaged(machines: Machines) -> None:
    push_many(machines, machines.add("first"), 1)
    damage_archive(machines)
    second = machines.add("second")
    assert bring_missing(cache_of(second), second) == (0, [machines.name])

"""Whoever dies, hangs or comes at the same moment: nothing wrong is used, and nobody waits in vain."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from builder.core.kept import OUTPUTS, KeptEntry, derive_shared_name
from builder.core.store import Store
from builder.sharing import cache as cache_module
from builder.sharing.archive import list_files
from builder.sharing.entry import SharedEntry
from builder.sharing.listing import list_entries
from builder.sharing.places import DirectoryPlace
from tests.unit.sharing.conftest import Hindered, Machines, cache_of, sign_payload

pytestmark = pytest.mark.unit


def test_an_entry_that_is_pruned_while_it_is_fetched_is_made_here(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    (archive,) = (machines.directory / "cache/blobs").rglob("sha256/*/*")
    archive.unlink()
    assert machines.build(machines.add("second")) == "content"
    assert machines.makes == ["first", "second"]


def test_a_cache_that_hangs_is_given_up_and_asked_no_more(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache_module, "LEAST", 0.05)
    monkeypatch.setattr(cache_module, "LOSS", 0.01)
    ended, asked = threading.Event(), []

    def hang(name: str) -> None:
        asked.append(name)
        ended.wait(60)

    slow = machines.add("slow")
    cache_of(slow).place = Hindered(machines.place, read_entry=hang)  # type: ignore[assignment]
    assert machines.build(slow) == "content"
    assert cache_of(slow).is_given_up
    assert "building without it" in capsys.readouterr().err
    assert cache_of(slow).bring(asked[0], slow.root) is None
    assert len(asked) == 1
    ended.set()


def test_an_archive_that_comes_slower_than_it_is_made_is_left(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.build(machines.add("first"), push=True)
    monkeypatch.setattr(cache_module, "LEAST", 0.05)
    entry = sign_payload(machines, seconds=0.01)
    (machines.directory / f"cache/entries/{machines.name}.json").write_text(json.dumps(entry))
    ended = threading.Event()

    def drip(_: SharedEntry, file: BinaryIO) -> None:
        file.write(b"x")
        ended.wait(60)

    second = machines.add("second")
    cache_of(second).place = Hindered(machines.place, fetch=drip)  # type: ignore[assignment]
    assert machines.build(second) == "content"
    assert machines.makes == ["first", "second"]
    ended.set()


def test_no_more_is_written_than_was_signed(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    size, written = list_entries(cache_of(machines.add("reader"))).rows[0].entry.size, []

    def pour(_: SharedEntry, file: BinaryIO) -> None:
        for _number in range(100):
            written.append(file.write(bytes(1 + size // 3)))

    second = machines.add("second")
    cache_of(second).place = Hindered(machines.place, fetch=pour)  # type: ignore[assignment]
    assert machines.build(second) == "content"
    assert cache_of(second).counts.refused == 1
    assert 0 < sum(written) <= size


def test_nothing_more_is_written_of_what_was_given_up(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    machines.build(machines.add("first"), push=True)
    monkeypatch.setattr(cache_module, "LEAST", 0.05)
    entry = sign_payload(machines, seconds=0.01)
    (machines.directory / f"cache/entries/{machines.name}.json").write_text(json.dumps(entry))
    given_up, ended, errors = threading.Event(), threading.Event(), []

    def drip(_: SharedEntry, file: BinaryIO) -> None:
        given_up.wait(60)
        try:
            file.write(b"x")
        except OSError as error:
            errors.append(error)
        ended.set()

    second = machines.add("second")
    cache_of(second).place = Hindered(machines.place, fetch=drip)  # type: ignore[assignment]
    assert machines.build(second) == "content"
    given_up.set()
    assert ended.wait(60)
    assert len(errors) == 1


def test_a_worker_that_dies_while_it_uploads_leaves_nothing_that_is_used(machines: Machines) -> None:
    first = machines.add("first")
    place = machines.place
    assert isinstance(place, DirectoryPlace)

    def put(entry: SharedEntry, envelope: bytes, archive: Path) -> None:
        place.put(entry, envelope, archive)
        place.delete(entry.name)  # as if it had died before the last step
        raise OSError("killed")

    cache_of(first).place = Hindered(place, put=put)  # type: ignore[assignment]
    with pytest.raises(OSError, match="killed"):
        machines.build(first, push=True)
    assert machines.build(machines.add("second")) == "content"
    assert machines.makes == ["first", "second"]
    # What was left goes once it is old enough that nobody is at it.
    (archive,) = (place.root / "blobs").rglob("sha256/*/*")
    assert place.sweep(set()) == 0
    os.utime(archive, (0, 0))
    assert place.sweep(set()) == 1


def test_two_machines_that_put_the_same_key_at_once_leave_a_whole_entry(machines: Machines) -> None:
    stores = [machines.add(f"m{number}") for number in range(4)]
    for number, store in enumerate(stores):
        machines.build(store, data=f"content {number}")
    start = threading.Barrier(len(stores))

    def push(store: Store) -> None:
        (seal,) = (store.root / OUTPUTS.name).glob("*.seal")
        entry = KeptEntry(store, OUTPUTS, seal.stem)
        start.wait(60)
        name = derive_shared_name(OUTPUTS, entry.key)
        cache_of(store).push(name, list_files(entry.path), store.root, value={"of": "initrd"}, seconds=1.0)

    threads = [threading.Thread(target=push, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert machines.build(machines.add("reader")) in {f"content {number}" for number in range(4)}
    assert "reader" not in machines.makes

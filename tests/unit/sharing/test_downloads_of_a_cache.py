"""What is downloaded comes from the shared cache before a mirror is asked, by the lock's hash, and goes there."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

import pytest

from builder.core.console import PlainConsole, QuietConsole
from builder.core.kept import PACKS, seal_entry
from builder.core.store import Store
from builder.sharing import cache as cache_module
from builder.sharing import downloads
from builder.sharing.downloads import FILE, JOBS, open_sharing, push_downloads
from builder.sharing.listing import bring_missing, prune_entries
from builder.sharing.places import DirectoryPlace
from builder.signatures.pem import parse_private_key
from builder.signatures.verify_key import SignatureRefused
from tests.support.command import run_command
from tests.unit.sharing.conftest import Hindered, Machines, cache_of, refuse

pytestmark = pytest.mark.unit

DATA = {hashlib.sha256(data).hexdigest(): data for data in (b"one deb", b"another, larger deb")}
SIZES = {sha256: len(data) for sha256, data in DATA.items()}


def have_all(store: Store, *, is_last_resort: bool = False) -> list[str]:
    """Have all debs on a machine; returns those that had to be downloaded."""
    with open_sharing(store, SIZES, QuietConsole(), is_last_resort=is_last_resort):
        downloaded = [sha256 for sha256, size in SIZES.items() if not store.has_blob(sha256, size)]
        for sha256 in downloaded:
            store.add_bytes(DATA[sha256])
    return downloaded


def push_downloaded(store: Store) -> int:
    cache = cache_of(store)
    seconds = {name.rpartition("-")[2]: took for name, took in cache.take_made().items()}
    return push_downloads(cache, store, seconds, QuietConsole())


def test_what_one_machine_downloaded_another_takes(machines: Machines) -> None:
    first, second = machines.add("first"), machines.add("second")
    assert have_all(first) == [*DATA]
    assert push_downloaded(first) == 2
    assert have_all(second) == []
    assert [second.locate_blob(sha256).read_bytes() for sha256 in DATA] == [*DATA.values()]
    assert second.locate_blob(next(iter(DATA))).stat().st_mode & 0o777 == 0o644
    assert push_downloaded(second) == 0  # it downloaded nothing
    assert list((second.root / "scratch").glob("build-*")) == []


def test_a_deb_that_is_not_what_the_lock_says_is_not_used(
    machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    """By somebody who has a key that is trusted: the signature is right, and the file another one."""
    sha256 = next(iter(DATA))
    path = machines.directory / "poison"
    path.write_bytes(b"poison!")
    cache_of(machines.add("bad")).push(f"downloads-1-{sha256}", {FILE: path}, machines.directory, seconds=1.0)
    store = machines.add("careful")
    assert have_all(store) == [*DATA]
    assert store.locate_blob(sha256).read_bytes() == DATA[sha256]
    assert f"downloads-1-{sha256} in {machines.place.url} is not used: it is another file" in capsys.readouterr().err
    push_downloads(cache_of(store), store, dict.fromkeys(DATA, 1.0), QuietConsole())
    assert have_all(machines.add("next")) == []  # it was replaced


def test_a_damaged_deb_is_not_shared(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    store = machines.add("damaged")
    sha256 = next(iter(DATA))
    blob = store.locate_blob(sha256)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"cut")
    assert push_downloads(cache_of(store), store, {sha256: 1.0}, PlainConsole()) == 0
    assert f"{blob} is damaged" in capsys.readouterr().err
    assert list(machines.place.list_names()) == []


def test_a_cache_without_debs_is_soon_left_alone_and_asked_for_all_else(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LOSS", 0.2)
    asked = []

    def take_long(name: str) -> None:
        asked.append(name)
        time.sleep(0.1)

    store = machines.add("first")
    cache_of(store).place = Hindered(machines.place, read_entry=take_long)  # type: ignore[assignment]
    sizes = {f"{number:064x}": 1 for number in range(10 * JOBS)}
    with open_sharing(store, sizes, QuietConsole(), is_last_resort=False):
        pass
    assert len(asked) <= 2 * JOBS  # all threads have begun, and none goes on for long
    assert not cache_of(store).is_given_up


def test_where_nothing_else_has_debs_a_slow_cache_is_waited_for(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machines.add("first")
    have_all(first)
    push_downloaded(first)
    monkeypatch.setattr(cache_module, "LEAST", 0.01)
    monkeypatch.setattr(cache_module, "LOSS", 0.0)

    def limp(name: str) -> bytes | None:
        time.sleep(0.05)
        return machines.place.read_entry(name)

    hurried, patient = machines.add("hurried"), machines.add("patient")
    for store in (hurried, patient):
        cache_of(store).place = Hindered(machines.place, read_entry=limp)  # type: ignore[assignment]
    assert have_all(hurried) == [*DATA]
    assert have_all(patient, is_last_resort=True) == []


def test_a_cache_that_is_down_is_not_waited_for(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache_module, "LOSS", 0.0)
    store, asked = machines.add("first"), []

    def refuse_late(name: str) -> None:
        asked.append(name)
        time.sleep(0.05)
        refuse()

    cache_of(store).place = Hindered(machines.place, read_entry=refuse_late)  # type: ignore[assignment]
    with open_sharing(store, {f"{n:064x}": 1 for n in range(20 * JOBS)}, QuietConsole(), is_last_resort=True):
        pass
    assert len(asked) <= 3 * JOBS
    assert capsys.readouterr().err.count("warning: ") == 1


def test_what_is_not_ours_in_a_cache_hinders_no_build(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    """As where somebody has given an image of a registry the name of a deb's entry."""
    first = machines.add("first")
    have_all(first)
    push_downloaded(first)
    foreign, *others = DATA

    def read_entry(name: str) -> bytes | None:
        if name.endswith(foreign):
            raise SignatureRefused("it is no entry of a cache")
        return machines.place.read_entry(name)

    store = machines.add("second")
    cache_of(store).place = Hindered(machines.place, read_entry=read_entry)  # type: ignore[assignment]
    assert have_all(store, is_last_resort=True) == [foreign]
    assert [store.has_blob(sha256) for sha256 in others] == [True]
    assert "is not used: it is no entry of a cache" in capsys.readouterr().err


def test_a_cache_that_never_answers_is_not_waited_for(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "ANSWER", 0.01)
    monkeypatch.setattr(cache_module, "LEAST", 0.01)
    monkeypatch.setattr(cache_module, "LOSS", 0.0)
    store, ended = machines.add("first"), threading.Event()
    cache_of(store).place = Hindered(machines.place, read_entry=lambda _: ended.wait(60))  # type: ignore[assignment]
    assert have_all(store, is_last_resort=True) == [*DATA]
    assert not ended.is_set()
    ended.set()


def test_a_thread_that_was_late_works_again(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "LEAST", 0.01)
    ended, threads = threading.Event(), list[threading.Thread]()

    def hang(name: str) -> None:
        threads.append(threading.current_thread())
        ended.wait(60)

    cache = cache_of(machines.add("first"))
    cache.place = Hindered(machines.place, read_entry=hang)  # type: ignore[assignment]
    before = len(cache_module._Helper.idle)
    assert not cache.has(f"outputs-3-{'0' * 64}")
    ended.set()
    until = time.monotonic() + 60
    while len(cache_module._Helper.idle) < max(1, before):
        assert time.monotonic() < until, "nobody uses it again"
        time.sleep(0.01)


def test_connections_of_threads_are_used_again(machines: Machines) -> None:
    """A place's library keeps a connection for each thread that it is called in."""
    store, threads = machines.add("first"), set[threading.Thread]()

    def note_thread(name: str) -> None:
        threads.add(threading.current_thread())  # kept: numbers are given to others when one ends

    cache_of(store).place = Hindered(machines.place, read_entry=note_thread)  # type: ignore[assignment]
    with open_sharing(store, {f"{n:064x}": 1 for n in range(20 * JOBS)}, QuietConsole(), is_last_resort=True):
        pass
    assert 1 <= len(threads) <= 3 * JOBS  # of 160 questions


def test_debs_are_pulled_and_pruned_like_all_else(machines: Machines) -> None:
    first, second = machines.add("first"), machines.add("second")
    have_all(first)
    push_downloaded(first)
    assert bring_missing(cache_of(second), second) == (2, [])
    assert have_all(second) == []
    assert bring_missing(cache_of(second), second) == (0, [])
    assert prune_entries(cache_of(second), older_than=None, largest=0)[0] == 2


def test_the_commands_know_debs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache")
    words = ("--cache", str(tmp_path / "cache"), "--cache-sign-key", str(tmp_path / "keys/cache.key"))
    store = Store.open(tmp_path / "first")
    for data in DATA.values():
        seal_entry(store, PACKS, store.add_bytes(data))
    store.add_bytes(b"a list of packages")  # is no deb
    monkeypatch.setenv("BUILD_OS_CACHE", str(store.root))
    assert "2 new entries" in run_command(capsys, "cache", "push", *words).err
    (row,) = json.loads(run_command(capsys, "cache", "stats", "--json", *words).out)["entries"]
    assert (row["section"], row["count"]) == ("downloads", 2)
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "second"))
    assert "2 entries" in run_command(capsys, "cache", "pull", *words).err
    machines = Machines(tmp_path, DirectoryPlace(tmp_path / "cache"))
    machines.key = parse_private_key((tmp_path / "keys/cache.key").read_bytes())
    assert have_all(machines.add("second")) == []

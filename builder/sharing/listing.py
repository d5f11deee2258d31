"""What is in a shared cache: lists, sums, pruning, and everything at once."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from builder.core.errors import SourceError
from builder.core.kept import Contents, add_entry, parse_shared_name, read_entry
from builder.core.scratch import open_scratch
from builder.core.store import Store
from builder.sharing.cache import SharedCache
from builder.sharing.downloads import bring_download, parse_download_name
from builder.sharing.entry import SharedEntry, open_entry, peek_entry
from builder.signatures.verify_key import SignatureRefused

DAY = 86400.0
NOTHING, MOUNTED = "there is no cache at {}, or it is empty", "is it mounted, and the URL right?"
LOST = 60.0  # seconds that entries which cannot be read may take, all together


@dataclass(frozen=True)
class Listed:
    """An entry, as it says itself; and whether a key that is trusted says so, too."""

    entry: SharedEntry
    maker: str
    trusted: bool


@dataclass(frozen=True)
class Listing:
    """What a cache has.

    Attributes:
        foreign: names of what is no entry that this build-os knows.
        unreadable: why others could not be read, by name.
    """

    rows: Sequence[Listed]
    foreign: Sequence[str]
    unreadable: Mapping[str, str]


def list_entries(cache: SharedCache) -> Listing:
    """All entries; what is none, and what cannot be read, is said.

    Raises:
        SourceError: the cache cannot be read, or waiting for entries that cannot has taken too long.
    """
    rows: list[Listed] = []
    foreign: list[str] = []
    unreadable: dict[str, str] = {}
    lost = 0.0
    for name in list_names(cache):
        started = time.monotonic()
        try:
            row = _read_listed(cache, name)
        except SignatureRefused as error:
            cache.console.warn(f"{name} in {cache.place.url}: {error}")
            foreign.append(name)
        except SourceError as error:
            lost += time.monotonic() - started
            if lost > LOST:
                raise
            cache.console.warn(f"{name} in {cache.place.url}: {error}")
            unreadable[name] = str(error)
        else:
            rows += [] if row is None else [row]
    return Listing(rows, foreign, unreadable)


def _read_listed(cache: SharedCache, name: str) -> Listed | None:
    """One entry; ``None`` if it has gone meanwhile.

    Raises:
        SourceError: it cannot be read.
        SignatureRefused: it is none.
    """
    with explain_place_errors(cache):
        envelope = cache.place.read_entry(name)
    if envelope is None:
        return None
    entry, maker = peek_entry(envelope)
    if entry.name != name:  # whoever deletes by it would delete another one
        raise SignatureRefused(f"it says that it is {entry.name}")
    try:
        open_entry(envelope, name, cache.trusted)
        trusted = True
    except SignatureRefused:
        trusted = False
    return Listed(entry, maker, trusted)


def list_names(cache: SharedCache) -> list[str]:
    """The names of all entries.

    Raises:
        SourceError: the cache cannot be read.
    """
    with explain_place_errors(cache):
        return list(cache.place.list_names())


@contextmanager
def explain_place_errors(cache: SharedCache) -> Iterator[None]:
    """Have errors of a disk or a connection say which cache it was.

    Raises:
        SourceError: instead of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise SourceError(f"the cache {cache.place.url} cannot be used: {error}") from error


def summarize(rows: Iterable[Listed]) -> list[dict[str, Any]]:
    """Number and bytes by section and maker."""
    sums: dict[tuple[str, str, bool], list[int]] = {}
    for row in rows:
        total = sums.setdefault((row.entry.section, row.maker, row.trusted), [0, 0])
        total[0] += 1
        total[1] += row.entry.size
    return [
        {"section": section, "maker": maker, "trusted": trusted, "count": count, "size": size}
        for (section, maker, trusted), (count, size) in sorted(sums.items())
    ]


class Pruned(NamedTuple):
    """What pruning came to.

    Attributes:
        entries, size: how many were deleted, and their bytes.
        archives: that nothing referred to; ``None`` where nobody knows which these are.
        unreadable: why entries could not be read, by name.
    """

    entries: int
    size: int
    archives: int | None
    unreadable: Mapping[str, str]


def prune_entries(cache: SharedCache, *, older_than: float | None, largest: int | None) -> Pruned:
    """Delete entries that are older than so many days, then the oldest until the rest has no more than so many bytes,
    then archives that nothing refers to: unless there is something that may refer to one, and cannot be read.

    Who fetches one meanwhile builds instead.

    Raises:
        SourceError: the cache cannot be read or written.
    """
    listing = list_entries(cache)
    rows = sorted(listing.rows, key=lambda row: row.entry.made)
    left = sum(row.entry.size for row in rows)
    gone = size = 0
    used: set[str] = set()
    for row in rows:
        is_old = older_than is not None and time.time() - row.entry.made > older_than * DAY
        if is_old or (largest is not None and left > largest):
            with explain_place_errors(cache):
                cache.place.delete(row.entry.name)
            gone, size, left = gone + 1, size + row.entry.size, left - row.entry.size
        else:
            used.add(row.entry.sha256)
    if listing.foreign or listing.unreadable:
        return Pruned(gone, size, None, listing.unreadable)
    with explain_place_errors(cache):
        return Pruned(gone, size, cache.place.sweep(used), {})


def bring_missing(cache: SharedCache, store: Store) -> tuple[int, list[str]]:
    """Bring every entry that belongs into the store and is not there; returns how many, and the names of those that
    could not be brought though a key that is trusted may have signed them.

    Raises:
        SourceError: the cache cannot be read, or nothing is there.
    """
    pulled, failed, names = 0, [], list_names(cache)
    if not names:
        raise SourceError(NOTHING.format(cache.place.url), hint=MOUNTED)
    with open_scratch(store, cache.console) as scratch:
        for name in names:
            if _is_here(name, store):
                continue
            refused = cache.counts.refused
            sha256 = parse_download_name(name)
            if bring_entry(cache, store, name) if sha256 is None else bring_download(cache, store, sha256, scratch):
                pulled += 1
            elif cache.counts.refused == refused or cache.has(name):  # else it is of nobody who is trusted
                failed.append(name)
    return pulled, failed


def _is_here(name: str, store: Store) -> bool:
    """Whether the store has an entry, or has no place for what is called so: whole builds belong to their directory."""
    if (sha256 := parse_download_name(name)) is not None:
        return store.has_blob(sha256)
    place = parse_shared_name(name)
    return place is None or read_entry(store, *place) is not None


def bring_entry(cache: SharedCache, store: Store, name: str) -> bool:
    """Bring what is kept under a key into the store; returns whether it was to be had."""
    place = parse_shared_name(name)
    assert place is not None
    section, key = place
    parent = store.root / section.name
    parent.mkdir(exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=parent, prefix=f".new-{section.name}-"))
    try:
        fresh.chmod(0o755)
        brought = cache.bring(name, fresh)
        if brought is not None:
            add_entry(store, section, key, fresh, inputs={}, contents=Contents(brought.value, brought.hashes))
        return brought is not None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)

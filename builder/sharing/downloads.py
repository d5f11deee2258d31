"""Debs and wheels in the cache that machines share: asked for before any mirror or index, and put there by who
downloaded them and may.

The cache comes first because it was named for being near, and because it has what mirrors have dropped. Where it has
nothing, that has cost a few seconds for all of them together; a mirror that is not in reach costs its time-outs for
each, and where none is known at all, a machine can still build. Which bytes are right the lock says, by hash: a
signature is asked for because every entry has one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.core.console import Console
from builder.core.errors import BuildError
from builder.core.files import hash_file
from builder.core.kept import PACKS, SEAL, Section, derive_shared_name
from builder.core.parallel import run_parallel
from builder.core.scratch import open_scratch
from builder.core.store import Store
from builder.sharing.cache import SharedCache, wait_within
from builder.signatures.verify_key import SignatureRefused

DOWNLOADS = Section("downloads", 1)  # the key is the file's own hash
FILE = "file"
ANSWER = 30.0  # seconds in which a cache answers that is slow, and not down
JOBS = 8  # as many as of a mirror: most of them wait for an answer


def parse_download_name(name: str) -> str | None:
    """The hash of the file that an entry is, by its name; ``None`` if it is no download."""
    prefix = derive_shared_name(DOWNLOADS, "")
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def list_debs(store: Store) -> Iterator[str]:
    """The hashes of the debs in a store: of those that it has unpacked."""
    for seal in sorted((store.root / PACKS.name).glob(f"*{SEAL}")):
        if store.has_blob(sha256 := seal.name.removesuffix(SEAL)):
            yield sha256


@contextmanager
def open_sharing(store: Store, sizes: Mapping[str, int], console: Console, *, is_last_resort: bool) -> Iterator[None]:
    """Bring files that the store lacks from the cache behind it, as far as it has them; what appears there within this
    block was downloaded, and is noted to be put into the cache.

    Args:
        sizes: bytes by hash.
        is_last_resort: nothing else is asked, so the cache has all the time that it needs.
    """
    cache = store.tier
    if not isinstance(cache, SharedCache):
        yield
        return
    missing = _list_missing(store, sizes)
    if missing:
        # An account of its own: that it has no downloads is no reason to ask it for nothing else.
        patient = cache.is_patient or (is_last_resort and _answers(cache, missing[0]))
        bring_downloads(replace(cache, is_patient=patient), store, sizes, console)
        missing = _list_missing(store, sizes)
    started, total = time.monotonic(), sum(sizes[sha256] for sha256 in missing)
    yield
    seconds = time.monotonic() - started
    for sha256 in missing:
        cache.note_made(derive_shared_name(DOWNLOADS, sha256), seconds * sizes[sha256] / total)


def bring_downloads(cache: SharedCache, store: Store, sizes: Mapping[str, int], console: Console) -> None:
    """Bring what the store lacks and the cache has, large ones first."""
    missing = sorted(_list_missing(store, sizes), key=lambda sha256: -sizes[sha256])
    if missing:
        with open_scratch(store, console) as scratch:
            run_parallel(*(partial(bring_download, cache, store, sha256, scratch) for sha256 in missing), jobs=JOBS)


def bring_download(cache: SharedCache, store: Store, sha256: str, scratch: Path) -> bool:
    """Bring a file into the store; returns whether it was to be had."""
    name = derive_shared_name(DOWNLOADS, sha256)
    with TemporaryDirectory(dir=scratch, prefix="download-") as directory:
        brought = cache.bring(name, fresh := Path(directory))
        if brought is None:
            return False
        if brought.hashes.get(FILE) != sha256:
            cache.console.warn(f"{name} in {cache.place.url} is not used: it is another file")
            cache.mark_bad(name)
            return False
        blob = store.locate_blob(sha256)
        blob.parent.mkdir(parents=True, exist_ok=True)
        (fresh / FILE).chmod(0o644)
        (fresh / FILE).replace(blob)
        return True


def push_downloads(cache: SharedCache, store: Store, seconds: Mapping[str, float], console: Console) -> int:
    """Put files of the store there; returns how many are new.

    Args:
        seconds: how long it took to download each, by hash.

    Raises:
        BuildError, OSError: the cache does not take them.
        TooSlow: it takes too long.
    """

    def push(sha256: str, scratch: Path) -> bool:
        files = {FILE: store.locate_blob(sha256)}
        if hash_file(files[FILE]) != sha256:
            cache.console.warn(f"{files[FILE]} is damaged, and not put into {cache.place.url}")
            return False
        return cache.push(derive_shared_name(DOWNLOADS, sha256), files, scratch, seconds=seconds[sha256])

    with open_scratch(store, console) as scratch:
        there = [sha256 for sha256 in sorted(seconds) if store.has_blob(sha256)]
        return sum(run_parallel(*(partial(push, sha256, scratch) for sha256 in there), jobs=JOBS))


def _answers(cache: SharedCache, sha256: str) -> bool:
    """Whether it is worth waiting for a cache: one that is slow is, one that is down is not."""
    try:
        wait_within(ANSWER, lambda: cache.place.read_entry(derive_shared_name(DOWNLOADS, sha256)))
    except SignatureRefused:
        return True  # what is there is not ours, but it is there
    except (OSError, BuildError):
        return False
    return True


def _list_missing(store: Store, sizes: Mapping[str, int]) -> list[str]:
    return [sha256 for sha256, size in sizes.items() if not store.has_blob(sha256, size)]

"""Downloads into the store: many at once, each verified, continued where an earlier run stopped.

Two builds on one store fetch each file once, and a killed build leaves something to go on from
(:mod:`builder.core.partial`).
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from builder.core.console import Console
from builder.core.errors import SourceError
from builder.core.http import CHUNK, RangeRefused, Stopped, TransferError
from builder.core.partial import claim_partial, keep_partial
from builder.core.store import Store
from builder.core.store_errors import explain_store_errors
from builder.debian.lock import LockedPackage
from builder.debian.mirror import Mirrors
from builder.debian.transfer import Client

JOBS = 8
MAX_SIZE = 32 << 30  # bytes of a file whose size nobody knows beforehand
GONE_HINT = (
    "no mirror has it any more: 'build-os lock --update PACKAGE' takes the current version; BUILD_OS_SNAPSHOT names an"
    " archive that keeps old ones; 'build-os store import' brings it from a machine that has it"
)


@dataclass(frozen=True, slots=True)
class Download:
    """A file to have: its hash, its size in bytes where it is known, what to call it, and where it can be had."""

    sha256: str
    size: int | None
    what: str
    urls: tuple[str, ...]
    hint: str = GONE_HINT


def fetch_packages(
    packages: Sequence[LockedPackage],
    mirrors: Callable[[], Mirrors],
    store: Store,
    console: Console,
    *,
    offline: bool = False,
    client: Client | None = None,
) -> int:
    """Make sure that every package's deb is in the store; returns the number of bytes that were downloaded.

    ``mirrors`` is only called when something is missing: a build from a full store needs no mirror.

    Raises:
        SourceError: a deb cannot be had, is not what the lock says, or is missing while ``offline``.
        CapabilityError: no mirror is known; the store cannot be written.
    """
    missing = [package for package in packages if not store.has_blob(package.sha256, package.size)]
    if not missing:
        return 0
    if offline:
        raise _missing_offline([f"{package.name} {package.version}" for package in missing])
    where = mirrors()
    wanted = [Download(p.sha256, p.size, f"{p.name} {p.version}", where.list_urls(p.suite, p.path)) for p in missing]
    return fetch(wanted, store, console, client=client)


def fetch(
    wanted: Sequence[Download],
    store: Store,
    console: Console,
    *,
    offline: bool = False,
    jobs: int = JOBS,
    client: Client | None = None,
) -> int:
    """Make sure that these files are in the store; returns the number of bytes that were downloaded.

    Raises:
        SourceError: one cannot be had or is not what it should be, or is missing while ``offline``.
        CapabilityError: the store cannot be written.
    """
    todo = {item.sha256: item for item in wanted if not store.has_blob(item.sha256, item.size)}
    if not todo:
        return 0
    if offline:
        raise _missing_offline([item.what for item in todo.values()])
    run = _Run(store, console, client or Client(), sum(item.size or 0 for item in todo.values()))
    # Large ones first, or the last of them is waited for alone.
    run.fetch_all(sorted(todo.values(), key=lambda item: (-(item.size or 0), item.sha256)), jobs)
    return run.downloaded


def _missing_offline(names: Sequence[str]) -> SourceError:
    return SourceError(
        f"{len(names)} file{'s are' if len(names) > 1 else ' is'} not in the store, and downloading is off",
        details=[*sorted(names)[:40], *(["..."] if len(names) > 40 else [])],
        hint="run once without --offline",
    )


class _Run:
    """One call of :func:`fetch`: worker threads, the sum of what they received, the first failure."""

    def __init__(self, store: Store, console: Console, client: Client, total: int) -> None:
        self._store = store
        self._console = console
        self._client = client
        self._total = total
        self._have = 0
        self.downloaded = 0
        self._guard = threading.Lock()
        self._failures: list[BaseException] = []

    def fetch_all(self, items: Sequence[Download], jobs: int) -> None:
        todo: queue.SimpleQueue[Download] = queue.SimpleQueue()
        for item in items:
            todo.put(item)
        # Daemon threads: after Ctrl-C nobody waits for a mirror that has gone silent.
        threads = [threading.Thread(target=self._work, args=(todo,), daemon=True) for _ in range(min(jobs, len(items)))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self._client.stop.set()
            raise
        if self._failures:
            raise self._summary()
        if self._client.stop.is_set():
            raise SourceError("downloading was stopped")

    def _work(self, todo: queue.SimpleQueue[Download]) -> None:
        try:
            while not self._client.stop.is_set():
                try:
                    item = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    with explain_store_errors(self._store):
                        self._one(item)
                except Stopped:
                    return
                except SourceError as error:
                    # Others go on: all that is missing is reported together.
                    self._fail(error)
                except BaseException as error:
                    self._fail(error)
                    self._client.stop.set()
        finally:
            self._client.close()

    def _fail(self, error: BaseException) -> None:
        with self._guard:
            self._failures.append(error)

    def _summary(self) -> BaseException:
        first = next((e for e in self._failures if not isinstance(e, SourceError)), self._failures[0])
        if len(self._failures) == 1 or not isinstance(first, SourceError):
            return first
        errors = sorted((e for e in self._failures if isinstance(e, SourceError)), key=lambda e: e.what)
        details = [line for e in errors[:20] for line in (e.what, *(f"  {detail}" for detail in e.details))]
        hints = list(dict.fromkeys(e.hint for e in errors if e.hint))
        return SourceError(f"{len(errors)} files cannot be downloaded", details=details, hint="; ".join(hints) or None)

    def _progress(self, count: int) -> None:
        with self._guard:
            self._have += count
            have = self._have
        self._console.report_progress(have, self._total, "B")

    def _one(self, item: Download) -> None:
        with claim_partial(self._store, item.sha256, item.size, item.what, self._client.stop, self._console) as file:
            if file is None:  # another build fetched it while we waited
                self._progress(item.size or 0)
                return
            self._client.try_each(item.urls, item.what, lambda url: self._attempt(url, item, file), item.hint)
            keep_partial(self._store, item.sha256, file)

    def _attempt(self, url: str, item: Download, file: BinaryIO) -> None:
        """Bring the partial file to its full size and compare its hash.

        Raises:
            TransferError: see :meth:`Client.try_each`.
        """
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(CHUNK):
            digest.update(piece)
        kept = counted = file.tell()
        maximum = MAX_SIZE if item.size is None else item.size
        if kept > maximum:
            kept = 0
        try:
            if kept < maximum and not (item.size is None and digest.hexdigest() == item.sha256):
                try:
                    with self._client.get(url, maximum=maximum, offset=kept) as answer:
                        if answer.offset == 0:
                            digest, kept, counted = hashlib.sha256(), 0, 0
                            file.seek(0)
                            file.truncate()
                        else:
                            self._progress(kept)
                        for piece in answer.pieces:
                            file.write(piece)
                            digest.update(piece)
                            counted += len(piece)
                            with self._guard:
                                self.downloaded += len(piece)
                            self._progress(len(piece))
                except RangeRefused:
                    file.seek(0)
                    file.truncate()
                    counted = 0
                    raise
            file.flush()
            if item.size is not None and counted < item.size:
                raise TransferError(f"ended after {counted} of {item.size} bytes", temporary=True)
            if digest.hexdigest() != item.sha256:
                resumed = kept > 0
                file.seek(0)
                file.truncate()
                raise TransferError(
                    f"has sha256 {digest.hexdigest()}, expected {item.sha256}",
                    # What was kept from an earlier run may have been the bad part.
                    temporary=resumed,
                )
        except BaseException:
            self._progress(-min(counted, self._have))
            raise

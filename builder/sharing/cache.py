"""The shared cache as builds use it: entries of makers that are trusted, while that is faster than making them."""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar, cast

from builder.core.console import Console, format_seconds, format_size
from builder.core.errors import BuildError, InputError, SourceError
from builder.core.files import hash_file
from builder.core.store import Brought
from builder.sharing.archive import describe_files, list_files, unpack_archive, write_archive
from builder.sharing.entry import SharedEntry, open_entry, sign_entry
from builder.sharing.places import Place
from builder.signatures.pem import SigningKey
from builder.signatures.verify_key import SignatureRefused, VerifyKey

T = TypeVar("T")
# Seconds: what asking may take at least, what may be lost to a cache that is slow or gone before it is asked no more,
# what a push may take, and each thing of a cache where that is what somebody waits for.
LEAST, LOSS, PUSH, PATIENT = 2.0, 4.0, 300.0, 3600.0
MAX_ARCHIVE = 16 << 30  # bytes


class TooSlow(SourceError):
    """It took longer than making it."""


@dataclass
class Counts:
    """What a build had of the cache.

    Attributes:
        hits, misses, refused: entries that were taken, were not there, were of nobody who is trusted.
        fetched, pushed: bytes.
    """

    hits: int = 0
    misses: int = 0
    refused: int = 0
    fetched: int = 0
    pushed: int = 0


@dataclass
class SharedCache:
    """A shared cache that is in use.

    Attributes:
        trusted: whose entries are used.
        signing: signs what is put there; ``None`` where nothing may be.
        is_patient: whatever it costs: somebody wants what is there, and not what is fastest.
    """

    place: Place
    trusted: Sequence[VerifyKey]
    console: Console
    signing: SigningKey | None = None
    is_patient: bool = False
    counts: Counts = field(default_factory=Counts)
    _made: dict[str, float] = field(default_factory=dict)
    _bad: set[str] = field(default_factory=set)  # entries that were fetched, and are not what they should be
    _said: set[str] = field(default_factory=set)
    _lost: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_given_up(self) -> bool:
        """Whether it has cost more than it may, and is asked no more."""
        return self._lost > LOSS and not self.is_patient

    def describe(self) -> str:
        """What it has given, in a line."""
        counts = self.counts
        given = f"the cache gave {counts.hits} entries, {format_size(counts.fetched)}"
        sent = f"; sent {format_size(counts.pushed)}" if counts.pushed else ""
        return f"{given}; {counts.misses} were not there, {counts.refused} refused{sent}"

    def bring(self, name: str, directory: Path) -> Brought | None:
        """Fetch an entry into an empty directory; ``None``, and an empty directory, if it is not to be had."""
        if self.is_given_up:
            return None
        started = time.monotonic()
        try:
            brought = self._bring(name, directory)
        except SignatureRefused as error:
            with self._lock:
                self.counts.refused += 1
            self._bad.add(name)
            self.console.warn(f"{name} in {self.place.url} is not used: {error}")
            brought = None
        except (OSError, ValueError, BuildError, TooSlow) as error:
            if isinstance(error, ValueError):
                self._bad.add(name)
            if self.is_patient and str(error) not in self._said:  # a cache that is down says it of each
                self._said.add(str(error))
                self.console.warn(f"{name} in {self.place.url} cannot be brought: {error}")
            self._lose(time.monotonic() - started, f"{name}: {error}")
            brought = None
        else:
            if brought is None:
                with self._lock:
                    self.counts.misses += 1
                self._lose(time.monotonic() - started, "it does not have much of this")
        if brought is None:
            _empty(directory)
        return brought

    def has(self, name: str) -> bool:
        """Whether there is an entry that may be used; what it holds is looked at when it is fetched."""
        if self.is_given_up:
            return False
        started = time.monotonic()
        try:
            envelope = wait_within(LEAST, lambda: self.place.read_entry(name))
            if envelope is not None:
                open_entry(envelope, name, self.trusted)
            return envelope is not None
        except SignatureRefused:
            return False
        except (OSError, BuildError, TooSlow) as error:
            self._lose(time.monotonic() - started, f"{name}: {error}")
            return False

    def _bring(self, name: str, directory: Path) -> Brought | None:
        envelope = wait_within(self._bear(LEAST), lambda: self.place.read_entry(name))
        if envelope is None:
            return None
        entry = open_entry(envelope, name, self.trusted)
        if not 0 <= entry.size <= MAX_ARCHIVE:
            raise ValueError(f"it has {entry.size} bytes")
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".new-shared-") as scratch:
            archive, ended = Path(scratch, "archive"), threading.Event()
            try:
                wait_within(self._bear(max(LEAST, entry.seconds)), lambda: self._fetch(entry, archive, ended))
            except FileNotFoundError:  # pruned just now, or lost
                self._bad.add(name)
                return None
            finally:
                ended.set()
            if archive.stat().st_size != entry.size or hash_file(archive) != entry.sha256:
                raise SignatureRefused("its archive is not what was signed")
            with archive.open("rb") as file:
                unpack_archive(file, directory)
        if describe_files(list_files(directory)) != entry.files:
            raise SignatureRefused("its files are not what was signed")
        with self._lock:
            self.counts.hits += 1
            self.counts.fetched += entry.size
        return Brought(entry.value, {name: what[:64] for name, what in entry.files.items() if what[0] not in "-/"})

    def _bear(self, seconds: float) -> float:
        """How long something may take that is worth so many seconds."""
        return max(PATIENT, seconds) if self.is_patient else seconds

    def _fetch(self, entry: SharedEntry, archive: Path, ended: threading.Event) -> None:
        with archive.open("wb") as file:
            self.place.fetch(entry, cast("BinaryIO", _Bounded(file, entry.size, ended)))

    def _lose(self, seconds: float, why: str) -> None:
        """Count what the cache has cost without giving anything."""
        self.console.log(f"the cache {self.place.url}: {why}")
        with self._lock:
            before = self.is_given_up
            self._lost += seconds
        if self.is_given_up and not before:
            lost = format_seconds(self._lost)
            self.console.warn(f"the cache {self.place.url} has cost {lost} for nothing; building without it ({why})")

    def note_made(self, name: str, seconds: float) -> None:
        """Remember that this was made here, and what it took, for :meth:`take_made`."""
        with self._lock:
            self._made[name] = seconds

    def take_made(self) -> dict[str, float]:
        """What was made here since this was asked last: seconds by name."""
        with self._lock:
            made, self._made = self._made, {}
        return made

    def push(
        self,
        name: str,
        files: Mapping[str, Path],
        scratch: Path,
        *,
        value: Any = None,
        seconds: float,
        hashes: Mapping[str, str] | None = None,
    ) -> bool:
        """Put an entry there, signed; returns whether it is new. One that nobody may use is replaced: all would make it
        again and again.

        Args:
            hashes: what files have to be, where that is known.

        Raises:
            InputError: a file is another one.
            BuildError, OSError: the cache does not take it.
            TooSlow: it takes too long.
        """
        assert self.signing is not None
        signing = self.signing
        if self._has_good(name, [*self.trusted, signing.public]):
            if hashes:
                _check_files(files, describe_files(files), hashes)
            return False
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".new-shared-") as directory:
            archive = Path(directory, "archive")
            with archive.open("wb") as file:
                write_archive(files, file)
            size, what = archive.stat().st_size, describe_files(files)
            _check_files(files, what, hashes or {})
            entry = SharedEntry(name, hash_file(archive), size, what, value, seconds, int(time.time()))
            wait_within(PUSH, lambda: self.place.put(entry, sign_entry(entry, signing), archive))
        self._bad.discard(name)
        with self._lock:
            self.counts.pushed += size
        return True

    def mark_bad(self, name: str) -> None:
        """Remember that an entry holds what nobody can use: who may write replaces it."""
        self._bad.add(name)

    def _has_good(self, name: str, trusted: Sequence[VerifyKey]) -> bool:
        """Whether there is an entry that one of the keys signed, and of which nothing bad is known."""
        try:
            envelope = wait_within(self._bear(LEAST), lambda: self.place.read_entry(name))
            if envelope is None or name in self._bad:
                return False
            open_entry(envelope, name, trusted)
        except SignatureRefused:
            return False
        return True


def _check_files(files: Mapping[str, Path], what: Mapping[str, str], hashes: Mapping[str, str]) -> None:
    for name, sha256 in hashes.items():
        if what[name].removesuffix("x") != sha256:
            raise InputError(f"{files[name]} is not what was built", hint="'build-os build' makes it again")


class _Bounded:
    """A file that takes so many bytes, until nobody waits for it any more."""

    def __init__(self, file: BinaryIO, size: int, ended: threading.Event) -> None:
        self._file, self._left, self._ended = file, size, ended

    def write(self, piece: bytes) -> int:
        """As a file does.

        Raises:
            OSError: it was given up.
            SignatureRefused: it is more than was signed.
        """
        if self._ended.is_set():
            raise OSError("nobody waits for it any more")
        if len(piece) > self._left:
            raise SignatureRefused("its archive is larger than what was signed")
        self._left -= len(piece)
        return self._file.write(piece)


class _Helper:
    """A thread that does one thing after another: connections, which libraries keep for each thread, are used again."""

    idle: ClassVar[list[_Helper]] = []

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()  # nobody waits for one that is stuck

    def _run(self) -> None:
        while True:
            self._work.get()()

    @classmethod
    def take(cls) -> _Helper:
        """One that has nothing to do."""
        try:
            return cls.idle.pop()
        except IndexError:
            return cls()

    def give(self, work: Callable[[], None]) -> None:
        """Have it do something."""
        self._work.put(work)


def wait_within(seconds: float, work: Callable[[], T]) -> T:
    """What the work returns; given up after some seconds, whatever it waits for.

    Raises:
        TooSlow: it took longer. It goes on in its thread, and nobody looks at it any more.
        BaseException: what the work raised.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        _Helper.idle.append(helper)  # also when it is late
        ended.set()

    helper = _Helper.take()
    helper.give(run)
    if not ended.wait(min(seconds, threading.TIMEOUT_MAX)):
        raise TooSlow(f"it takes longer than {format_seconds(seconds)}")
    if errors:
        raise errors[0]
    return results[0]


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

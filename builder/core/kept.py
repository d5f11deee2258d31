"""The one cache: what was made once is kept in the store, and used again for the same inputs.

The store has a section for each kind of thing. An entry is ``SECTION/KEY.seal`` and the files that the seal names:
``SECTION/KEY.*`` or all that is below ``SECTION/KEY/``. The seal's first line is ``build-os SECTION VERSION SHA256``,
the hash being of the JSON after it: what the entry was made of, its files, the files elsewhere in the store that it
points into, and a value. It is written last: where it is, all the rest is. An entry that was cut short, changed,
replaced by a link or written by another version of build-os is none.

A row of a file is ``[size, sha256]``, or ``[mode, size, time in ns]`` where reading all would cost more than making it
again, or ``[target]`` of a link.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.core import seen
from builder.core.console import Console, QuietConsole
from builder.core.errors import BuildError
from builder.core.files import hash_file, open_replacement, sync_file_system
from builder.core.inputs import explain_change
from builder.core.store import Store

SEAL = ".seal"
DAMAGED = "is damaged or of another format"
# What was used since then may be in use by another build. Seconds.
LATELY = 3600.0
Row = list[int | str]


@dataclass(frozen=True)
class Section:
    """A kind of entries.

    Attributes:
        name: of the directory in the store.
        version: is raised with every change of what its entries hold.
        last: how many entries stay when a build has ended, those used last; ``None`` for all.
        by_content: whether files are known by their hash, or by mode, size and time.
    """

    name: str
    version: int
    last: int | None = None
    by_content: bool = True


PACKS = Section("packs", 2)
STAGES = Section("stages", 2, last=20)
PRESETS = Section("presets", 2, last=20)
DERIVED = Section("derived", 1, last=24)  # up to 20 MB each
OUTPUTS = Section("outputs", 3, last=16)  # up to 30 MB each
ROOTS = Section("roots", 1, last=6, by_content=False)  # up to 250 MB each, which every build would read
TOOLS = Section("tools", 2, by_content=False)
FILTERS = Section("filters", 2, last=8)
ANSWERS = Section("answers", 1, last=50)  # 200 kB each
MACHINES = Section("machines", 2, last=3, by_content=False)  # each is as large as what its guest has in memory
BUILDS = Section("builds", 1, last=200)
KEPT = (PACKS, STAGES, PRESETS, DERIVED, OUTPUTS, ROOTS, TOOLS, FILTERS, MACHINES, BUILDS, ANSWERS)


@dataclass(frozen=True)
class KeptEntry:
    """What is kept under a key.

    Attributes:
        inputs: what it was made of, as label -> hash.
        files: row by path, relative to the section.
        uses: row by path of files elsewhere that it points into.
        value: whatever JSON can hold.
    """

    store: Store
    section: Section
    key: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Row] = field(default_factory=dict)
    uses: Mapping[str, Row] = field(default_factory=dict)
    value: Any = None

    @property
    def path(self) -> Path:
        """``SECTION/KEY``: the directory, or what the names of its files begin with."""
        return self.store.root / self.section.name / self.key

    @property
    def seal(self) -> Path:
        """The file that makes it an entry."""
        return self.path.with_name(self.key + SEAL)

    def read(self, path: Path) -> bytes:
        """The content of one of its files that is known by its hash.

        Raises:
            ValueError: it is damaged.
        """
        data = path.read_bytes()
        if self.files[path.relative_to(self.path.parent).as_posix()] != [len(data), hashlib.sha256(data).hexdigest()]:
            raise ValueError(f"{path} is damaged")
        return data

    def touch(self) -> None:
        """Note that it is used now, with the entries of the same section that it points into."""
        others = {Path(path).name.partition(".")[0] for path in self.uses if Path(path).parent == self.path.parent}
        for key in (self.key, *others):
            with suppress(OSError):  # in a store that we cannot write
                os.utime(self.path.with_name(key + SEAL))


@dataclass(frozen=True)
class Contents:
    """What a maker says of what it made.

    Attributes:
        value: is kept in the seal.
        hashes: of files by name, where the maker had the time to make them.
    """

    value: Any = None
    hashes: Mapping[str, str] = field(default_factory=dict)


def keep(
    store: Store,
    section: Section,
    inputs: Mapping[str, str],
    make: Callable[[Path], Contents | None],
    console: Console,
    scratch: Path | None = None,
) -> KeptEntry:
    """The entry for these inputs: from the store, or made now in the empty directory that ``make`` is given.

    Args:
        scratch: where that directory is, so that a build that is killed leaves nothing for good; by default in the
            section.

    Raises:
        BuildError: the entry cannot be put into the store.
    """
    key = derive_key(inputs)
    entry, why = look_up(store, section, key, inputs)
    if entry is not None:
        entry.touch()
        return entry
    if why == DAMAGED:
        console.warn(f"{store.root / section.name / key} in the store {why}; making it again")
    else:
        console.log(f"{section.name}/{key[:12]} is made because {why}")
    parent = scratch or store.root / section.name
    parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=parent, prefix=f".new-{section.name}-"))
    try:
        fresh.chmod(0o755)
        return add_entry(
            store, section, key, fresh, inputs=inputs, contents=_bring_or_make(store, section, key, fresh, make)
        )
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def derive_shared_name(section: Section, key: str) -> str:
    """What an entry is called in a cache that machines share."""
    return f"{section.name}-{section.version}-{key}"


def parse_shared_name(name: str) -> tuple[Section, str] | None:
    """The section and key that :func:`derive_shared_name` made a name of; ``None`` if it is of none that is kept."""
    kind, _, key = name.rpartition("-")
    section = next((section for section in KEPT if f"{section.name}-{section.version}" == kind), None)
    return None if section is None else (section, key)


def _bring_or_make(
    store: Store, section: Section, key: str, fresh: Path, make: Callable[[Path], Contents | None]
) -> Contents:
    """Fill the directory from the cache behind the store, or by our own work."""
    if store.tier is None:
        return make(fresh) or Contents()
    if (brought := store.tier.bring(derive_shared_name(section, key), fresh)) is not None:
        return Contents(brought.value, brought.hashes)
    started = time.monotonic()
    contents = make(fresh) or Contents()
    store.tier.note_made(derive_shared_name(section, key), time.monotonic() - started)
    return contents


def look_up(
    store: Store, section: Section, key: str, inputs: Mapping[str, str] | None = None
) -> tuple[KeptEntry | None, str]:
    """The whole entry, or why there is none: for ``inputs``, what differs from the last one of the same labels."""
    entry = read_entry(store, section, key)
    if entry is None:
        if (store.root / section.name / (key + SEAL)).exists() or (store.root / section.name / key).exists():
            return None, DAMAGED
        return None, _why_new(store, section, inputs or {})
    return (entry, "") if is_whole(entry) else (None, DAMAGED)


def _why_new(store: Store, section: Section, inputs: Mapping[str, str]) -> str:
    """In what the inputs differ from those of the entry that was used last and has the same labels."""
    for other in sorted(list_entries(store, section), key=lambda entry: entry.seal.stat().st_mtime, reverse=True):
        if other.inputs.get("what") == inputs.get("what"):
            return explain_change(other.inputs, inputs)
    return "it was not made before"


def read_entry(store: Store, section: Section, key: str) -> KeptEntry | None:
    """What the seal says, if there is one, whole and of this version. Of the files, :func:`is_usable` knows."""
    bare = KeptEntry(store, section, key)
    try:
        with _open_regular(bare.seal) as file:
            head, _, body = file.read().partition(b"\n")
    except OSError:
        return None
    if head != _head_of(section, body):
        return None
    return KeptEntry(store, section, key, **json.loads(body))


def list_entries(store: Store, section: Section) -> Iterator[KeptEntry]:
    """All entries of a section, in no order."""
    for path in sorted((store.root / section.name).glob(f"*{SEAL}")):
        entry = read_entry(store, section, path.name.removesuffix(SEAL))
        if entry is not None:
            yield entry


def is_usable(entry: KeptEntry) -> bool:
    """Whether all files are there, of the right size, and where that is known of the right time; reads none."""
    return _compare(entry, read=False)


def is_whole(entry: KeptEntry) -> bool:
    """Whether all files are as they were; reads those that are known by their hash."""
    return _compare(entry, read=True)


def _compare(entry: KeptEntry, *, read: bool) -> bool:
    section = entry.path.parent
    try:
        if next(iter(entry.files), "").startswith(f"{entry.key}/"):
            names = {path.removeprefix(f"{section}/") for path in _walk(entry.path)}
            if names != set(entry.files):
                return False
        rows = ((f"{section}/{name}", row) for name, row in entry.files.items())
        return all(_is_as(path, row, read=read) for path, row in (*rows, *entry.uses.items()))
    except (OSError, ValueError):
        return False


def _is_as(path: str, row: Row, *, read: bool) -> bool:
    seen.note(path)
    if len(row) != 2:
        return describe_file(path) == row
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size != row[0]:
        return False
    return not read or hash_file(Path(path)) == row[1]


def describe_file(path: str) -> Row:
    """The row of a file by mode, size and time, or of a link.

    Raises:
        OSError: there is none.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return [os.readlink(path)]  # noqa: PTH115 - many
    return [status.st_mode, status.st_size, status.st_mtime_ns]


def _walk(directory: Path) -> Iterator[str]:
    """The paths of all files and links below a directory."""
    for where, directories, names in os.walk(directory):
        links = [name for name in directories if os.path.islink(f"{where}/{name}")]  # noqa: PTH114 - many
        for name in (*names, *links):
            yield f"{where}/{name}"


def add_entry(
    store: Store, section: Section, key: str, directory: Path, *, inputs: Mapping[str, str], contents: Contents
) -> KeptEntry:
    """Move a directory into the store and seal it; whatever is there under this key is replaced.

    Raises:
        BuildError: it cannot be.
    """
    entry = KeptEntry(store, section, key)
    faster = read_entry(store, section, key)  # another build may have been
    if faster is not None and is_whole(faster):
        return faster
    names = sorted(path.removeprefix(f"{directory}/") for path in _walk(directory))
    if section.by_content:
        hashed = {name: contents.hashes.get(name) or hash_file(directory / name) for name in names}
        files: dict[str, Row] = {f"{key}/{name}": [(directory / name).stat().st_size, hashed[name]] for name in names}
    else:
        # Known by size and time: the bytes are on the disk before the seal is.
        sync_file_system(directory)
        files = {f"{key}/{name}": describe_file(f"{directory}/{name}") for name in names}
    entry.path.parent.mkdir(parents=True, exist_ok=True)
    gone = entry.path.with_name(f".old-{key}-{os.urandom(4).hex()}")
    # Two builds may make the same at the same time: files and their seal are exchanged as one.
    with store.lock(f"keep-{section.name}", QuietConsole(), "keeping what it made"):
        faster = read_entry(store, section, key)
        if faster is not None and is_whole(faster):
            return faster
        try:
            # Aside first: what another build has just started from there finds its files until the last moment.
            entry.seal.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                entry.path.rename(gone)
            if names:
                directory.rename(entry.path)
        except OSError as error:
            raise BuildError(f"cannot keep {entry.path} in the store: {error.strerror}") from error
        finally:
            shutil.rmtree(gone, ignore_errors=True)
        return seal_entry(store, section, key, inputs=inputs, files=files, value=contents.value)


def seal_entry(
    store: Store,
    section: Section,
    key: str,
    *,
    inputs: Mapping[str, str] | None = None,
    files: Mapping[str, Row] | None = None,
    uses: Mapping[str, Row] | None = None,
    value: Any = None,
) -> KeptEntry:
    """Make an entry of files that lie in their places.

    Raises:
        OSError: the store cannot be written, the disk is full.
    """
    entry = KeptEntry(store, section, key, inputs or {}, files or {}, uses or {}, value)
    facts = {"inputs": entry.inputs, "files": entry.files, "uses": entry.uses, "value": value}
    body = json.dumps(facts, separators=(",", ":")).encode()
    with open_replacement(entry.seal) as file:
        file.write(_head_of(section, body) + b"\n")
        file.write(body)
    return entry


def forget_entry(store: Store, section: Section, key: str) -> None:
    """Let nobody use an entry any more; files beside its seal go when the section is pruned."""
    entry = KeptEntry(store, section, key)
    entry.seal.unlink(missing_ok=True)
    shutil.rmtree(entry.path, ignore_errors=True)


def prune(store: Store, sections: Iterable[Section] = KEPT, lately: float = LATELY) -> None:
    """Drop from each section all but the last entries that were used, and what has no seal."""
    for section in sections:
        _prune(store.root / section.name, section.last, lately)


def _prune(directory: Path, last: int | None, lately: float) -> None:
    names: dict[str, list[str]] = {}
    for name in os.listdir(directory) if directory.is_dir() else ():  # noqa: PTH208 - thousands
        names.setdefault(name if name.startswith(".") else name.partition(".")[0], []).append(name)

    def find_last_use(key: str) -> float:
        return max(_read_time(directory / name) for name in names[key])

    stay = {key for key in names if key + SEAL in names[key]}
    if last is not None and len(stay) > last:
        stay = set(sorted(stay, key=find_last_use, reverse=True)[:last])
    for key in names.keys() - stay:
        if time.time() - find_last_use(key) < lately:
            continue
        # The seal first: half an entry is none.
        for path in sorted((directory / name for name in names[key]), key=lambda path: path.suffix != SEAL):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _read_time(path: Path) -> float:
    """When it was changed last; long ago, if another build has pruned it since it was listed."""
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def derive_key(inputs: Mapping[str, str]) -> str:
    """The name of what is made of these inputs, in their order: the order of overlays decides which one wins."""
    return hashlib.sha256(json.dumps(list(inputs.items())).encode()).hexdigest()


def _head_of(section: Section, body: bytes) -> bytes:
    return f"build-os {section.name} {section.version} {hashlib.sha256(body).hexdigest()}".encode()


def _open_regular(path: Path) -> Any:
    """Open a regular file.

    Raises:
        OSError: it is none, or cannot be read.
    """
    # Not blocking: a pipe in its place must not be waited for.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is no regular file")
    return file

"""What differs between two locks, package by package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from builder.core.errors import SourceError
from builder.core.store import Store
from builder.debian.changelog import ChangelogEntry, find_entries_between, read_changelog
from builder.debian.lock import Lock, LockedPackage, LockedWheel
from builder.debian.pack import Pack, unpack


@dataclass(frozen=True)
class Changed:
    """A package that is not the same in both.

    Attributes:
        groups: of which roots it is a part: ``image``, ``tools``, ``container:NAME``.
        old, new: ``None`` where a lock does not have it.
        installed: by how many KiB the installed size grows; ``None`` if a deb is not at hand.
        entries: of its changelog, after the old version and up to the new one.
    """

    name: str
    groups: tuple[str, ...]
    old: LockedPackage | None
    new: LockedPackage | None
    installed: int | None = None
    entries: tuple[ChangelogEntry, ...] = ()

    @property
    def package(self) -> LockedPackage:
        """The new one, or what was there before."""
        locked = self.new or self.old
        assert locked is not None, "one of them is there"
        return locked

    @property
    def download(self) -> int:
        """By how many bytes the deb grows."""
        return (self.new.size if self.new else 0) - (self.old.size if self.old else 0)

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"

    @property
    def advisories(self) -> tuple[str, ...]:
        """What the entries name of security advisories, sorted."""
        return tuple(sorted({name for entry in self.entries for name in entry.advisories}))

    @property
    def bugs(self) -> tuple[str, ...]:
        """The reports that the entries close, sorted."""
        return tuple(sorted({name for entry in self.entries for name in entry.bugs}))


def compare_locks(old: Lock, new: Lock) -> list[Changed]:
    """The packages that differ, by name; one that changes alike in several groups is there once."""
    rows: dict[tuple[str, str, str], Changed] = {}
    before, after = old.list_groups(), new.list_groups()
    for group in dict.fromkeys([*before, *after]):
        one = {(p.name, p.architecture): p for p in before.get(group, ())}
        other = {(p.name, p.architecture): p for p in after.get(group, ())}
        # A package that goes from an architecture to "all" is the same package.
        for name in sorted({name for name, _ in one} | {name for name, _ in other}):
            was = next((p for key, p in one.items() if key[0] == name), None)
            now = next((p for key, p in other.items() if key[0] == name), None)
            one_key, other_key = (f"{p.version} {p.sha256}" if p else "" for p in (was, now))
            if one_key == other_key:
                continue
            key = (name, one_key, other_key)
            known = rows.get(key) or Changed(name, (), was, now)
            rows[key] = replace(known, groups=(*known.groups, group))
    return [rows[key] for key in sorted(rows)]


@dataclass(frozen=True)
class WheelChange:
    """A wheel that is not the same in two locks: its name, the environment, what it was and is."""

    name: str
    environment: str
    group: str
    old: LockedWheel | None
    new: LockedWheel | None

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"

    def __str__(self) -> str:
        before, after = (wheel.version if wheel else None for wheel in (self.old, self.new))
        same = " (another file)" if before == after else ""
        where = self.environment if self.group == "image" else f"{self.environment}, {self.group}"
        return f"{self.name}: {before or 'not there'} -> {after or 'gone'}{same} (python {where})"


def compare_wheels(old: Lock, new: Lock) -> list[WheelChange]:
    """The wheels that differ, by name."""
    one, other = ({(w.name, w.environment, w.group): w for w in lock.wheels} for lock in (old, new))
    keys = sorted(one.keys() | other.keys())
    return [WheelChange(*key, one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]


def explain_differences(changes: list[Changed], new: Lock, store: Store) -> Iterator[Changed]:
    """The same with installed sizes and changelogs, as far as the debs are in the store."""
    packages = {package.name: package for package in new.list_all_packages()}

    def other(name: str) -> Pack | None:
        return _pack(packages.get(name), store)

    for change in changes:
        was, now = _pack(change.old, store), _pack(change.new, store)
        sizes = [_installed(pack) if package else 0 for package, pack in ((change.old, was), (change.new, now))]
        grown = None if sizes[0] is None or sizes[1] is None else sizes[1] - sizes[0]
        yield replace(change, installed=grown, entries=_entries(change, now, other))


def _entries(change: Changed, pack: Pack | None, other: Callable[[str], Pack | None]) -> tuple[ChangelogEntry, ...]:
    if pack is None or change.old is None or change.new is None:
        return ()
    entries = read_changelog(pack, other)
    between = find_entries_between(entries, change.old.source_version, change.new.source_version)
    # A binary rebuild has a version of its own, and an entry in a file of its own.
    between += [e for e in find_entries_between(entries, change.old.version, change.new.version) if e not in between]
    return tuple(between)


def _pack(package: LockedPackage | None, store: Store) -> Pack | None:
    if package is None or not store.has_blob(package.sha256, package.size):
        return None
    try:
        return unpack(store, package, verify=False)
    except SourceError:
        return None


def _installed(pack: Pack | None) -> int | None:
    size = pack.control.get("Installed-Size", "") if pack else ""
    return int(size) if size.isascii() and size.isdecimal() else None

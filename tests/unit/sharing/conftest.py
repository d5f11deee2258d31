"""Machines with a store each and one cache, and what goes wrong with that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.core.console import PlainConsole, QuietConsole
from builder.core.kept import OUTPUTS, Contents, derive_shared_name, keep
from builder.core.store import Store
from builder.sharing.archive import list_files
from builder.sharing.cache import SharedCache
from builder.sharing.entry import sign_entry
from builder.sharing.listing import list_entries
from builder.sharing.places import DirectoryPlace, Place
from builder.signatures.pem import SigningKey, make_ed25519_pair, parse_private_key

INPUTS = {"what": "initrd", "of": "x"}


def make_key() -> SigningKey:
    return parse_private_key(make_ed25519_pair()[0])


class Machines:
    """Machines with a store each, and one cache behind all."""

    def __init__(self, directory: Path, place: Place) -> None:
        self.directory, self.place, self.key = directory, place, make_key()
        self.makes: list[str] = []

    def add(self, name: str, key: SigningKey | None = None, trusted: SigningKey | None = None) -> Store:
        """A machine that signs with a key, and trusts one (that of all)."""
        cache = SharedCache(self.place, [(trusted or self.key).public], PlainConsole(), key or self.key)
        return replace(Store.open(self.directory / name), tier=cache)

    def build(self, store: Store, data: str = "content", push: bool = False) -> str:
        """Have the entry on a machine; returns what is in it."""

        def make(fresh: Path) -> Contents:
            self.makes.append(store.root.name)
            (fresh / "deep").mkdir()
            (fresh / "deep/file").write_text(data)
            return Contents(value={"of": "initrd"})

        entry = keep(store, OUTPUTS, INPUTS, make, QuietConsole())
        if push:
            cache_of(store).push(
                derive_shared_name(OUTPUTS, entry.key),
                list_files(entry.path),
                store.root,
                value=entry.value,
                seconds=1.0,
            )
        assert entry.value == {"of": "initrd"}
        return (entry.path / "deep/file").read_text()

    @property
    def name(self) -> str:
        """Of the only entry."""
        (name,) = self.place.list_names()
        return name


def cache_of(store: Store) -> SharedCache:
    assert isinstance(store.tier, SharedCache)
    return store.tier


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path, DirectoryPlace(tmp_path / "cache"))


def sign_payload(machines: Machines, **changes: Any) -> dict[str, str]:
    entry = list_entries(cache_of(machines.add("reader"))).rows[0].entry
    envelope: dict[str, str] = json.loads(sign_entry(replace(entry, **changes), machines.key))
    return envelope


class Hindered:
    """A place of which something is otherwise."""

    def __init__(self, place: Place, **changed: Callable[..., Any]) -> None:
        self._place, self._changed = place, changed

    def __getattr__(self, name: str) -> Any:
        return self._changed.get(name) or getattr(self._place, name)


def refuse(*_: object) -> None:
    raise OSError("Connection refused")


def damage_archive(machines: Machines) -> None:
    (archive,) = (machines.directory / "cache/blobs").rglob("sha256/*/*")
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)

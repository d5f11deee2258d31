"""Whole builds in the cache that machines share: taken from there instead of being made, and put there by who may."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.build.inputs import open_build_tools
from builder.build.workspace import Workspace, sweep_out
from builder.core.errors import BuildError, InputError
from builder.core.files import write_file
from builder.core.kept import KEPT, KeptEntry, Section, derive_shared_name, list_entries, parse_shared_name, read_entry
from builder.core.store import Brought, Store
from builder.debian.lock import Lock
from builder.definition.resolved import Resolved
from builder.outputs.manifest import FILE, LOCAL, is_current, read_manifest
from builder.sharing.archive import list_files
from builder.sharing.cache import SharedCache, TooSlow
from builder.sharing.downloads import parse_download_name, push_downloads

if TYPE_CHECKING:
    from collections.abc import Iterable

# The artifacts of a build, by the key of all that decides them.
IMAGES = Section("images", 1)
# Packs and snapshots point into a store by path, and are made of debs in seconds; a machine's memory is its own.
SHARED = tuple(section for section in KEPT if section.name in ("tools", "presets", "derived", "roots", "outputs"))


def find_shared_cache(store: Store) -> SharedCache | None:
    """What is behind the store."""
    return store.tier if isinstance(store.tier, SharedCache) else None


def bring_build(workspace: Workspace, resolved: Resolved, lock: Lock, key: str) -> bool:
    """Have the artifacts of this key in the output directory: they are there, or come from the shared cache."""
    cache = find_shared_cache(workspace.kept)
    if cache is None:
        return False
    if is_current(workspace.manifest, key):
        return True
    out = workspace.request.out
    sweep_out(out)
    out.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=out, prefix=".new-images-"))
    try:
        name = derive_shared_name(IMAGES, key)
        brought = cache.bring(name, fresh)
        if brought is None:
            return False
        if not _is_build(brought, key):
            cache.console.warn(
                f"{name} in {cache.place.url} is not used: its files are not those that its manifest names"
            )
            cache.mark_bad(name)
            return False
        tools = open_build_tools(workspace, resolved, lock)
        workspace.manifest.unlink(missing_ok=True)
        for path in fresh.iterdir():
            os.utime(path)  # the clock of who made it may be ahead, and an artifact is as old as its manifest, or older
            path.replace(out / path.name)
        local = {"definition": str(resolved.path), "tools": str(tools.root), "timings": asdict(workspace.timings)}
        write_file(workspace.manifest, json.dumps(brought.value | local, indent=1) + "\n", durable=True)
        return True
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _is_build(brought: Brought, key: str) -> bool:
    """Whether the manifest that came is of this key, and names just the files that came with it."""
    try:
        return bool(brought.value["key"] == key and brought.hashes == _list_hashes(brought.value))
    except (LookupError, TypeError, AttributeError):
        return False


def _list_hashes(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What each artifact is, by its path."""
    return {artifact["path"]: artifact["sha256"] for artifact in manifest["artifacts"].values()}


def publish_build(workspace: Workspace, seconds: float) -> None:
    """Put what this build made into the shared cache, if this machine may; what cannot be put there is said."""
    cache = find_shared_cache(workspace.kept)
    if cache is None or cache.signing is None:
        return
    made = cache.take_made()
    places = {name: parse_shared_name(name) for name in sorted(made)}
    entries = [
        (entry, made[name])
        for name, place in places.items()
        if place is not None and place[0] in SHARED and (entry := read_entry(workspace.kept, *place)) is not None
    ]
    downloads = {sha256: took for name, took in made.items() if (sha256 := parse_download_name(name)) is not None}
    try:
        with workspace.console.open_step("share what was made"):
            push_build(cache, workspace.request.out, seconds)
            for entry, took in entries:
                push_entry(cache, entry, took)
            push_downloads(cache, workspace.kept, downloads, workspace.console)
    except (OSError, BuildError, TooSlow) as error:
        workspace.console.warn(f"the cache {cache.place.url} does not take what was made: {error}")


def push_build(cache: SharedCache, out: Path, seconds: float) -> bool:
    """Put the artifacts of an output directory there; returns whether they are new.

    Raises:
        InputError: an artifact is gone, or is not what the manifest says.
        BuildError, OSError: the cache does not take them.
        TooSlow: it takes too long.
    """
    manifest = read_manifest(out / FILE)
    if manifest is None:
        return False
    hashes = _list_hashes(manifest)
    files = {name: out / name for name in hashes}
    for path in files.values():
        if not path.is_file():
            raise InputError(f"there is no {path}, which {out / FILE} names", hint="'build-os build' makes it again")
    name = derive_shared_name(IMAGES, manifest["key"])
    return cache.push(name, files, out, value=describe_build(manifest), seconds=seconds, hashes=hashes)


def describe_build(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of its build, wherever and whenever that was."""
    return {name: part for name, part in manifest.items() if name not in LOCAL}


def push_entry(cache: SharedCache, entry: KeptEntry, seconds: float) -> bool:
    """Put an entry of the store there; returns whether it is new."""
    name = derive_shared_name(entry.section, entry.key)
    scratch = entry.path.parent
    return cache.push(name, list_entry_files(entry), scratch, value=entry.value, seconds=seconds)


def list_entry_files(entry: KeptEntry) -> Mapping[str, Path]:
    """The files of an entry by their names in it, with the directories that they are in."""
    return list_files(entry.path) if entry.path.is_dir() else {}


def list_shareable(store: Store) -> Iterable[KeptEntry]:
    """All entries of the store that other machines can use."""
    return (entry for section in SHARED for entry in list_entries(store, section))

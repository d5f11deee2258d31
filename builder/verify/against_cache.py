"""What a shared cache has, compared with what a build from the downloads alone makes: a poisoned entry is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from builder.build import BuildRequest, build_definition
from builder.build.shared import IMAGES, describe_build, list_entry_files, list_shareable
from builder.core.kept import derive_shared_name
from builder.core.scratch import open_scratch
from builder.core.store import Store
from builder.outputs.manifest import read_manifest
from builder.sharing.archive import describe_files
from builder.sharing.cache import SharedCache
from builder.sharing.entry import SharedEntry, open_entry
from builder.sharing.listing import explain_place_errors
from builder.signatures.verify_key import SignatureRefused

SHOWN = 3


def compare_with_cache(request: BuildRequest, cache: SharedCache) -> tuple[int, list[str]]:
    """Build, and compare every entry that this build could have used; returns how many there were, and what is wrong
    with them, a line each.

    Raises:
        InputError, CapabilityError, ToolError, SourceError: the build failed, or the cache cannot be read.
    """
    compared, wrong = 0, []
    with request.store.keep_in_use(request.console), open_scratch(request.store, request.console) as scratch:
        apart = Store(request.store.root).make_store_apart(scratch / "store")
        out = scratch / "out"
        result = build_definition(replace(request, store=apart, out=out))
        for name, files, value in _list_made(apart, result.manifest):
            try:
                with explain_place_errors(cache):
                    envelope = cache.place.read_entry(name)
                if envelope is None:
                    continue
                entry = open_entry(envelope, name, cache.trusted)
            except SignatureRefused as error:
                compared += 1
                wrong.append(f"{name}: {error}")
                continue
            compared += 1
            wrong += _compare(entry, describe_files(files), value)
    return compared, wrong


def _list_made(store: Store, manifest: Path) -> Iterator[tuple[str, Mapping[str, Path], object]]:
    """What was made: name, files, and what is said of it (of presets, that is all)."""
    for entry in list_shareable(store):
        yield derive_shared_name(entry.section, entry.key), list_entry_files(entry), entry.value
    data = read_manifest(manifest)
    assert data is not None
    artifacts = {artifact["path"]: manifest.parent / artifact["path"] for artifact in data["artifacts"].values()}
    yield derive_shared_name(IMAGES, data["key"]), artifacts, describe_build(data)


def _compare(entry: SharedEntry, made: Mapping[str, str], value: object) -> Iterator[str]:
    if entry.value != json.loads(json.dumps(value)):
        yield f"{entry.name} says {json.dumps(entry.value)[:80]}, and a build {json.dumps(value)[:80]}"
    names = [name for name in sorted({*entry.files, *made}) if entry.files.get(name) != made.get(name)]
    for name in names[:SHOWN]:
        there, here = entry.files.get(name, "not there"), made.get(name, "nothing")
        yield f"{entry.name}: {name} is {there[:80]}, and a build makes {here[:80]}"
    if len(names) > SHOWN:
        yield f"{entry.name}: and {len(names) - SHOWN} more files"

"""A whole build that another machine has made."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from builder.build import BuildRequest, shared
from builder.build.shared import bring_build, publish_build, push_build
from builder.build.workspace import Workspace
from builder.core.console import PlainConsole, QuietConsole
from builder.core.errors import InputError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.definition.load import load
from builder.definition.resolved import Resolved
from builder.outputs.manifest import read_manifest
from builder.sharing.cache import SharedCache
from builder.sharing.places import DirectoryPlace
from builder.signatures.pem import make_ed25519_pair, parse_private_key

pytestmark = pytest.mark.unit

KEY = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> SharedCache:
    key = parse_private_key(make_ed25519_pair()[0])
    return SharedCache(DirectoryPlace(tmp_path / "cache"), [key.public], PlainConsole(), key)


@pytest.fixture
def resolved(tmp_path: Path) -> Resolved:
    path = tmp_path / "os.yaml"
    path.write_text("name: mine\nversion: 1.0.0\narch: amd64\n")
    return load(path).resolved


def make_workspace(directory: Path, cache: SharedCache) -> Workspace:
    store = replace(Store.open(directory / "store"), tier=cache)
    return Workspace(BuildRequest(directory / "os.yaml", directory / "out", store, QuietConsole()), store)


def write_build(out: Path) -> None:
    out.mkdir(parents=True)
    (out / "mine.raw").write_bytes(b"disk")
    artifact = {"path": "mine.raw", "size": 4, "sha256": hashlib.sha256(b"disk").hexdigest(), "format": "raw"}
    data = {"schema": 1, "key": KEY, "artifacts": {"raw": artifact}, "tools": "/elsewhere", "timings": {}}
    (out / "build.json").write_text(json.dumps({**data, "definition": "/elsewhere/os.yaml"}))


def test_its_artifacts_are_fetched_and_the_manifest_is_of_this_machine(
    tmp_path: Path, cache: SharedCache, resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(tmp_path / "elsewhere")
    tomorrow = time.time() + 86400  # as its clock says
    os.utime(tmp_path / "elsewhere/mine.raw", (tomorrow, tomorrow))
    assert push_build(cache, tmp_path / "elsewhere", 9.0)
    assert not push_build(cache, tmp_path / "elsewhere", 9.0)  # it is there
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setattr(shared, "open_build_tools", lambda *_: Tools(tools, QuietConsole()))
    workspace = make_workspace(tmp_path / "here", cache)
    assert not bring_build(workspace, resolved, cast("Lock", None), "cd" * 32)
    assert bring_build(workspace, resolved, cast("Lock", None), KEY)
    assert (tmp_path / "here/out/mine.raw").read_bytes() == b"disk"
    data = json.loads(workspace.manifest.read_text())
    assert (data["tools"], data["definition"], data["key"]) == (str(tools), str(resolved.path), KEY)
    hits = cache.counts.hits
    assert bring_build(workspace, resolved, cast("Lock", None), KEY)  # what is there is not fetched again
    assert cache.counts.hits == hits


def test_a_cache_that_takes_nothing_fails_no_build(
    tmp_path: Path, cache: SharedCache, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file where a directory belongs")
    workspace = make_workspace(tmp_path / "here", cache)
    write_build(tmp_path / "here/out")
    workspace = Workspace(replace(workspace.request, console=PlainConsole()), workspace.kept)
    publish_build(workspace, 9.0)
    assert "does not take what was made" in capsys.readouterr().err


def damage(artifact: Path) -> None:
    artifact.write_bytes(b"dusk")


@pytest.mark.parametrize("harm", [damage, Path.unlink])
def test_an_artifact_that_is_not_what_was_built_is_not_signed(
    tmp_path: Path, cache: SharedCache, harm: Callable[[Path], None]
) -> None:
    write_build(out := tmp_path / "out")
    harm(out / "mine.raw")
    with pytest.raises(InputError, match=r"/mine\.raw") as caught:
        push_build(cache, out, 9.0)
    assert caught.value.hint == "'build-os build' makes it again"
    assert list(cache.place.list_names()) == []
    write_build(right := tmp_path / "right")
    assert push_build(cache, right, 9.0)
    with pytest.raises(InputError, match=r"/mine\.raw"):  # also where the cache has what it should be
        push_build(cache, out, 9.0)


def test_artifacts_that_their_manifest_does_not_name_are_not_taken(
    tmp_path: Path, cache: SharedCache, resolved: Resolved, capsys: pytest.CaptureFixture[str]
) -> None:
    """By somebody whose key is trusted, and whose disk, or build-os, is at fault."""
    cache.console = PlainConsole()
    write_build(out := tmp_path / "elsewhere")
    manifest = read_manifest(out / "build.json")
    damage(out / "mine.raw")
    name = f"images-1-{KEY}"
    cache.push(name, {"mine.raw": out / "mine.raw"}, tmp_path, value=manifest, seconds=1.0)
    workspace = make_workspace(tmp_path / "here", cache)
    assert not bring_build(workspace, resolved, cast("Lock", None), KEY)
    assert f"{name} in {cache.place.url} is not used: " in capsys.readouterr().err
    assert list((tmp_path / "here/out").iterdir()) == []
    (out / "mine.raw").write_bytes(b"disk")
    assert push_build(cache, out, 9.0)  # it is replaced

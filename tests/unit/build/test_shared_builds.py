"""A whole build that another machine has made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from builder.build import BuildRequest, shared
from builder.build.shared import bring_build, publish_build, push_build
from builder.build.workspace import Workspace
from builder.core.console import PlainConsole, QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.definition.load import load
from builder.definition.resolved import Resolved
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
    artifact = {"path": "mine.raw", "size": 4, "sha256": "x", "format": "raw"}
    data = {"schema": 1, "key": KEY, "artifacts": {"raw": artifact}, "tools": "/elsewhere", "timings": {}}
    (out / "build.json").write_text(json.dumps({**data, "definition": "/elsewhere/os.yaml"}))


def test_its_artifacts_are_fetched_and_the_manifest_is_of_this_machine(
    tmp_path: Path, cache: SharedCache, resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(tmp_path / "elsewhere")
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

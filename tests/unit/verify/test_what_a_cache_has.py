"""What a cache has, against what a build makes: also entries that are no files, and caches that have nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.build import BuildRequest
from builder.build.shared import IMAGES
from builder.core.console import QuietConsole
from builder.core.errors import SourceError
from builder.core.kept import PRESETS, Contents, derive_key, derive_shared_name, keep
from builder.core.store import Store
from builder.sharing.cache import SharedCache
from builder.sharing.places import DirectoryPlace
from builder.signatures.pem import make_ed25519_pair, parse_private_key
from builder.verify import against_cache
from builder.verify.against_cache import compare_with_cache
from tests.support.command import run_command

pytestmark = pytest.mark.unit

INPUTS = {"what": "presets"}
NAME = derive_shared_name(PRESETS, derive_key(INPUTS))
MANIFEST = {"schema": 1, "key": "1" * 64, "command_line": "quiet", "timings": {"lock": 1.0}, "artifacts": {}}


@pytest.fixture
def cache(tmp_path: Path) -> SharedCache:
    key = parse_private_key(make_ed25519_pair()[0])
    return SharedCache(DirectoryPlace(tmp_path / "cache"), [key.public], QuietConsole(), key)


@pytest.fixture
def request_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildRequest:
    def build(request: BuildRequest) -> Any:
        keep(request.store, PRESETS, INPUTS, lambda _: Contents(value=["ssh.service"]), request.console)
        request.out.mkdir()
        (request.out / "build.json").write_text(json.dumps(MANIFEST))
        return SimpleNamespace(manifest=request.out / "build.json")

    monkeypatch.setattr(against_cache, "build_definition", build)
    return BuildRequest(tmp_path / "os.yaml", tmp_path / "out", Store.open(tmp_path / "store"), QuietConsole())


def test_what_is_as_a_build_makes_it_is_counted(
    cache: SharedCache, request_of_a_build: BuildRequest, tmp_path: Path
) -> None:
    assert compare_with_cache(request_of_a_build, cache) == (0, [])
    cache.push(NAME, {}, tmp_path, value=["ssh.service"], seconds=1.0)
    image = {name: part for name, part in MANIFEST.items() if name != "timings"}
    cache.push(derive_shared_name(IMAGES, "1" * 64), {}, tmp_path, value=image, seconds=1.0)
    assert compare_with_cache(request_of_a_build, cache) == (2, [])


def test_an_entry_that_is_no_files_is_compared_too(
    cache: SharedCache, request_of_a_build: BuildRequest, tmp_path: Path
) -> None:
    cache.push(NAME, {}, tmp_path, value=["backdoor.service"], seconds=1.0)
    expected = f'{NAME} says ["backdoor.service"], and a build ["ssh.service"]'
    assert compare_with_cache(request_of_a_build, cache) == (1, [expected])


def test_a_cache_that_cannot_be_read_is_said(
    cache: SharedCache, request_of_a_build: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Connection refused")

    monkeypatch.setattr(DirectoryPlace, "read_entry", refuse)
    with pytest.raises(SourceError, match="cannot be used: Connection refused"):
        compare_with_cache(request_of_a_build, cache)


def test_nothing_compared_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(against_cache, "compare_with_cache", lambda *_: (0, []))
    (tmp_path / "os.yaml").write_text("name: one\nversion: 1.0.0\n")
    run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache")
    words = ("--cache", str(tmp_path / "cache"), "--cache-key", str(tmp_path / "keys/cache.pub"))
    outcome = run_command(capsys, "verify", str(tmp_path / "os.yaml"), "--against-cache", *words)
    assert outcome.status == 6
    assert "nothing was compared" in outcome.err

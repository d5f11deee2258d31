"""The commands of a shared cache: keys, sums, exit codes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from builder.sharing.places import DirectoryPlace
from builder.signatures.pem import parse_private_key
from tests.support.command import run_command
from tests.unit.sharing.conftest import Machines, refuse

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("action", [("stats",), ("pull",), ("prune", "--older-than", "1")])
def test_a_cache_that_is_gone_is_said_with_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], action: tuple[str, ...]
) -> None:
    run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache")
    monkeypatch.setattr(DirectoryPlace, "list_names", refuse)
    words = ("--cache", str(tmp_path / "c"), "--cache-sign-key", str(tmp_path / "keys/cache.key"))
    outcome = run_command(capsys, "cache", *action, *words)
    assert outcome.status == 6
    assert f"error: the cache {tmp_path}/c cannot be used: Connection refused\n" in outcome.err


def test_the_command_makes_keys_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(capsys, "key", "keys", "--for", "cache").out == "keys/cache.key\nkeys/cache.pub\n"
    assert Path("keys/cache.key").stat().st_mode & 0o777 == 0o600
    assert run_command(capsys, "cache", "stats").err.startswith("error: say which cache\n")
    assert "entries of no key are trusted" in run_command(capsys, "cache", "stats", "--cache", "c").err
    wrong = run_command(capsys, "cache", "push", "--cache", "c", "--cache-key", "keys/cache.pub")
    assert (wrong.status, wrong.err.splitlines()[0]) == (2, "error: what is put into a cache is signed")
    words = ("--cache", "c", "--cache-sign-key", "keys/cache.key")
    machine = Machines(tmp_path, DirectoryPlace(tmp_path / "c"))
    machine.key = parse_private_key(Path("keys/cache.key").read_bytes())
    machine.build(machine.add("first"), push=True)
    (row,) = json.loads(run_command(capsys, "cache", "stats", "--json", *words).out)["entries"]
    assert (row["section"], row["count"], row["trusted"]) == ("outputs", 1, True)
    assert run_command(capsys, "cache", "pull", *words).err.startswith("pull")
    assert run_command(capsys, "cache", "prune", *words).status == 2
    assert "deleted 1 entries" in run_command(capsys, "cache", "prune", "--older-than", "-1", *words).err


def test_what_was_built_is_pushed_with_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.raw").write_bytes(b"disk")
    artifact = {"path": "mine.raw", "size": 4, "sha256": hashlib.sha256(b"disk").hexdigest(), "format": "raw"}
    data = {"schema": 1, "key": "ab" * 32, "artifacts": {"raw": artifact}}
    (tmp_path / "out/build.json").write_text(json.dumps(data))
    words = ("--cache", str(tmp_path / "c"), "--cache-sign-key", str(tmp_path / "keys/cache.key"))
    outcome = run_command(capsys, "cache", "push", *words, "-o", str(tmp_path / "out"))
    assert outcome.status == 0
    assert "1 new entries" in outcome.err
    (row,) = json.loads(run_command(capsys, "cache", "stats", "--json", *words).out)["entries"]
    assert (row["section"], row["count"]) == ("images", 1)

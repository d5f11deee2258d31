"""Two machines with a store each and one cache behind both: the second makes nothing that the first has made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.core.store import Store
from builder.debian.lock import Lock
from builder.sharing.entry import peek_entry, sign_entry
from builder.signatures.pem import make_ed25519_pair, parse_private_key

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent
DEMO = REPOSITORY / "configs" / "demo.yaml"


class Shop:
    """Machines, a key, and a cache."""

    def __init__(self, directory: Path, downloads: Store) -> None:
        self.directory, self.downloads = directory, downloads
        self.cache = directory / "cache"
        private, public = make_ed25519_pair()
        (directory / "cache.key").write_bytes(private)
        (directory / "cache.pub").write_bytes(public)
        self.key = parse_private_key(private)

    def run(self, machine: str, *words: str, status: int = 0, downloads: bool = True) -> str:
        """A command on a machine, whose store has the downloads at most; returns what was said."""
        store = self.directory / machine
        if not store.exists():
            store.mkdir()
            if downloads:
                (store / "blobs").symlink_to(self.downloads.root / "blobs")
        argv = [sys.executable, "-m", "builder", *words, "--cache", str(self.cache), "--progress", "plain"]
        environment = {**os.environ, "BUILD_OS_CACHE": str(store)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done.stderr

    def build(self, machine: str, *words: str) -> tuple[dict[str, Any], str]:
        out = self.directory / f"{machine}-out"
        said = self.run(machine, "build", str(DEMO), "-o", str(out), "--offline", "--locked", *words)
        return json.loads((out / "build.json").read_text()), said


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, store: Store, demo: Path) -> Shop:
    made = Shop(tmp_path_factory.mktemp("shop"), store)
    made.build("first", "--cache-sign-key", str(made.directory / "cache.key"))
    return made


def test_the_second_machine_has_the_same_bits_without_making_them(shop: Shop) -> None:
    first = json.loads((shop.directory / "first-out/build.json").read_text())
    second, said = shop.build("second", "--cache-key", str(shop.directory / "cache.pub"))
    assert second["artifacts"] == first["artifacts"]
    assert "is as the shared cache has it" in said
    assert "packages" not in second["timings"]["stages"]
    assert Path(second["tools"]).is_relative_to(shop.directory / "second")
    for artifact in second["artifacts"].values():
        there, here = (shop.directory / f"{name}-out" / artifact["path"] for name in ("first", "second"))
        assert there.read_bytes() == here.read_bytes()
    _, said = shop.build("second", "--cache-key", str(shop.directory / "cache.pub"))
    assert "up to date" in said or "as the shared cache has it" in said


def test_what_a_changed_definition_shares_is_taken_too(shop: Shop) -> None:
    """The initrd and the tools are the same, the root is not. The machine has no debs and asks no mirror for them."""
    pushed = shop.run("first", "cache", "push", "--cache-sign-key", str(shop.directory / "cache.key"))
    assert "new entries" in pushed
    definition = DEMO.with_name("demo-of-a-test.yaml")
    out = shop.directory / "changed-out"
    try:
        definition.write_text(DEMO.read_text() + "\nsource_date_epoch: 86400\n")
        definition.with_suffix(".lock").write_bytes(DEMO.with_suffix(".lock").read_bytes())
        words = ("--offline", "--locked", "--cache-key", str(shop.directory / "cache.pub"))
        said = shop.run("third", "build", str(definition), "-o", str(out), *words, downloads=False)
    finally:
        definition.unlink()
        definition.with_suffix(".lock").unlink(missing_ok=True)
    assert "unpack packages" in said
    assert list((shop.directory / "third/tools").glob("*.seal")) != []
    lock = Lock.load(DEMO.with_suffix(".lock"))
    third = Store(shop.directory / "third")
    assert all(third.has_blob(package.sha256, package.size) for package in lock.list_all_packages())
    assert third.locate_blob(lock.packages[0].sha256).resolve().is_relative_to(shop.directory / "third")


def test_a_poisoned_entry_is_named(shop: Shop) -> None:
    """By somebody who has a key that is trusted: its signature is right, and its content is not what a build makes."""
    words = ("verify", str(DEMO), "--offline", "--against-cache", "--cache-key", str(shop.directory / "cache.pub"))
    assert "entries of the cache are what a build makes" in shop.run("fourth", *words)
    path = next((shop.cache / "entries").glob("outputs-*.json"))
    entry, _ = peek_entry(path.read_bytes())
    before = path.read_bytes()
    name = next(name for name, what in entry.files.items() if what != "/")
    from dataclasses import replace

    path.write_bytes(sign_entry(replace(entry, files={**entry.files, name: "0" * 64}), shop.key))
    try:
        said = shop.run("fourth", *words, status=7)
    finally:
        path.write_bytes(before)
    assert f"{entry.name}: {name} is {'0' * 64}" in said


def test_a_build_that_signs_or_is_released_takes_nothing(shop: Shop) -> None:
    _, said = shop.build("fifth", "--cache-key", str(shop.directory / "cache.pub"), "--no-cache")
    assert "shared cache" not in said
    assert "unpack packages" in said

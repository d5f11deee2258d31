"""The store keeps what its name promises, and gives up what has not been used for long."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import CapabilityError, SourceError
from builder.core.store import SECTIONS, HashingWriter, Store, find_default_root

pytestmark = pytest.mark.unit

DATA = b"the bytes of a package"
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def files(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if not path.is_dir())


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def test_the_store_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "chosen"))
    assert find_default_root() == tmp_path / "chosen"
    assert Store.open().root.is_dir()
    monkeypatch.delenv("BUILD_OS_CACHE")
    assert find_default_root() == tmp_path / "xdg" / "build-os"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert find_default_root() == tmp_path / ".cache" / "build-os"


def test_a_store_that_cannot_be_made_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CapabilityError, match=r"cannot use .*/file/store as the store") as caught:
        Store.open(tmp_path / "file" / "store")
    assert "BUILD_OS_CACHE" in str(caught.value)


def test_a_blob_with_the_promised_hash_is_kept(store: Store) -> None:
    with store.add_blob(HASH, "hello_1.deb") as writer:
        writer.write(DATA[:5])
        writer.write(memoryview(DATA)[5:])
        assert not store.has_blob(HASH)
    assert writer.size == len(DATA)
    assert store.has_blob(HASH, len(DATA))
    assert store.locate_blob(HASH).read_bytes() == DATA
    assert files(store) == [f"blobs/sha256/{HASH[:2]}/{HASH}"]


def test_a_blob_with_another_hash_is_not_kept(store: Store) -> None:
    with (
        pytest.raises(SourceError, match=r"hello_1\.deb is not what its index promised") as caught,
        store.add_blob(HASH, "hello_1.deb") as writer,
    ):
        writer.write(b"something else")
    assert HASH in str(caught.value)
    assert hashlib.sha256(b"something else").hexdigest() in str(caught.value)
    assert caught.value.exit_code == 6
    assert files(store) == []


def test_a_download_that_breaks_off_is_not_kept(store: Store) -> None:
    def broken(writer: HashingWriter) -> None:
        writer.write(DATA)
        raise ConnectionError

    with pytest.raises(ConnectionError), store.add_blob(HASH, "hello_1.deb") as writer:
        broken(writer)
    assert files(store) == []


def test_a_hashing_writer_hashes_what_passes(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        writer = HashingWriter(file)
        writer.write(DATA)
        assert (writer.sha256, writer.size) == (HASH, len(DATA))
    assert (tmp_path / "file").read_bytes() == DATA


def test_bytes_are_kept_under_their_hash_once(store: Store) -> None:
    assert store.add_bytes(DATA) == HASH
    first = store.locate_blob(HASH).stat().st_ino
    assert store.add_bytes(DATA) == HASH
    assert store.locate_blob(HASH).stat().st_ino == first


def test_a_blob_that_was_cut_short_is_written_again(store: Store) -> None:
    store.add_bytes(DATA)
    store.locate_blob(HASH).write_bytes(DATA[:3])
    assert not store.has_blob(HASH, len(DATA))
    store.add_bytes(DATA)
    assert store.locate_blob(HASH).read_bytes() == DATA


def test_a_link_or_directory_in_a_blobs_place_is_no_blob(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(DATA)
    store.locate_blob(HASH).parent.mkdir(parents=True)
    store.locate_blob(HASH).symlink_to(elsewhere)
    assert not store.has_blob(HASH)
    store.locate_blob(HASH).unlink()
    store.locate_blob(HASH).mkdir()
    assert not store.has_blob(HASH)


def test_usage_counts_files_and_the_room_they_take(store: Store) -> None:
    store.add_bytes(b"x" * 100_000)
    usage = store.measure_usage()
    assert usage.keys() == set(SECTIONS)
    count, size = usage["blobs"]
    assert count == 1
    assert 100_000 <= size < 200_000
    assert usage["packs"] == (0, 0)


def test_usage_counts_a_sparse_file_by_what_is_on_the_disk(store: Store) -> None:
    path = store.root / "outputs" / "disk"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert store.measure_usage()["outputs"][1] < 1 << 20


def test_clearing_takes_whole_rooms_and_no_others(store: Store) -> None:
    store.add_bytes(DATA)
    for section in ("stages", "tools"):
        (store.root / section / "key").mkdir(parents=True)
    store.clear(QuietConsole(), "stages", "outputs", "tools")
    assert {path.name for path in store.root.iterdir()} == {"blobs", "locks"}
    assert store.has_blob(HASH)


def test_a_lock_of_the_store_is_a_file_in_it(store: Store) -> None:
    with store.lock("tools-abc", QuietConsole(), "unpacking"):
        assert (store.root / "locks" / "tools-abc").read_text().split()[0] == str(os.getpid())

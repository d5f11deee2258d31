"""Files of the store as one archive: the same again on the other side, and nothing else gets in."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from builder.core.bundle import LIST, BundleError, Carried, read_bundle, write_bundle
from builder.core.console import QuietConsole
from builder.core.errors import SourceError
from builder.core.store import Store

pytestmark = pytest.mark.unit

CONTENTS = (b"one", b"", b"x" * 5000)


def carried(data: bytes) -> Carried:
    return Carried(hashlib.sha256(data).hexdigest(), len(data), f"file of {len(data)}")


@pytest.fixture
def full(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "full")
    for data in CONTENTS:
        store.add_bytes(data)
    return store


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty")


@pytest.fixture
def archive(full: Store, tmp_path: Path) -> Path:
    path = tmp_path / "debs.tar"
    assert write_bundle(map(carried, CONTENTS), full, path, QuietConsole()) == path.stat().st_size
    return path


def blobs(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store.root / "blobs").rglob("*") if path.is_file()}


def test_what_was_exported_is_imported(archive: Path, full: Store, empty: Store) -> None:
    assert {file.sha256 for file in read_bundle(archive, empty, QuietConsole())} == blobs(full).keys()
    assert blobs(empty) == blobs(full)
    read_bundle(archive, empty, QuietConsole())  # again, into a store that has all of it
    assert blobs(empty) == blobs(full)


def test_the_same_files_give_the_same_archive_that_any_tar_reads(archive: Path, full: Store, tmp_path: Path) -> None:
    other = tmp_path / "other.tar"
    write_bundle(map(carried, [*CONTENTS[::-1], CONTENTS[0]]), full, other, QuietConsole())
    assert other.read_bytes() == archive.read_bytes()
    with tarfile.open(archive) as tar:
        assert [m.name.partition("/")[0] for m in tar] == [LIST, "sha256", "sha256", "sha256"]


def test_a_damaged_file_of_the_store_is_not_exported(full: Store, tmp_path: Path) -> None:
    file = carried(CONTENTS[0])
    full.locate_blob(file.sha256).write_bytes(b"two")
    with pytest.raises(SourceError, match="file of 3 in the store is not whole"):
        write_bundle([file], full, tmp_path / "debs.tar", QuietConsole())
    assert not (tmp_path / "debs.tar").exists()
    assert not full.has_blob(file.sha256)


def test_every_flipped_or_missing_part_is_noticed(archive: Path, empty: Store, tmp_path: Path) -> None:
    data = archive.read_bytes()
    for at in range(0, len(data), 97):
        harmed = bytearray(data)
        harmed[at] ^= 0x41
        (tmp_path / "harmed").write_bytes(harmed)
        with suppress(BundleError):  # a flipped bit in a time or an owner harms nothing
            read_bundle(tmp_path / "harmed", empty, QuietConsole())
        # What got in is what its name says, whatever was harmed.
        assert all(hashlib.sha256(content).hexdigest() == name for name, content in blobs(empty).items())
    for size in range(0, len(data) - 1024, 512):
        (tmp_path / "short").write_bytes(data[:size])
        with pytest.raises(BundleError):
            read_bundle(tmp_path / "short", empty, QuietConsole())


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, data


def listing(*files: object, form: int = 1) -> tuple[tarfile.TarInfo, bytes]:
    return member(LIST, json.dumps({"format": form, "files": files}).encode())


ONE = carried(b"one")
ROW = {"sha256": ONE.sha256, "size": 3, "what": "a 1"}
NAME = f"sha256/{ONE.sha256}"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"", "no header"),
        (lambda: b"x" * 2048, "no header"),
        (lambda: tar(member("a")), "where build-os-store.json belongs is 'a'"),
        (lambda: tar(listing(form=2)), "not of format 1"),
        (lambda: tar(member(LIST, b"[" * 100_000)), "cannot be read"),
        (lambda: tar(member(LIST, b"[]")), "not of format 1"),
        (lambda: tar(listing({**ROW, "sha256": "../../etc/passwd"})), "has an entry that is none"),
        (lambda: tar(listing({**ROW, "size": -1})), "has an entry that is none"),
        (lambda: tar(listing({**ROW, "size": True})), "has an entry that is none"),
        (lambda: tar(listing({**ROW, "what": "\33[2J"})), "has an entry that is none"),
        (lambda: tar(listing({**ROW, "more": 1})), "has an entry that is none"),
        (lambda: tar(listing(ROW), member("sha256/../../x", b"one")), "where sha256/"),
        (lambda: tar(listing(ROW), member(NAME, kind=tarfile.SYMTYPE, link="/etc/passwd")), "where sha256/"),
        (lambda: tar(listing(ROW), member(NAME, kind=tarfile.LNKTYPE, link=LIST)), "where sha256/"),
        (lambda: tar(listing(ROW), member(NAME, kind=tarfile.CHRTYPE)), "where sha256/"),
        (lambda: tar(listing(ROW), member(NAME, b"three")), "has 5 bytes, its list says 3"),
        (lambda: tar(listing(ROW), member(NAME, b"two")), "is not what its index promised"),
        (lambda: tar(listing(ROW)), "no header"),
        (lambda: tar(listing(ROW), member(NAME, b"one"), member("more", b"x")), "something follows"),
    ],
)
def test_a_hostile_archive_is_refused(make: Callable[[], bytes], says: str, empty: Store, tmp_path: Path) -> None:
    path = tmp_path / "hostile.tar"
    path.write_bytes(make())
    with pytest.raises(BundleError, match=says) as caught:
        read_bundle(path, empty, QuietConsole())
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert blobs(empty).keys() <= {ONE.sha256}

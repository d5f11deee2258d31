"""What machines share: used if its maker is trusted and it is whole, made here otherwise; never waited for in vain."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from builder.core.console import PlainConsole, QuietConsole
from builder.core.errors import BuildError, InputError, SourceError
from builder.core.files import hash_file
from builder.core.kept import OUTPUTS, TOOLS, Contents, KeptEntry, derive_shared_name, keep
from builder.core.store import Store
from builder.sharing import cache as cache_module
from builder.sharing.archive import list_files, unpack_archive, write_archive
from builder.sharing.cache import SharedCache
from builder.sharing.entry import SharedEntry, sign_entry
from builder.sharing.listing import bring_missing, list_entries, prune_entries, summarize
from builder.sharing.open import open_place
from builder.sharing.places import DirectoryPlace, Place, locate_archive
from builder.sharing.registry import RegistryPlace
from builder.sharing.remote import RemotePlace
from builder.signatures.pem import SigningKey, make_ed25519_pair, parse_private_key
from tests.support.command import run_command
from tests.support.registry import ImageParts, RegistryServer, Repository
from vm.fakes.web import HttpRequest, Reply, WebServer

pytestmark = pytest.mark.unit

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


def test_what_one_machine_made_another_takes(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    second = machines.add("second")
    assert machines.build(second) == "content"
    assert machines.makes == ["first"]
    assert (cache_of(second).counts.hits, cache_of(second).counts.misses) == (1, 0)
    machines.build(second)  # it is in its own store now
    assert cache_of(second).counts.hits == 1


def test_without_a_cache_nothing_is_asked(machines: Machines, tmp_path: Path) -> None:
    machines.build(machines.add("first"), push=True)
    machines.build(Store.open(tmp_path / "alone"))
    assert machines.makes == ["first", "alone"]


def test_an_entry_of_nobody_who_is_trusted_is_made_here(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_key()
    machines.build(machines.add("stranger", key=other, trusted=other), "poison", push=True)
    careful = machines.add("careful")
    assert machines.build(careful) == "content"
    assert cache_of(careful).counts.refused == 1
    assert (
        f"is not used: it is signed by {other.public.fingerprint}, which is not trusted here" in capsys.readouterr().err
    )


def damage_archive(machines: Machines) -> None:
    (archive,) = (machines.directory / "cache/blobs").rglob("sha256/*/*")
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)


def cut_archive(machines: Machines) -> None:
    (archive,) = (machines.directory / "cache/blobs").rglob("sha256/*/*")
    archive.write_bytes(archive.read_bytes()[:-5])


def change_payload(machines: Machines) -> None:
    path = machines.directory / f"cache/entries/{machines.name}.json"
    envelope = json.loads(path.read_text())
    envelope["payload"] = sign_payload(machines, sha256="0" * 64)["payload"]
    path.write_text(json.dumps(envelope))


def sign_payload(machines: Machines, **changes: Any) -> dict[str, str]:
    entry = next(iter(list_entries(cache_of(machines.add("reader"))))).entry
    envelope: dict[str, str] = json.loads(sign_entry(replace(entry, **changes), machines.key))
    return envelope


def sign_other_name(machines: Machines) -> None:
    path = machines.directory / f"cache/entries/{machines.name}.json"
    path.write_text(json.dumps(sign_payload(machines, name=f"outputs-3-{'0' * 64}")))


def sign_other_files(machines: Machines) -> None:
    path = machines.directory / f"cache/entries/{machines.name}.json"
    path.write_text(json.dumps(sign_payload(machines, files={"deep": "/", "deep/file": "0" * 64})))


def write_nonsense(machines: Machines) -> None:
    (machines.directory / f"cache/entries/{machines.name}.json").write_text('{"payload": "e30="')


@pytest.mark.parametrize(
    "damage", [damage_archive, cut_archive, change_payload, sign_other_name, sign_other_files, write_nonsense]
)
def test_what_was_changed_since_it_was_signed_is_made_here(
    machines: Machines, damage: Callable[[Machines], None], capsys: pytest.CaptureFixture[str]
) -> None:
    machines.build(machines.add("first"), push=True)
    damage(machines)
    second = machines.add("second")
    assert machines.build(second) == "content"
    assert machines.makes == ["first", "second"]
    assert cache_of(second).counts.refused == 1
    assert "is not used: " in capsys.readouterr().err


def lose_archive(machines: Machines) -> None:
    (archive,) = (machines.directory / "cache/blobs").rglob("sha256/*/*")
    archive.unlink()


def sign_by_a_stranger(machines: Machines) -> None:
    machines.key, kept = make_key(), machines.key
    path = machines.directory / f"cache/entries/{machines.name}.json"
    path.write_text(json.dumps(sign_payload(machines)))
    machines.key = kept


@pytest.mark.parametrize(
    "damage",
    [
        damage_archive,
        cut_archive,
        lose_archive,
        change_payload,
        sign_other_name,
        sign_other_files,
        sign_by_a_stranger,
        write_nonsense,
    ],
)
def test_what_nobody_can_use_is_replaced_by_who_had_to_make_it(
    machines: Machines, damage: Callable[[Machines], None]
) -> None:
    machines.build(machines.add("first"), push=True)
    damage(machines)
    machines.build(machines.add("second"), push=True)
    assert machines.build(machines.add("third")) == "content"
    assert machines.makes == ["first", "second"]


def test_an_archive_of_the_right_size_and_another_content_is_written_again(tmp_path: Path) -> None:
    place, archive = DirectoryPlace(tmp_path / "cache"), tmp_path / "archive"
    archive.write_bytes(b"content")
    entry = SharedEntry(f"outputs-3-{'0' * 64}", hash_file(archive), 7, {})
    place.put(entry, b"{}", archive)
    (there,) = (tmp_path / "cache/blobs").rglob("sha256/*/*")
    there.write_bytes(b"CONTENT")
    place.put(entry, b"{}", archive)
    assert there.read_bytes() == b"content"


def test_links_modes_and_second_names_arrive_as_they_were(machines: Machines) -> None:
    def make(fresh: Path) -> None:
        (fresh / "bin").mkdir()
        (fresh / "bin/tool").write_text("#!")
        (fresh / "bin/tool").chmod(0o755)
        os.link(fresh / "bin/tool", fresh / "bin/same")
        (fresh / "sbin").symlink_to("/usr/bin")

    def fail(_: Path) -> None:
        raise AssertionError("made again")

    first, second = machines.add("first"), machines.add("second")
    entry = keep(first, TOOLS, INPUTS, make, QuietConsole())
    cache_of(first).push(derive_shared_name(TOOLS, entry.key), list_files(entry.path), first.root, seconds=1.0)
    brought = keep(second, TOOLS, INPUTS, fail, QuietConsole())
    assert (brought.path / "sbin").readlink() == Path("/usr/bin")
    assert os.access(brought.path / "bin/same", os.X_OK)
    assert (brought.path / "bin/same").read_text() == "#!"


def test_a_disk_keeps_its_holes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(1 << 30)
        for offset in (0, 300 << 20, (1 << 30) - 10):
            file.seek(offset)
            file.write(b"data" + bytes(2))
    packed = io.BytesIO()
    write_archive({"disk": disk}, packed)
    assert len(packed.getvalue()) < 1 << 20
    packed.seek(0)
    (tmp_path / "there").mkdir()
    unpack_archive(packed, tmp_path / "there")
    assert (tmp_path / "there/disk").stat().st_blocks * 512 < 10 << 20
    assert hash_file(tmp_path / "there/disk") == hash_file(disk)


def test_an_archive_cannot_write_outside(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        inside = tarfile.TarInfo("out/written")
        tar.addfile(inside, io.BytesIO())
    data.seek(0)
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack_archive(data, tmp_path / "there")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_an_archive_has_files_directories_and_symbolic_links_alone(tmp_path: Path, kind: bytes) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tar.addfile(link)
        other = tarfile.TarInfo("other")
        other.type, other.linkname = kind, "link"
        tar.addfile(other)
        written = tarfile.TarInfo("other")
        written.size = 6
        tar.addfile(written, io.BytesIO(b"theirs"))
    data.seek(0)
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="other in the archive is no file, directory or symbolic link"):
        unpack_archive(data, tmp_path / "there")
    assert outside.read_text() == "mine"
    assert (tmp_path / "there/link").readlink() == outside


def test_a_name_cannot_lead_out_of_the_cache(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no entry of a cache"):
        DirectoryPlace(tmp_path).read_entry("../../etc/passwd")


# --- races and bad days ----------------------------------------------------------------------------


class Hindered:
    """A place of which something is otherwise."""

    def __init__(self, place: Place, **changed: Callable[..., Any]) -> None:
        self._place, self._changed = place, changed

    def __getattr__(self, name: str) -> Any:
        return self._changed.get(name) or getattr(self._place, name)


def refuse(*_: object) -> None:
    raise OSError("Connection refused")


def test_an_entry_that_is_pruned_while_it_is_fetched_is_made_here(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    (archive,) = (machines.directory / "cache/blobs").rglob("sha256/*/*")
    archive.unlink()
    assert machines.build(machines.add("second")) == "content"
    assert machines.makes == ["first", "second"]


def test_a_cache_that_hangs_is_given_up_and_asked_no_more(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache_module, "LEAST", 0.05)
    monkeypatch.setattr(cache_module, "LOSS", 0.01)
    ended, asked = threading.Event(), []

    def hang(name: str) -> None:
        asked.append(name)
        ended.wait(60)

    slow = machines.add("slow")
    cache_of(slow).place = Hindered(machines.place, read_entry=hang)  # type: ignore[assignment]
    assert machines.build(slow) == "content"
    assert cache_of(slow).is_given_up
    assert "building without it" in capsys.readouterr().err
    assert cache_of(slow).bring(asked[0], slow.root) is None
    assert len(asked) == 1
    ended.set()


def test_an_archive_that_comes_slower_than_it_is_made_is_left(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.build(machines.add("first"), push=True)
    monkeypatch.setattr(cache_module, "LEAST", 0.05)
    entry = sign_payload(machines, seconds=0.01)
    (machines.directory / f"cache/entries/{machines.name}.json").write_text(json.dumps(entry))
    ended = threading.Event()

    def drip(_: SharedEntry, file: BinaryIO) -> None:
        file.write(b"x")
        ended.wait(60)

    second = machines.add("second")
    cache_of(second).place = Hindered(machines.place, fetch=drip)  # type: ignore[assignment]
    assert machines.build(second) == "content"
    assert machines.makes == ["first", "second"]
    ended.set()


def test_no_more_is_written_than_was_signed(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    size, written = next(iter(list_entries(cache_of(machines.add("reader"))))).entry.size, []

    def pour(_: SharedEntry, file: BinaryIO) -> None:
        for _number in range(100):
            written.append(file.write(bytes(1 + size // 3)))

    second = machines.add("second")
    cache_of(second).place = Hindered(machines.place, fetch=pour)  # type: ignore[assignment]
    assert machines.build(second) == "content"
    assert cache_of(second).counts.refused == 1
    assert 0 < sum(written) <= size


def test_nothing_more_is_written_of_what_was_given_up(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    machines.build(machines.add("first"), push=True)
    monkeypatch.setattr(cache_module, "LEAST", 0.05)
    entry = sign_payload(machines, seconds=0.01)
    (machines.directory / f"cache/entries/{machines.name}.json").write_text(json.dumps(entry))
    given_up, ended, errors = threading.Event(), threading.Event(), []

    def drip(_: SharedEntry, file: BinaryIO) -> None:
        given_up.wait(60)
        try:
            file.write(b"x")
        except OSError as error:
            errors.append(error)
        ended.set()

    second = machines.add("second")
    cache_of(second).place = Hindered(machines.place, fetch=drip)  # type: ignore[assignment]
    assert machines.build(second) == "content"
    given_up.set()
    assert ended.wait(60)
    assert len(errors) == 1


def test_a_worker_that_dies_while_it_uploads_leaves_nothing_that_is_used(machines: Machines) -> None:
    first = machines.add("first")
    place = machines.place
    assert isinstance(place, DirectoryPlace)

    def put(entry: SharedEntry, envelope: bytes, archive: Path) -> None:
        place.put(entry, envelope, archive)
        place.delete(entry.name)  # as if it had died before the last step
        raise OSError("killed")

    cache_of(first).place = Hindered(place, put=put)  # type: ignore[assignment]
    with pytest.raises(OSError, match="killed"):
        machines.build(first, push=True)
    assert machines.build(machines.add("second")) == "content"
    assert machines.makes == ["first", "second"]
    # What was left goes once it is old enough that nobody is at it.
    (archive,) = (place.root / "blobs").rglob("sha256/*/*")
    assert place.sweep(set()) == 0
    os.utime(archive, (0, 0))
    assert place.sweep(set()) == 1


def test_two_machines_that_put_the_same_key_at_once_leave_a_whole_entry(machines: Machines) -> None:
    stores = [machines.add(f"m{number}") for number in range(4)]
    for number, store in enumerate(stores):
        machines.build(store, data=f"content {number}")
    start = threading.Barrier(len(stores))

    def push(store: Store) -> None:
        (seal,) = (store.root / OUTPUTS.name).glob("*.seal")
        entry = KeptEntry(store, OUTPUTS, seal.stem)
        start.wait(60)
        name = derive_shared_name(OUTPUTS, entry.key)
        cache_of(store).push(name, list_files(entry.path), store.root, value={"of": "initrd"}, seconds=1.0)

    threads = [threading.Thread(target=push, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert machines.build(machines.add("reader")) in {f"content {number}" for number in range(4)}
    assert "reader" not in machines.makes


def test_old_entries_and_those_over_the_size_go(machines: Machines) -> None:
    cache = cache_of(machines.add("first"))
    now = int(time.time())
    for number, age in enumerate((40, 3, 2, 1)):
        path = machines.directory / f"f{number}"
        path.write_bytes(os.urandom(1000))
        name = f"outputs-3-{number:064x}"
        cache.push(name, {"f": path}, machines.directory, seconds=1.0)
        where = machines.directory / f"cache/entries/{name}.json"
        entry = next(row.entry for row in list_entries(cache) if row.entry.name == name)
        where.write_bytes(sign_entry(replace(entry, made=now - age * 86400), machines.key))
    assert [row["count"] for row in summarize(list_entries(cache))] == [4]
    assert prune_entries(cache, older_than=30, largest=None)[0] == 1
    assert prune_entries(cache, older_than=None, largest=3000)[0] == 1
    assert [name[-1] for name in machines.place.list_names()] == ["2", "3"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("made", "now"),
        ("made", None),
        pytest.param("made", 10**400, id="made-later-than-all-clocks"),
        ("seconds", "a day"),
        ("seconds", float("nan")),
        ("size", -1),
    ],
)
def test_a_document_without_sense_hinders_no_pruning(
    machines: Machines, name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.build(machines.add("first"), push=True)
    kept, other = machines.name, f"outputs-3-{'0' * 64}"
    cache = cache_of(machines.add("reader"))
    nonsense = json.dumps(sign_payload(machines, name=other, **{name: value}))
    (machines.directory / f"cache/entries/{other}.json").write_text(nonsense)
    assert [row.entry.name for row in list_entries(cache)] == [kept]
    assert f"{other} in {machines.place.url}: " in capsys.readouterr().err
    assert prune_entries(cache, older_than=None, largest=0)[0] == 1
    (machines.directory / "empty").mkdir()
    assert cache.bring(other, machines.directory / "empty") is None


def test_a_document_in_another_one_s_name_has_nothing_pruned(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    kept = machines.name
    machines.key = make_key()
    old = json.dumps(sign_payload(machines, made=1))
    (machines.directory / f"cache/entries/outputs-3-{'0' * 64}.json").write_text(old)
    assert prune_entries(cache_of(machines.add("reader")), older_than=30, largest=None)[0] == 0
    assert kept in machines.place.list_names()


def test_everything_can_be_brought_at_once(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    second = machines.add("second")
    assert bring_missing(cache_of(second), second) == (1, [])
    assert bring_missing(cache_of(second), second) == (0, [])
    machines.build(second)
    assert machines.makes == ["first"]


def push_many(machines: Machines, store: Store, count: int) -> list[str]:
    """Entries that only differ by name."""
    names = [f"outputs-3-{number:064x}" for number in range(count)]
    path = machines.directory / "f"
    path.write_text("content")
    for name in names:
        cache_of(store).push(name, {"f": path}, machines.directory, seconds=0.0)
    return names


def test_a_pull_goes_on_with_a_cache_that_a_build_would_give_up(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache")
    machines.key = parse_private_key((tmp_path / "keys/cache.key").read_bytes())
    names = push_many(machines, machines.add("first"), 4)
    stranger = make_key()
    push_many(machines, machines.add("stranger", key=stranger, trusted=stranger), 1)  # replaces the first
    fetch = DirectoryPlace.fetch

    def limp(place: DirectoryPlace, entry: SharedEntry, file: BinaryIO) -> None:
        time.sleep(0.05)
        if entry.name == names[1]:
            raise OSError("Connection reset by peer")
        fetch(place, entry, file)

    monkeypatch.setattr(DirectoryPlace, "fetch", limp)
    monkeypatch.setattr(cache_module, "LEAST", 0.02)
    monkeypatch.setattr(cache_module, "LOSS", 0.0)
    outcome = run_command(
        capsys, "cache", "pull", "--cache", str(tmp_path / "cache"), "--cache-key", str(tmp_path / "keys/cache.pub")
    )
    assert outcome.status == 6
    assert "2 entries, " in outcome.err
    assert "1 refused" in outcome.err
    assert f"{names[1]} in {tmp_path}/cache cannot be brought: Connection reset by peer" in outcome.err
    assert f"1 entries of the cache {tmp_path}/cache could not be brought\n  {names[1]}\n" in outcome.err


def test_a_pull_names_what_is_damaged(machines: Machines) -> None:
    push_many(machines, machines.add("first"), 1)
    damage_archive(machines)
    second = machines.add("second")
    assert bring_missing(cache_of(second), second) == (0, [machines.name])


# --- other places ----------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with WebServer() as web:
        yield RegistryServer(web)


@pytest.fixture
def in_registry(tmp_path: Path, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> Machines:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Machines(tmp_path, RegistryPlace(f"oci://{registry.host}/team/cache"))


def test_a_registry_has_an_entry_as_an_artifact(in_registry: Machines, registry: RegistryServer) -> None:
    assert list(in_registry.place.list_names()) == []
    in_registry.build(in_registry.add("first"), push=True)
    second = in_registry.add("second")
    assert in_registry.build(second) == "content"
    assert in_registry.makes == ["first"]
    assert list(registry.repository("team/cache").tags) == [in_registry.name]
    prune_entries(cache_of(second), older_than=None, largest=0)
    assert list(in_registry.place.list_names()) == []


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_a_registry_that_fails_costs_no_build(in_registry: Machines, registry: RegistryServer, status: int) -> None:
    in_registry.build(in_registry.add("first"), push=True)

    def answer(request: HttpRequest) -> Reply | None:
        return Reply(b"{}", status) if "/manifests/" in request.path else None

    registry.before = answer
    assert in_registry.build(in_registry.add("second")) == "content"
    assert in_registry.makes == ["first", "second"]


def lose_blob(repository: Repository) -> None:
    del repository.blobs[max(repository.blobs, key=lambda digest: repository.blobs[digest][:2] == b"\x1f\x8b")]


def tag_an_image(repository: Repository) -> None:
    image = ImageParts.make(b"layer", b"another")
    repository.manifests[image.digest] = (image.manifest, image.media_type)
    repository.tags = dict.fromkeys(repository.tags, image.digest)


@pytest.mark.parametrize("damage", [lose_blob, tag_an_image])
def test_what_a_registry_has_lost_is_put_there_again(
    in_registry: Machines, registry: RegistryServer, damage: Callable[[Repository], None]
) -> None:
    in_registry.build(in_registry.add("first"), push=True)
    damage(registry.repository("team/cache"))
    in_registry.build(in_registry.add("second"), push=True)
    assert in_registry.build(in_registry.add("third")) == "content"
    assert in_registry.makes == ["first", "second"]


def test_an_image_in_the_repository_of_a_cache_hinders_no_pruning(
    in_registry: Machines, registry: RegistryServer
) -> None:
    in_registry.build(in_registry.add("first"), push=True)
    repository = registry.repository("team/cache")
    entry = dict(repository.tags)
    repository.tags = {f"outputs-3-{'0' * 64}": ""}
    tag_an_image(repository)
    repository.tags |= entry
    assert prune_entries(cache_of(in_registry.add("second")), older_than=None, largest=0)[0] == 1


def test_a_full_registry_is_an_error_of_who_pushes(in_registry: Machines, registry: RegistryServer) -> None:
    registry.before = lambda request: Reply(b"{}", 507) if request.method in ("POST", "PUT", "PATCH") else None
    with pytest.raises(BuildError):
        in_registry.build(in_registry.add("first"), push=True)


def test_what_fsspec_knows_is_a_place(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="the extra 'scale' is not installed")
    machines = Machines(tmp_path, open_place("memory://cache"))
    machines.build(machines.add("first"), push=True)
    assert machines.build(machines.add("second")) == "content"
    assert machines.makes == ["first"]
    prune_entries(cache_of(machines.add("third")), older_than=None, largest=0)
    assert list(machines.place.list_names()) == []


class LibraryError(Exception):
    """As aiohttp and botocore have them: of no class that we know."""


def raise_library_error(*_: object, **_named: object) -> None:
    raise LibraryError("403, url='https://me:secret@store.example/cache/entries'")


def test_errors_of_what_fsspec_uses_are_the_cache_s(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="the extra 'scale' is not installed")
    place = open_place("memory://refusing")
    assert isinstance(place, RemotePlace)
    for name in ("cat_file", "open", "ls", "exists", "rm_file", "find"):
        monkeypatch.setattr(place._files, name, raise_library_error)
    archive, name = machines.directory / "archive", f"outputs-3-{'0' * 64}"
    archive.write_bytes(b"content")
    entry = SharedEntry(name, hash_file(archive), 7, {})
    calls: list[Callable[[], object]] = [
        lambda: place.read_entry(name),
        lambda: place.fetch(entry, io.BytesIO()),
        lambda: place.put(entry, b"{}", archive),
        lambda: list(place.list_names()),
        lambda: place.delete(name),
        lambda: place.sweep(set()),
    ]
    for call in calls:
        with pytest.raises(SourceError) as caught:
            call()
        assert str(caught.value) == (
            "memory://refusing cannot be used: LibraryError: 403, url='https://***@store.example/cache/entries'"
        )
    machines.place = place
    assert machines.build(machines.add("first")) == "content"


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


def test_half_an_object_at_a_url_is_written_again(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra 'scale' is not installed")
    place, archive = open_place("memory://half"), tmp_path / "archive"
    archive.write_bytes(b"content")
    entry = SharedEntry(f"outputs-3-{'0' * 64}", hash_file(archive), 7, {})
    place.put(entry, b"{}", archive)
    where = f"/half/{locate_archive(entry.sha256)}"
    fsspec.filesystem("memory").pipe_file(where, b"con")
    place.put(entry, b"{}", archive)
    assert fsspec.filesystem("memory").cat_file(where) == b"content"


def test_a_path_and_a_file_url_are_directories(tmp_path: Path) -> None:
    assert open_place(str(tmp_path)) == open_place(f"file://{tmp_path}") == DirectoryPlace(tmp_path)


# --- the command -----------------------------------------------------------------------------------


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

"""A registry, what fsspec knows, and a directory are places for a cache."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import BuildError, SourceError
from builder.core.files import hash_file
from builder.sharing.entry import MAX_ENVELOPE, SharedEntry
from builder.sharing.listing import prune_entries
from builder.sharing.open import open_place
from builder.sharing.places import DirectoryPlace, locate_archive
from builder.sharing.registry import RegistryPlace
from builder.sharing.remote import RemotePlace
from tests.support.registry import ImageParts, RegistryServer, Repository
from tests.unit.sharing.conftest import Machines, cache_of
from vm.fakes.web import HttpRequest, Reply, WebServer

pytestmark = pytest.mark.unit


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


def test_a_document_at_a_url_that_is_too_large_is_not_read(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="the extra 'scale' is not installed")
    machines.place = place = open_place("memory://large")
    assert isinstance(place, RemotePlace)
    machines.build(machines.add("first"), push=True)
    size = MAX_ENVELOPE + (1 << 20)
    place._files.pipe_file(place._locate(machines.name), bytes(size))
    read, lengths = place._files.cat_file, list[int]()

    def cat_file(*arguments: Any, **named: Any) -> bytes:
        data: bytes = read(*arguments, **named)
        lengths.append(len(data))
        return data

    monkeypatch.setattr(place._files, "cat_file", cat_file)
    second = machines.add("second")
    assert machines.build(second, push=True) == "content"
    assert cache_of(second).counts.refused == 1
    assert 0 < max(lengths) < size
    assert machines.build(machines.add("third")) == "content"  # it was replaced
    assert machines.makes == ["first", "second"]


def test_a_document_in_a_registry_that_is_too_large_is_not_read(
    in_registry: Machines, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_registry.build(in_registry.add("first"), push=True)
    monkeypatch.setattr("builder.sharing.registry.MAX_ENVELOPE", 10)
    second = in_registry.add("second")
    assert in_registry.build(second) == "content"
    assert cache_of(second).counts.refused == 1


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

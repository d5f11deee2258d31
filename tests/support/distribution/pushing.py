"""Checks of pushing."""

from __future__ import annotations

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import SourceError
from builder.oci.image import write_archive
from builder.oci.registry.copy import copy_image
from builder.oci.registry.destinations import LayoutDestination
from builder.oci.registry.ends import RegistryDestination, RegistryOrigin
from builder.oci.registry.listing import list_tags
from builder.oci.registry.manifest import make_manifest
from builder.oci.registry.origins import FileOrigin
from builder.oci.registry.push import Publisher
from firstboot.config.oci.manifests import (
    Platform,
)
from tests.support.distribution.ground import (
    BIG,
    Ground,
    blob_of,
    docker_image,
    image_of,
    push,
    referring,
    replace_size,
)
from tests.support.registry import make_index


@push
def small_blob_at_once(ground: Ground) -> None:
    assert ground.upload(b"small") is False
    with ground.publish() as publisher:
        assert publisher.has_blob(blob_of(b"small"))
        assert not publisher.has_blob(blob_of(b"other"))


@push
def large_blob_in_a_stream(ground: Ground) -> None:
    ground.upload(BIG)
    with ground.open() as client:
        assert b"".join(client.stream_blob(blob_of(BIG))) == BIG


@push
def blob_in_chunks(ground: Ground) -> None:
    ground.upload(BIG, chunk=3_000_000)
    with ground.open() as client:
        assert b"".join(client.stream_blob(blob_of(BIG))) == BIG


@push
def blob_in_chunks_of_its_size(ground: Ground) -> None:
    ground.upload(BIG, chunk=len(BIG) // 2)
    with ground.publish() as publisher:
        assert publisher.has_blob(blob_of(BIG))


@push
def blob_twice(ground: Ground) -> None:
    ground.upload(b"again")
    ground.upload(b"again")


@push
def blob_mounted_from_another_repository(ground: Ground) -> None:
    ground.push(image_of(BIG), repository=f"{ground.repository}/base")
    assert ground.upload(BIG, mount=(f"{ground.repository}/base",)) is True
    with ground.publish() as publisher:
        assert publisher.has_blob(blob_of(BIG))


@push
def blob_that_cannot_be_mounted_is_sent(ground: Ground) -> None:
    assert ground.upload(b"alone", mount=(f"{ground.repository}/nothing",)) is False
    with ground.publish() as publisher:
        assert publisher.has_blob(blob_of(b"alone"))


@push
def blob_with_a_wrong_digest(ground: Ground) -> None:
    with ground.publish() as publisher:
        blob = replace_size(blob_of(b"what it should be"), 5)
        with pytest.raises(SourceError, match=r"DIGEST_INVALID"):
            publisher.upload_blob(blob, lambda start: iter([b"wrong"[start:]]))
        assert not publisher.has_blob(blob)


@push
def blob_that_ends_early(ground: Ground) -> None:
    with ground.publish() as publisher:
        blob = blob_of(BIG)
        with pytest.raises(SourceError, match="cannot push"):
            publisher.upload_blob(blob, lambda start: iter([BIG[start : len(BIG) - 1]]))
        assert not publisher.has_blob(blob)


@push
def manifest_under_a_tag(ground: Ground) -> None:
    made = ground.push(image_of(), "v1")
    with ground.open() as client:
        assert list_tags(client) == ["v1"]
        assert client.find_descriptor(made.digest) is not None


@push
def manifest_by_its_digest_alone(ground: Ground) -> None:
    made = ground.push(image_of())
    with ground.open() as client:
        assert client.read_manifest(made.digest) == made


@push
def several_tags(ground: Ground) -> None:
    made = ground.push(image_of(), "a", "b", "c")
    with ground.open() as client:
        assert {client.read_manifest(tag).digest for tag in list_tags(client)} == {made.digest}
        assert list_tags(client) == ["a", "b", "c"]


@push
def tag_that_moves(ground: Ground) -> None:
    old = ground.push(image_of(b"old"), "latest")
    new = ground.push(image_of(b"new"), "latest")
    with ground.open() as client:
        assert client.read_manifest("latest") == new
        assert client.read_manifest(old.digest) == old


@push
def index_of_two_platforms(ground: Ground) -> None:
    made = ground.push_index((image_of(), "linux/amd64"), (image_of(b"arm"), "linux/arm64"))
    with ground.open(":index") as client:
        assert client.read_manifest() == made


@push
def index_without_its_manifests(ground: Ground) -> None:
    index = make_manifest(make_index((image_of(b"never pushed"), "linux/amd64")))
    with ground.publish() as publisher, pytest.raises(SourceError, match="MANIFEST_BLOB_UNKNOWN"):
        publisher.put_manifest(index, "index")


@push
def manifest_without_its_blobs(ground: Ground) -> None:
    ground.upload(b"something else")
    with ground.publish() as publisher, pytest.raises(SourceError, match="MANIFEST_BLOB_UNKNOWN"):
        publisher.put_manifest(make_manifest(image_of(b"never pushed").manifest), "v1")


@push
def docker_manifest_as_it_is(ground: Ground) -> None:
    made = ground.push(docker_image(), "docker")
    with ground.open(":docker") as client:
        assert client.read_manifest() == made


@push
def manifest_with_a_subject(ground: Ground) -> None:
    image = image_of()
    ground.push(image, "v1")
    made = ground.push(referring(image, b"notes"))
    with ground.open() as client:
        assert client.read_manifest(made.digest) == made


@push
def image_of_forty_layers(ground: Ground) -> None:
    made = ground.push(image_of(*(b"%d" % number for number in range(40))), "many")
    assert len(ground.pull(":many").blobs) == 42
    assert made.digest == ground.pull(":many").manifest.digest


@push
def tag_of_128_characters(ground: Ground) -> None:
    ground.push(image_of(), "T" * 128)
    with ground.open() as client:
        assert list_tags(client) == ["T" * 128]


@push
def repository_with_many_parts(ground: Ground) -> None:
    repository = f"{ground.repository}/a/b-c/d.e/f__g/h--i"
    made = ground.push(image_of(), "v1", repository=repository)
    with ground.open(":v1", repository) as client:
        assert client.read_manifest() == made


@push
def annotations_in_any_script(ground: Ground) -> None:
    made = ground.push(image_of(annotations={"title": "Größe 寸法 🙂"}), "v1")
    with ground.open(":v1") as client:
        assert client.read_manifest() == made


@push
def copy_between_repositories(ground: Ground) -> None:
    made = ground.push(image_of(BIG), "v1")
    copied = ground.copy(f"{ground.repository}:v1", f"{ground.repository}/copy", "v1", "latest")
    assert (copied.digest, copied.copied, copied.mounted) == (made.digest, 0, 2)
    again = ground.copy(f"{ground.repository}:v1", f"{ground.repository}/copy", "v1")
    assert (again.there, again.mounted) == (2, 0)


@push
def copy_of_an_index(ground: Ground) -> None:
    made = ground.push_index((image_of(), "linux/amd64"), (image_of(b"arm"), "linux/arm64"))
    assert ground.copy(f"{ground.repository}:index", f"{ground.repository}/all", "v1").digest == made.digest
    one = ground.copy(
        f"{ground.repository}:index", f"{ground.repository}/one", "v1", platform=Platform("linux", "arm64")
    )
    assert one.digest == image_of(b"arm").digest


@push
def layout_and_archive(ground: Ground) -> None:
    made = ground.push(image_of(BIG), "v1")
    layout = ground.directory / "layout"
    with ground.open(":v1") as client:
        copy_image(RegistryOrigin(client), LayoutDestination(layout, "v1"), QuietConsole())
    archive = ground.directory / "archive.tar"
    with archive.open("wb") as file:
        write_archive(layout, file)
    for number, path in enumerate((layout, archive)):
        with ground.open(repository=f"{ground.repository}/back{number}") as client:
            copied = copy_image(FileOrigin.open(path), RegistryDestination(Publisher(client), ("v1",)), QuietConsole())
            assert copied.digest == made.digest

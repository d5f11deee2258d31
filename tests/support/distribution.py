"""Checks of our client against any registry, by the four categories of the distribution-spec's conformance tests.

Each check is a function of a :class:`Ground` and has a repository of its own. What a registry need not be able to do,
``Ground`` says of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError, SourceError
from builder.core.store import Store
from builder.oci.check import validate_layout
from builder.oci.image import write_archive
from builder.oci.registry.client import Client, MissingImageError
from builder.oci.registry.copy import Copied, copy_image
from builder.oci.registry.destinations import LayoutDestination
from builder.oci.registry.ends import RegistryDestination, RegistryOrigin
from builder.oci.registry.listing import list_referrers, list_tags
from builder.oci.registry.manifest import Manifest, make_manifest
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.origins import FileOrigin
from builder.oci.registry.pull import pull_image
from builder.oci.registry.push import DeletionRefusedError, Publisher
from firstboot.config.oci.manifests import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    Descriptor,
    Platform,
)
from tests.support.registry import ImageParts, describe, digest, make_index

Check = Callable[["Ground"], None]
CHECKS: dict[str, list[Check]] = {"pull": [], "push": [], "discovery": [], "management": []}
BINARY = "application/octet-stream"
BIG = bytes(range(251)) * 40_000  # 10 MB, more than is sent with one request


@dataclass(frozen=True)
class Ground:
    """A registry and a repository in it.

    Attributes:
        deletes_tags: whether a tag can be deleted without what it names.
    """

    host: str
    repository: str
    options: RegistryOptions
    directory: Path
    deletes_tags: bool = True

    def open(self, target: str = "", repository: str | None = None) -> Client:
        return open_client(f"{self.host}/{repository or self.repository}{target}", self.options, mirrors=False)

    def publish(self, repository: str | None = None, chunk: int = 0) -> AbstractContextManager[Publisher]:
        return _Opened(self.open(repository=repository), chunk)

    def upload(self, data: bytes, *, chunk: int = 0, mount: tuple[str, ...] = ()) -> bool:
        with self.publish(chunk=chunk) as publisher:
            return publisher.upload_blob(blob_of(data), lambda start: iter([data[start:]]), mount=mount)

    def push(self, image: ImageParts, *tags: str, repository: str | None = None) -> Manifest:
        manifest = make_manifest(image.manifest, image.media_type)
        with self.publish(repository) as publisher:
            for data in image.blobs:
                publisher.upload_blob(blob_of(data), lambda start, data=data: iter([data[start:]]))  # type: ignore[misc]
            for tag in tags or (None,):
                publisher.put_manifest(manifest, tag)
        return manifest

    def push_index(self, *images: tuple[ImageParts, str], tag: str = "index", media_type: str = INDEX) -> Manifest:
        for image, _ in images:
            self.push(image)
        manifest = make_manifest(make_index(*images, mediaType=media_type), media_type)
        with self.publish() as publisher:
            publisher.put_manifest(manifest, tag)
        return manifest

    def pull(self, target: str, architecture: str = "amd64") -> Any:
        store = Store.open(self.directory / "store")
        with self.open(target) as client:
            return pull_image(client, store, QuietConsole(), architecture=architecture)

    def copy(self, source: str, target: str, *tags: str, platform: Platform | None = None) -> Copied:
        with (
            open_client(f"{self.host}/{source}", self.options) as client,
            open_client(f"{self.host}/{target}", self.options, mirrors=False) as out,
        ):
            destination = RegistryDestination(Publisher(out), tags)
            return copy_image(RegistryOrigin(client), destination, QuietConsole(), platform=platform)


class _Opened:
    def __init__(self, client: Client, chunk: int) -> None:
        self._client, self._chunk = client, chunk

    def __enter__(self) -> Publisher:
        return Publisher(self._client.__enter__(), chunk=self._chunk)

    def __exit__(self, *how: Any) -> None:
        self._client.__exit__(*how)


def blob_of(data: bytes) -> Descriptor:
    return Descriptor(BINARY, digest(data), len(data))


def image_of(*layers: bytes, **more: Any) -> ImageParts:
    return ImageParts.make(*(layers or (b"a layer", b"another layer")), **more)


def referring(image: ImageParts, text: bytes, kind: str = "application/x-notes") -> ImageParts:
    return image_of(text, subject=describe(image.manifest, image.media_type), artifactType=kind)


def check(category: str) -> Callable[[Check], Check]:
    def keep(function: Check) -> Check:
        CHECKS[category].append(function)
        return function

    return keep


pull, push, discovery, management = (check(category) for category in CHECKS)

# Pull


@pull
def manifest_by_tag(ground: Ground) -> None:
    made = ground.push(image_of(), "v1")
    with ground.open(":v1") as client:
        assert client.read_manifest() == made


@pull
def manifest_by_digest(ground: Ground) -> None:
    made = ground.push(image_of())
    with ground.open(f"@{made.digest}") as client:
        assert client.read_manifest() == made


@pull
def head_of_a_tag(ground: Ground) -> None:
    made = ground.push(image_of(), "v1")
    with ground.open(":v1") as client:
        assert client.find_descriptor() == made.descriptor


@pull
def head_of_a_digest(ground: Ground) -> None:
    made = ground.push(image_of())
    with ground.open() as client:
        assert client.find_descriptor(made.digest) == made.descriptor


@pull
def head_of_a_tag_that_is_not_there(ground: Ground) -> None:
    ground.push(image_of(), "v1")
    with ground.open() as client:
        assert client.find_descriptor("v2") is None


@pull
def head_of_a_digest_that_is_not_there(ground: Ground) -> None:
    ground.push(image_of(), "v1")
    with ground.open() as client:
        assert client.find_descriptor(digest(b"nothing")) is None


@pull
def tag_that_is_not_there(ground: Ground) -> None:
    ground.push(image_of(), "v1")
    with ground.open(":v2") as client, pytest.raises(MissingImageError, match="there is no image"):
        client.read_manifest()


@pull
def digest_that_is_not_there(ground: Ground) -> None:
    ground.push(image_of(), "v1")
    with ground.open(f"@{digest(b'nothing')}") as client, pytest.raises(SourceError, match="cannot fetch"):
        client.read_manifest()


@pull
def repository_that_is_not_there(ground: Ground) -> None:
    with ground.open(":v1") as client, pytest.raises(MissingImageError):
        client.read_manifest()


@pull
def blob_whole(ground: Ground) -> None:
    ground.upload(BIG)
    with ground.open() as client:
        assert client.read_blob(blob_of(BIG), len(BIG)) == BIG


@pull
def blob_from_a_byte_on(ground: Ground) -> None:
    ground.upload(BIG)
    with ground.open() as client:
        assert b"".join(client.stream_blob(blob_of(BIG), 9_999_999)) == BIG[9_999_999:]


@pull
def blob_that_goes_on_in_a_file(ground: Ground) -> None:
    ground.upload(BIG)
    path = ground.directory / "partial"
    path.write_bytes(BIG[:123_456])
    with ground.open() as client, path.open("r+b") as file:
        assert client.download_blob(blob_of(BIG), file, lambda _: None) == len(BIG) - 123_456
    assert path.read_bytes() == BIG


@pull
def blob_that_is_not_there(ground: Ground) -> None:
    ground.upload(b"something")
    with ground.open() as client, pytest.raises(SourceError, match="404"):
        client.read_blob(blob_of(b"nothing"))


@pull
def blob_without_bytes(ground: Ground) -> None:
    ground.upload(b"")
    with ground.open() as client:
        assert client.read_blob(blob_of(b"")) == b""


@pull
def blob_of_another_size_than_was_said(ground: Ground) -> None:
    ground.upload(b"something")
    for size in (3, 30):
        with ground.open() as client, pytest.raises(SourceError):
            client.read_blob(replace_size(blob_of(b"something"), size))


def replace_size(blob: Descriptor, size: int) -> Descriptor:
    return blob._replace(size=size)


@pull
def image_of_an_index(ground: Ground) -> None:
    other = image_of(b"arm", architecture="arm64")
    ground.push_index((image_of(), "linux/amd64"), (other, "linux/arm64/v8"))
    with ground.open(":index") as client:
        index, manifest = client.read_image_manifest("linux/arm64")
        assert index is not None
        assert manifest.digest == other.digest
        with pytest.raises(InputError, match="has no image for linux/s390x"):
            client.read_image_manifest("linux/s390x")


@pull
def index_in_an_index(ground: Ground) -> None:
    image = image_of()
    inner = ground.push_index((image, "linux/amd64"), tag="inner")
    row = describe(inner.data, INDEX, platform={"os": "linux", "architecture": "amd64"})
    outer = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [row]}).encode()
    with ground.publish() as publisher:
        publisher.put_manifest(make_manifest(outer), "outer")
    assert ground.pull(":outer").manifest.digest == image.digest


@pull
def docker_manifest(ground: Ground) -> None:
    made = ground.push(docker_image(), "docker")
    pulled = ground.pull(":docker")
    assert (pulled.manifest.digest, pulled.manifest.media_type) == (made.digest, DOCKER_MANIFEST)


def docker_image() -> ImageParts:
    image = image_of(media_type=DOCKER_MANIFEST)
    document = json.loads(image.manifest)
    document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    for layer in document["layers"]:
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    return replace(image, manifest=json.dumps(document).encode())


@pull
def docker_manifest_list(ground: Ground) -> None:
    image = docker_image()
    ground.push_index((image, "linux/amd64"), tag="list", media_type=DOCKER_INDEX)
    assert ground.pull(":list").manifest.digest == image.digest


@pull
def manifest_byte_by_byte(ground: Ground) -> None:
    odd = json.dumps(json.loads(image_of().manifest), indent=7).encode() + b"\n\n"
    image = replace(image_of(), manifest=odd)
    ground.push(image, "odd")
    with ground.open(":odd") as client:
        assert client.read_manifest().data == odd


@pull
def image_into_the_store(ground: Ground) -> None:
    ground.push(image_of(BIG), "v1")
    pulled = ground.pull(":v1")
    assert validate_layout(pulled.layout) == []
    assert ground.pull(":v1") == pulled


@pull
def artifact_that_is_no_image(ground: Ground) -> None:
    empty = b"{}"
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/x-thing",
        "config": describe(empty, "application/vnd.oci.empty.v1+json"),
        "layers": [describe(b"thing", "application/x-thing")],
    }
    ground.push(ImageParts(json.dumps(document).encode(), empty, (b"thing",)), "thing")
    with ground.open(":thing") as client:
        [layer] = client.read_manifest().list_blobs()[1:]
        assert client.read_blob(layer) == b"thing"


@pull
def manifest_of_a_megabyte(ground: Ground) -> None:
    made = ground.push(image_of(annotations={"x": "y" * 1_000_000}), "large")
    with ground.open(":large") as client:
        assert client.read_manifest() == made


# Push


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


# Content discovery


@discovery
def tags(ground: Ground) -> None:
    ground.push(image_of(), "b", "a")
    with ground.open() as client:
        assert list_tags(client) == ["a", "b"]


@discovery
def tags_page_by_page(ground: Ground) -> None:
    names = [f"v{number:02}" for number in range(25)]
    ground.push(image_of(), *names)
    with ground.open() as client:
        assert list_tags(client, page=10) == names


@discovery
def tags_one_by_one(ground: Ground) -> None:
    ground.push(image_of(), "a", "b", "c")
    with ground.open() as client:
        assert list_tags(client, page=1) == ["a", "b", "c"]


@discovery
def tags_of_no_repository(ground: Ground) -> None:
    with ground.open() as client, pytest.raises(MissingImageError, match="there is no repository"):
        list_tags(client)


@discovery
def tags_without_what_has_none(ground: Ground) -> None:
    ground.push(image_of(b"untagged"))
    ground.push(image_of(), "v1")
    with ground.open() as client:
        assert list_tags(client) == ["v1"]


@discovery
def no_referrers(ground: Ground) -> None:
    made = ground.push(image_of(), "v1")
    with ground.open() as client:
        assert list_referrers(client, made.digest) == []


@discovery
def one_referrer(ground: Ground) -> None:
    image = image_of()
    ground.push(image, "v1")
    made = ground.push(referring(image, b"notes"))
    with ground.open() as client:
        [found] = list_referrers(client, image.digest)
    assert (found.digest, found.size, found.artifact_type) == (made.digest, len(made.data), "application/x-notes")


@discovery
def several_referrers(ground: Ground) -> None:
    image = image_of()
    ground.push(image, "v1")
    made = {ground.push(referring(image, b"%d" % number)).digest for number in range(5)}
    with ground.open() as client:
        assert {entry.digest for entry in list_referrers(client, image.digest)} == made


@discovery
def referrers_of_a_type(ground: Ground) -> None:
    image = image_of()
    ground.push(image, "v1")
    ground.push(referring(image, b"notes"))
    made = ground.push(referring(image, b"signature", "application/x-signature"))
    with ground.open() as client:
        [found] = list_referrers(client, image.digest, "application/x-signature")
        assert found.digest == made.digest
        assert list_referrers(client, image.digest, "application/x-nothing") == []


@discovery
def referrers_of_what_is_not_there(ground: Ground) -> None:
    ground.push(image_of(), "v1")
    with ground.open() as client:
        assert list_referrers(client, digest(b"nothing")) == []


@discovery
def referrer_before_its_subject(ground: Ground) -> None:
    image = image_of(b"later")
    made = ground.push(referring(image, b"notes"))
    ground.push(image, "v1")
    with ground.open() as client:
        assert [entry.digest for entry in list_referrers(client, image.digest)] == [made.digest]


@discovery
def referrer_that_is_pushed_twice(ground: Ground) -> None:
    image = image_of()
    ground.push(image, "v1")
    ground.push(referring(image, b"notes"))
    ground.push(referring(image, b"notes"))
    with ground.open() as client:
        assert len(list_referrers(client, image.digest)) == 1


@discovery
def referrer_that_is_copied(ground: Ground) -> None:
    image = image_of()
    ground.push(image, "v1")
    made = ground.push(referring(image, b"notes"), "notes")
    target = f"{ground.repository}/copy"
    ground.copy(f"{ground.repository}:v1", target, "v1")
    ground.copy(f"{ground.repository}:notes", target, "notes")
    with ground.open(repository=target) as client:
        assert [entry.digest for entry in list_referrers(client, image.digest)] == [made.digest]


# Content management


@management
def manifest_is_deleted(ground: Ground) -> None:
    made = ground.push(image_of(), "v1", "v2")
    with ground.publish() as publisher:
        publisher.delete_manifest(made.digest)
        assert publisher.client.find_descriptor(made.digest) is None
        assert publisher.client.find_descriptor("v1") is None


@management
def manifest_that_is_not_there(ground: Ground) -> None:
    ground.push(image_of(), "v1")
    with ground.publish() as publisher, pytest.raises(SourceError, match="404"):
        publisher.delete_manifest(digest(b"nothing"))


@management
def one_of_two_manifests(ground: Ground) -> None:
    one, two = ground.push(image_of(b"one"), "one"), ground.push(image_of(b"two"), "two")
    with ground.publish() as publisher:
        publisher.delete_manifest(one.digest)
        assert publisher.client.read_manifest("two") == two


@management
def tag_is_deleted_or_the_registry_says_why_not(ground: Ground) -> None:
    made = ground.push(image_of(), "v1", "v2")
    with ground.publish() as publisher:
        if ground.deletes_tags:
            publisher.delete_tag("v1")
            assert list_tags(publisher.client) == ["v2"]
        else:
            with pytest.raises(DeletionRefusedError, match=f"by digest it may, .*@{made.digest}"):
                publisher.delete_tag("v1")
        assert publisher.client.read_manifest("v2") == made


@management
def blob_is_deleted(ground: Ground) -> None:
    ground.upload(b"something")
    with ground.publish() as publisher:
        publisher.delete_blob(digest(b"something"))
        assert not publisher.has_blob(blob_of(b"something"))


@management
def blob_that_was_not_there(ground: Ground) -> None:
    ground.upload(b"something")
    with ground.publish() as publisher, pytest.raises(MissingImageError, match=r"cannot delete .*: it is not there"):
        publisher.delete_blob(digest(b"nothing"))


@management
def image_comes_back_after_deletion(ground: Ground) -> None:
    made = ground.push(image_of(), "v1")
    with ground.publish() as publisher:
        publisher.delete_manifest(made.digest)
    assert ground.push(image_of(), "v1") == made
    assert ground.pull(":v1").manifest.digest == made.digest


@management
def referrer_is_deleted(ground: Ground) -> None:
    image = image_of()
    ground.push(image, "v1")
    one, two = ground.push(referring(image, b"one")), ground.push(referring(image, b"two"))
    with ground.publish() as publisher:
        publisher.delete_manifest(one.digest)
        assert [entry.digest for entry in list_referrers(publisher.client, image.digest)] == [two.digest]


@management
def index_is_deleted_and_its_images_stay(ground: Ground) -> None:
    image = image_of()
    made = ground.push_index((image, "linux/amd64"))
    with ground.publish() as publisher:
        publisher.delete_manifest(made.digest)
        assert publisher.client.find_descriptor(image.digest) is not None


def make_ground(host: str, options: RegistryOptions, function: Check, directory: Path, **how: Any) -> Ground:
    """A repository of its own for a check."""
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:8]
    return Ground(host, f"checks/{function.__name__}-{name}", options, directory, **how)


LIST = [
    pytest.param(function, id=f"{category}-{function.__name__}") for category in CHECKS for function in CHECKS[category]
]

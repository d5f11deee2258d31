"""Checks of pulling."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from builder.core.errors import InputError, SourceError
from builder.oci.check import validate_layout
from builder.oci.registry.client import MissingImageError
from builder.oci.registry.manifest import make_manifest
from firstboot.config.oci.manifests import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
)
from tests.support.distribution.ground import (
    BIG,
    Ground,
    blob_of,
    docker_image,
    image_of,
    pull,
    replace_size,
)
from tests.support.registry import ImageParts, describe, digest


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

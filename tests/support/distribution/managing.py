"""Checks of content management: what is deleted."""

from __future__ import annotations

import pytest

from builder.core.errors import SourceError
from builder.oci.registry.client import MissingImageError
from builder.oci.registry.listing import list_referrers, list_tags
from builder.oci.registry.push import DeletionRefusedError
from tests.support.distribution.ground import (
    Ground,
    blob_of,
    image_of,
    management,
    referring,
)
from tests.support.registry import digest


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

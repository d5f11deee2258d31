"""Checks of content discovery: tags and referrers."""

from __future__ import annotations

import pytest

from builder.oci.registry.client import MissingImageError
from builder.oci.registry.listing import list_referrers, list_tags
from tests.support.distribution.ground import (
    Ground,
    discovery,
    image_of,
    referring,
)
from tests.support.registry import digest


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

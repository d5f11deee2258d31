"""The registries that the host's client is tried with, for the client of a machine: nothing wrong is ever taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from firstboot.config.models import Resource
from firstboot.fetch.errors import FetchError
from tests.support.hostile_registries import BAD_BLOBS, BAD_DOCUMENTS, BAD_MANIFESTS, about
from tests.support.registry import ImageParts, RegistryServer, digest
from vm.fakes.web import Reply, WebServer

pytestmark = pytest.mark.unit

Make = Callable[..., Resource]
ARTIFACT = ImageParts.make(b"second layer" * 2000)  # as large as what the answers are made for
ONLY = digest(ARTIFACT.layers[0])
# What a machine waits for until its deadline, because it may pass.
PASSING = {"a server error", "too many requests", "cut", "half of it each time", "fewer bytes", "nothing"}
HEADERS_ARE_NOT_ASKED = {
    "another manifest than the header says",  # a machine looks at what it got, not at what it was told
    "an index that is called a manifest",
}


@pytest.fixture
def registry(outside: Any) -> Iterator[RegistryServer]:
    with WebServer() as web:
        outside.ports["registry.example", 80] = web.port
        made = RegistryServer(web)
        made.add("team/app", "1", ARTIFACT)
        yield made


def fetch(outside: Any, resource: Make, name: str = "team/app:1", seconds: float = 300) -> bytes:
    return bytes(outside.fetcher(total_seconds=seconds).fetch(resource(f"oci+http://registry.example/{name}")))


@pytest.mark.parametrize("case", sorted({*BAD_MANIFESTS} - PASSING - HEADERS_ARE_NOT_ASKED))
def test_a_manifest_that_cannot_be_believed(outside: Any, resource: Make, registry: RegistryServer, case: str) -> None:
    registry.after = BAD_MANIFESTS[case][0]
    with pytest.raises(FetchError):
        fetch(outside, resource, seconds=1.0)
    registry.after = lambda request, reply: reply
    assert fetch(outside, resource) == ARTIFACT.layers[0]


@pytest.mark.parametrize("case", sorted({*BAD_BLOBS} - PASSING - {"a range that was not asked for"}))
def test_a_blob_that_is_not_what_it_should_be(
    outside: Any, resource: Make, registry: RegistryServer, case: str
) -> None:
    registry.after = about(ONLY, BAD_BLOBS[case][0])
    with pytest.raises(FetchError):
        fetch(outside, resource, seconds=1.0)


@pytest.mark.parametrize("case", sorted({*BAD_DOCUMENTS} - {"no configuration"}))
def test_a_manifest_that_says_what_none_says(outside: Any, resource: Make, registry: RegistryServer, case: str) -> None:
    registry.add("team/app", "bad", BAD_DOCUMENTS[case][0])
    with pytest.raises(FetchError):
        fetch(outside, resource, "team/app:bad")


def test_a_redirect_to_another_host_learns_no_token(outside: Any, resource: Make, registry: RegistryServer) -> None:
    registry.token = "t0ken"
    registry.realm = "http://registry.example/token"
    with WebServer() as elsewhere:
        outside.ports["elsewhere.example", 80] = elsewhere.port
        elsewhere.fallback = Reply(ARTIFACT.layers[0])
        moved = Reply(status=307, headers={"Location": "http://elsewhere.example/blob"})
        registry.after = about(ONLY, lambda reply: moved)
        assert fetch(outside, resource) == ARTIFACT.layers[0]
        [request] = elsewhere.requests
    assert "authorization" not in request.headers
    assert registry.asked("GET", ONLY)[-1].headers["authorization"] == "Bearer t0ken"

"""Artifacts in a registry: found by digest, verified all the way, with a login where one is wanted."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.config.models import Resource
from firstboot.fetch.errors import FetchError, NotFound
from firstboot.fetch.schemes import oci
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit

Make = Callable[..., Resource]
LAYER = b"what is in the archive"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def describe(data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": "application/octet-stream", "digest": digest(data), "size": len(data), **more}


def manifest(*layers: bytes) -> bytes:
    return json.dumps({"schemaVersion": 2, "layers": [describe(each) for each in layers]}).encode()


class Registry:
    """A registry with some things in it; it may want a token."""

    def __init__(self, outside: Any, answer: Any, *things: bytes, token: str | None = None) -> None:
        self.things = {digest(each): each for each in things}
        self.answer = answer
        self.token = token
        self.realm = "http://auth.example/token"
        self.asked = outside.serve("http://registry.example", self.serve)
        self.logins = outside.serve("http://auth.example", self.log_in)

    def serve(self, request: Any) -> Any:
        if self.token is not None and request.header("Authorization") != f"Bearer {self.token}":
            challenge = f'Bearer realm="{self.realm}",service="registry.example"'
            return self.answer(401, b"", {"WWW-Authenticate": challenge})
        return self.things.get(request.path.rpartition("/")[2], 404)

    def log_in(self, request: Any) -> Any:
        if request.header("Authorization") not in (None, "Basic bWU6c2VjcmV0"):
            return 403
        return json.dumps({"token": self.token}).encode()


def url(data: bytes) -> str:
    return f"oci+http://registry.example/team/app@{digest(data)}"


def test_the_layer_of_an_artifact_is_what_is_fetched(outside: Any, resource: Make, answer: Any) -> None:
    whole = manifest(LAYER)
    registry = Registry(outside, answer, whole, LAYER)
    assert outside.fetcher().fetch(resource(url(whole))) == LAYER
    assert [each.path for each in registry.asked] == [
        f"/v2/team/app/manifests/{digest(whole)}",
        f"/v2/team/app/manifests/{digest(whole)}",
        f"/v2/team/app/blobs/{digest(LAYER)}",
    ]


def test_of_an_index_the_manifest_for_this_machine_is_taken(outside: Any, resource: Make, answer: Any) -> None:
    mine, other = manifest(LAYER), manifest(b"for another")
    entries = [
        describe(other, platform={"os": "linux", "architecture": "s390x"}),
        describe(mine, platform={"os": "linux", "architecture": MACHINE}),
    ]
    index = json.dumps({"manifests": entries}).encode()
    Registry(outside, answer, index, mine, other, LAYER)
    assert outside.fetcher().fetch(resource(url(index))) == LAYER
    without = json.dumps({"manifests": entries[:1]}).encode()
    Registry(outside, answer, without)
    with pytest.raises(FetchError, match=f"has nothing for linux/{MACHINE}"):
        outside.fetcher().fetch(resource(url(without)))


def test_a_registry_that_wants_a_token_gets_one(outside: Any, resource: Make, answer: Any) -> None:
    whole = manifest(LAYER)
    registry = Registry(outside, answer, whole, LAYER, token="t0ken")
    login = {"Authorization": "Basic bWU6c2VjcmV0"}
    assert outside.fetcher().fetch(resource(url(whole), headers=login)) == LAYER
    assert registry.logins[0].path == "/token?service=registry.example&scope=repository%3Ateam%2Fapp%3Apull"
    assert registry.logins[0].header("Authorization") == "Basic bWU6c2VjcmV0"
    assert all("Basic" not in (each.header("Authorization") or "") for each in registry.asked[1:])


@pytest.mark.parametrize("realm", ["ftp://auth.example/", "http://169.254.169.254/latest/user-data"])
def test_a_registry_cannot_send_us_anywhere_to_log_in(outside: Any, resource: Make, answer: Any, realm: str) -> None:
    whole = manifest(LAYER)
    Registry(outside, answer, whole, LAYER, token="t").realm = realm
    with pytest.raises(FetchError, match=r"wants a login|at the metadata service"):
        outside.fetcher().fetch(resource(url(whole)))


def test_what_is_not_what_its_digest_says_is_refused(outside: Any, resource: Make, answer: Any) -> None:
    whole = manifest(LAYER)
    registry = Registry(outside, answer, whole, LAYER)
    registry.things[digest(LAYER)] = b"something else"
    with pytest.raises(FetchError, match="sent another layer than the manifest names"):
        outside.fetcher().fetch(resource(url(whole)))
    registry.things[digest(whole)] = manifest(b"something else")
    with pytest.raises(FetchError, match="sent another manifest"):
        outside.fetcher().fetch(resource(url(whole)))


def test_what_is_no_artifact_is_refused(outside: Any, resource: Make, answer: Any) -> None:
    image = manifest(LAYER, b"more")
    Registry(outside, answer, image)
    with pytest.raises(FetchError, match="has 2 layers; an artifact that is one file has one"):
        outside.fetcher().fetch(resource(url(image)))
    with pytest.raises(NotFound):
        outside.fetcher().fetch(resource(url(b"nothing")))


def titled(**layers: bytes) -> bytes:
    """An artifact as oras makes one of several files."""
    found = [
        describe(data, annotations={"org.opencontainers.image.title": name.replace("_", " ")})
        for name, data in layers.items()
    ]
    whole = {"schemaVersion": 2, "artifactType": "application/vnd.example", "layers": found}
    return json.dumps(whole).encode()


def test_a_tag_names_what_the_registry_says(outside: Any, resource: Make, answer: Any) -> None:
    registry = Registry(outside, answer, LAYER)
    registry.things["stable"] = manifest(LAYER)
    assert outside.fetcher().fetch(resource("oci+http://registry.example/team/app:stable")) == LAYER
    assert registry.asked[0].path == "/v2/team/app/manifests/stable"


def test_one_file_of_several_is_chosen_by_its_title(outside: Any, resource: Make, answer: Any) -> None:
    whole = titled(one_file=b"one", other=b"other")
    Registry(outside, answer, whole, b"one", b"other")
    assert outside.fetcher().fetch(resource(f"{url(whole)}#other")) == b"other"
    assert outside.fetcher().fetch(resource(f"{url(whole)}#one%20file")) == b"one"
    with pytest.raises(FetchError, match="has no layer with the title 'third'") as error:
        outside.fetcher().fetch(resource(f"{url(whole)}#third"))
    assert error.value.hint == "there are one file, other"
    with pytest.raises(FetchError, match="has 2 layers") as error:
        outside.fetcher().fetch(resource(url(whole)))
    assert error.value.hint == "choose one with #TITLE at the end: there are one file, other"


def test_an_artifact_without_a_file_is_refused(outside: Any, resource: Make, answer: Any) -> None:
    empty = describe(b"{}", mediaType="application/vnd.oci.empty.v1+json")
    whole = json.dumps({"schemaVersion": 2, "layers": [empty]}).encode()
    Registry(outside, answer, whole, b"{}")
    with pytest.raises(FetchError, match="has 0 layers"):
        outside.fetcher().fetch(resource(url(whole)))


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.text(),
        lambda of: (
            st.lists(of) | st.dictionaries(st.sampled_from(["manifests", "layers", "digest", "platform", "x"]), of)
        ),
    ).map(lambda each: json.dumps(each).encode())
)
@examples(60)
def test_whatever_a_registry_says_is_used_or_refused(outside: Any, resource: Make, answer: Any, data: bytes) -> None:
    Registry(outside, answer, data)
    with pytest.raises(FetchError):
        outside.fetcher().fetch(resource(url(data)))


@given(st.text(max_size=80).map(lambda each: f"oci://{each}"))
@examples(100)
def test_whatever_is_named_is_an_artifact_or_none(text: str) -> None:
    try:
        artifact = oci.parse(text)
    except FetchError:
        return
    assert artifact.base.startswith("https://")

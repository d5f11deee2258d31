"""A registry that means harm, or is broken: one clear error, nothing half-written, and a rerun that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import BuildError, InputError, SourceError
from builder.core.store import Store
from builder.oci.registry.listing import list_tags
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.pull import PulledImage, pull_image
from tests.support.hostile_registries import BAD_BLOBS, BAD_DOCUMENTS, BAD_MANIFESTS, BIG, IMAGE, about, with_header
from tests.support.registry import CONFIG, INDEX, MANIFEST, ImageParts, RegistryServer, describe, digest
from vm.fakes.web import HttpRequest, Reply, WebServer

pytestmark = pytest.mark.unit


@pytest.fixture
def elsewhere() -> Iterator[WebServer]:
    """Another host: it must learn nothing."""
    with WebServer() as web:
        yield web


@pytest.fixture
def pull(registry: RegistryServer, options: RegistryOptions, store: Store) -> Callable[..., PulledImage]:
    registry.add("team/app", "1", IMAGE)

    def run(name: str = "team/app:1", **more: object) -> PulledImage:
        with open_client(f"{registry.host}/{name}", replace(options, **more)) as client:  # type: ignore[arg-type]
            return pull_image(client, store, QuietConsole(), architecture="amd64")

    return run


Pull = Callable[..., PulledImage]


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_manifest_that_cannot_be_believed(registry: RegistryServer, pull: Pull, store: Store, case: str) -> None:
    registry.after, says = BAD_MANIFESTS[case]
    with pytest.raises(SourceError, match=says) as caught:
        pull()
    assert caught.value.hint
    assert not list((store.root / "blobs").glob("*/*/*"))
    registry.after = lambda request, reply: reply
    assert pull().manifest.digest == IMAGE.digest


@pytest.mark.parametrize("case", BAD_BLOBS)
def test_a_blob_that_is_not_what_it_should_be(registry: RegistryServer, pull: Pull, store: Store, case: str) -> None:
    change, says = BAD_BLOBS[case]
    registry.after = about(BIG, change)
    with pytest.raises(SourceError, match=says) as caught:
        pull()
    assert BIG in caught.value.what
    assert not store.has_blob(BIG.partition(":")[2])
    assert not list((store.root / "images").glob("*"))
    registry.after = lambda request, reply: reply
    assert pull().manifest.digest == IMAGE.digest


@pytest.mark.parametrize("case", BAD_DOCUMENTS)
def test_a_manifest_that_says_what_none_says(registry: RegistryServer, pull: Pull, store: Store, case: str) -> None:
    image, says = BAD_DOCUMENTS[case]
    registry.add("team/app", "bad", image)
    with pytest.raises(BuildError, match=says):
        pull("team/app:bad")
    assert not registry.asked("GET", "/blobs/")


def test_an_index_that_leads_to_itself_ends(registry: RegistryServer, pull: Pull) -> None:
    inner = IMAGE.manifest
    kind = MANIFEST
    for _ in range(6):
        row = describe(inner, kind, platform={"os": "linux", "architecture": "amd64"})
        inner, kind = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [row]}).encode(), INDEX
        registry.add_manifest("team/app", "deep", inner)
    with pytest.raises(SourceError, match="an index in an index"):
        pull("team/app:deep")


def test_a_digest_does_not_believe_the_registry(registry: RegistryServer, pull: Pull) -> None:
    other = ImageParts.make(b"other")
    registry.after = about("/manifests/", lambda reply: replace(reply, body=other.manifest))
    with pytest.raises(SourceError, match=f"sent a manifest with the digest {other.digest}, not {IMAGE.digest}"):
        pull(f"team/app@{IMAGE.digest}")


# Who is told what


def login(tmp_path: Path, host: str) -> Path:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {host: {"username": "me", "password": "secret"}}}))
    return path


def test_a_redirect_to_another_host_learns_no_token(
    registry: RegistryServer, elsewhere: WebServer, pull: Pull, tmp_path: Path
) -> None:
    registry.token, registry.login = "t0ken", ("me", "secret")
    elsewhere.fallback = Reply(IMAGE.layers[1])
    registry.after = about(BIG, lambda reply: Reply(status=307, headers={"Location": elsewhere.url("/blob?sig=1")}))
    assert pull(authfile=login(tmp_path, registry.host)).manifest.digest == IMAGE.digest
    [request] = elsewhere.requests
    assert "authorization" not in request.headers
    assert registry.asked("GET", BIG)[-1].headers["authorization"] == "Bearer t0ken"


def test_another_host_cannot_ask_for_the_password(
    registry: RegistryServer, elsewhere: WebServer, pull: Pull, tmp_path: Path
) -> None:
    registry.basic = ("me", "secret")
    elsewhere.fallback = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="give"'})
    registry.after = about(BIG, lambda reply: Reply(status=307, headers={"Location": elsewhere.url("/blob")}))
    with pytest.raises(SourceError, match="401"):
        pull(authfile=login(tmp_path, registry.host))
    assert all("authorization" not in request.headers for request in elsewhere.requests)


def test_the_password_of_one_registry_is_not_anothers(
    registry: RegistryServer, elsewhere: WebServer, pull: Pull, tmp_path: Path
) -> None:
    registry.basic = ("me", "secret")
    with pytest.raises(SourceError, match="401"):
        pull(authfile=login(tmp_path, f"127.0.0.1:{elsewhere.port}"))
    assert all("authorization" not in request.headers for request in registry.web.requests)


def test_the_next_page_is_not_fetched_from_another_host(
    registry: RegistryServer, elsewhere: WebServer, options: RegistryOptions
) -> None:
    registry.add("team/app", "1", IMAGE)
    registry.after = about("/tags/", with_header(Link=f'<{elsewhere.url("/v2/x")}>; rel="next"'))
    with open_client(f"{registry.host}/team/app", options) as client:
        with pytest.raises(SourceError, match="the next page is at another host"):
            list_tags(client)
        registry.after = about("/tags/", with_header(Link='</v2/team/app/tags/list>; rel="next"'))
        with pytest.raises(SourceError, match="the pages go round in a circle"):
            list_tags(client)
    assert not elsewhere.requests


def test_a_token_that_ends_in_the_middle_is_renewed(registry: RegistryServer, pull: Pull, tmp_path: Path) -> None:
    registry.token, registry.login = "first", ("me", "secret")

    def before(request: HttpRequest) -> Reply | None:
        if BIG in request.path and registry.token == "first":
            registry.token = "second"
        return None

    registry.before = before
    assert pull(authfile=login(tmp_path, registry.host)).manifest.digest == IMAGE.digest
    assert registry.scopes == [["repository:team/app:pull"]] * 2


def test_a_registry_that_is_never_content_ends(registry: RegistryServer, pull: Pull, tmp_path: Path) -> None:
    registry.token = "never"
    registry.after = about("/token", lambda reply: Reply(b'{"token": "another"}'))
    with pytest.raises(SourceError, match="401"):
        pull()
    assert len(registry.asked("GET", "/token")) <= 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Reply(b"{}"), "gives no usable token"),
        (Reply(b'{"token": 5}'), "gives no usable token"),
        (Reply(b'{"token": "a\\r\\nX: y"}'), "gives no usable token"),
        (Reply(b"x" * 100, endless=True), "more than the 1048576 bytes"),
        (Reply(status=500), "no token: 500"),
    ],
)
def test_a_token_that_is_none(registry: RegistryServer, pull: Pull, answer: Reply, says: str) -> None:
    registry.token = "t"
    registry.after = about("/token", lambda reply: answer)
    with pytest.raises(SourceError, match=says):
        pull()


def test_an_identity_token_is_exchanged_for_one_that_is_short_lived(
    registry: RegistryServer, pull: Pull, tmp_path: Path
) -> None:
    registry.token, registry.refresh = "t0ken", "refresh"
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {registry.host: {"identitytoken": "refresh"}}}))
    assert pull(authfile=path).manifest.digest == IMAGE.digest
    assert all("refresh" not in str(request.headers) + request.path for request in registry.web.requests)


def test_a_server_that_is_slow_or_silent_is_given_up(
    registry: RegistryServer, pull: Pull, options: RegistryOptions
) -> None:
    registry.after = about(BIG, lambda reply: replace(reply, slow=5.0))
    with pytest.raises(SourceError, match="the server went silent"):
        pull(patience=replace(options.patience, read=0.1, rounds=2))


def test_a_push_to_who_answers_anything_is_an_error(registry: RegistryServer, options: RegistryOptions) -> None:
    from builder.oci.registry.push import Publisher
    from firstboot.config.oci.manifests import Descriptor

    blob = Descriptor(CONFIG, digest(b"x" * 10), 10)
    answers = {
        "does not say where": Reply(status=202),
        "200 OK": Reply(status=200),
        "500": Reply(status=500),
    }
    for says, answer in answers.items():
        registry.before = lambda request, answer=answer: answer if request.method == "POST" else None  # type: ignore[misc]
        with (
            open_client(f"{registry.host}/team/app", options, mirrors=False) as client,
            pytest.raises(BuildError, match=says),
        ):
            Publisher(client).upload_blob(blob, lambda start: iter([b"x" * 10]))


def test_an_upload_elsewhere_learns_no_token(
    registry: RegistryServer, elsewhere: WebServer, options: RegistryOptions, tmp_path: Path
) -> None:
    from builder.oci.registry.push import Publisher
    from firstboot.config.oci.manifests import Descriptor

    registry.token, registry.login = "t0ken", ("me", "secret")
    elsewhere.fallback = Reply(status=201)
    blob = Descriptor(CONFIG, digest(b"x" * 10), 10)
    registry.after = about(
        "uploads", lambda r: replace(r, headers={"Location": elsewhere.url("/upload")}) if r.status == 202 else r
    )
    there = replace(options, authfile=login(tmp_path, registry.host))
    with open_client(f"{registry.host}/team/app", there, mirrors=False) as client:
        Publisher(client).upload_blob(blob, lambda start: iter([b"x" * 10]))
    [request] = elsewhere.requests
    assert (request.method, request.body) == ("PUT", b"x" * 10)
    assert "authorization" not in request.headers


def test_a_platform_of_lies_is_the_users_choice_to_make(registry: RegistryServer, pull: Pull) -> None:
    registry.add_manifest("team/app", "none", json.dumps({"schemaVersion": 2, "manifests": []}).encode())
    with pytest.raises(InputError, match="its index names no platform"):
        pull("team/app:none")

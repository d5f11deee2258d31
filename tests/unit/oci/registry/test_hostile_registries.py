"""A registry that means harm, or is broken: one clear error, nothing half-written, and a rerun that goes on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import BuildError, InputError, SourceError
from builder.core.store import Store
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.pull import PulledImage, pull_image
from tests.support.registry import CONFIG, INDEX, LAYER, MANIFEST, ImageParts, RegistryServer, describe, digest
from vm.fakes.web import HttpRequest, Reply, WebServer

pytestmark = pytest.mark.unit

Answer = Callable[[HttpRequest, Reply], Reply]
IMAGE = ImageParts.make(b"first layer" * 1000, b"second layer" * 2000)
BIG = digest(IMAGE.layers[1])


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


def about(part: str, change: Callable[[Reply], Reply]) -> Answer:
    """Change the answers to requests whose path has something in it."""
    return lambda request, reply: change(reply) if part in request.path else reply


def with_header(**headers: str) -> Callable[[Reply], Reply]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda reply: replace(reply, headers={**reply.headers, **named})


BAD_MANIFESTS = {
    "another manifest than the header says": (
        about("/manifests/", with_header(Docker_Content_Digest=digest(b"x"))),
        "and calls it sha256:",
    ),
    "no JSON": (about("/manifests/", lambda reply: replace(reply, body=b"<html>")), "is no JSON"),
    "nothing": (about("/manifests/", lambda reply: replace(reply, body=b"")), "is no JSON"),
    "JSON in JSON in JSON": (about("/manifests/", lambda reply: replace(reply, body=b"[" * 100_000)), "is no JSON"),
    "a key twice": (
        about("/manifests/", lambda reply: replace(reply, body=b'{"a": 1, "a": 2}')),
        "a key is there twice",
    ),
    "a list": (about("/manifests/", lambda reply: replace(reply, body=b"[]")), "is no JSON object"),
    "an index that is called a manifest": (
        about("/manifests/", with_header(Content_Type=INDEX)),
        r"says that it is application/vnd.oci.image.manifest.v1\+json, the registry that it is ",
    ),
    "endless": (
        about("/manifests/", lambda reply: replace(reply, body=b" " * 65536, endless=True)),
        "more than the 4194304",
    ),
    "five megabytes": (about("/manifests/", lambda reply: replace(reply, body=b" " * 5_000_000)), "5000000 bytes"),
    "compressed, which nobody asked for": (
        about(
            "/manifests/",
            lambda reply: Reply(
                gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip", "Content-Type": MANIFEST}
            ),
        ),
        "is no JSON",
    ),
    "a thousand headers": (
        about("/manifests/", lambda reply: replace(reply, headers={f"X-{n}": "y" for n in range(1000)})),
        "got more than 100 headers",
    ),
    "a header of a megabyte": (about("/manifests/", with_header(X_Long="y" * 1_000_000)), "header line"),
    "cut": (about("/manifests/", lambda reply: replace(reply, cut=10)), "the connection was cut"),
    "an error page of a gigabyte": (
        about("/manifests/", lambda reply: Reply(b"no " * 1000, 403, endless=True)),
        "403 Forbidden",
    ),
    "an error that moves the cursor": (
        about("/manifests/", lambda r: Reply(b'{"errors": [{"code": "A", "message": "\\u001b[2J"}]}', 418)),
        r"418 I'm a Teapot \(A: \?\[2J\)",
    ),
    "a server error": (about("/manifests/", lambda reply: Reply(status=500)), "500 Internal Server Error"),
    "too many requests": (about("/manifests/", lambda reply: Reply(status=429, headers={"Retry-After": "0"})), "429"),
    "a redirect round in a circle": (
        about("/manifests/", lambda reply: Reply(status=302, headers={"Location": "/v2/team/app/manifests/1"})),
        "more than 10 redirects",
    ),
    "a redirect to a file": (
        about("/manifests/", lambda reply: Reply(status=302, headers={"Location": "file:///etc/passwd"})),
        "is not http or https",
    ),
    "a login in a way that nobody knows": (
        about("/manifests/", lambda reply: Reply(status=401, headers={"WWW-Authenticate": "Negotiate"})),
        "it wants a login by negotiate",
    ),
    "a login without a way": (about("/manifests/", lambda reply: Reply(status=401)), "it wants a login by no scheme"),
    "a login in words that nobody can read": (
        about("/manifests/", lambda reply: Reply(status=401, headers={"WWW-Authenticate": 'Bearer realm="x'})),
        "cannot be read|it wants a login by",
    ),
    "a login at a metadata service": (
        about(
            "/manifests/",
            lambda reply: Reply(
                status=401, headers={"WWW-Authenticate": 'Bearer realm="http://169.254.169.254/latest/user-data"'}
            ),
        ),
        "at a metadata service",
    ),
    "a login in a file": (
        about("/manifests/", lambda r: Reply(status=401, headers={"WWW-Authenticate": 'Bearer realm="file:///etc/x"'})),
        "at a place that is no web server",
    ),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_manifest_that_cannot_be_believed(registry: RegistryServer, pull: Pull, store: Store, case: str) -> None:
    registry.after, says = BAD_MANIFESTS[case]
    with pytest.raises(SourceError, match=says) as caught:
        pull()
    assert caught.value.hint
    assert not list((store.root / "blobs").glob("*/*/*"))
    registry.after = lambda request, reply: reply
    assert pull().manifest.digest == IMAGE.digest


BAD_BLOBS = {
    "other bytes": (lambda reply: replace(reply, body=b"z" * len(reply.body)), "sent something with the digest"),
    "fewer bytes": (lambda reply: replace(reply, body=reply.body[:100]), "ended after 300 of 24000 bytes"),
    "more bytes": (
        lambda reply: replace(reply, body=reply.body + b"more"),
        "sends 24004 bytes, the manifest says 24000",
    ),
    "bytes without an end": (lambda reply: replace(reply, endless=True), "more than the 24000 bytes"),
    "half of it each time": (lambda reply: replace(reply, cut=0), "the connection was cut"),
    "nothing": (lambda reply: Reply(status=404), "404"),
    "a server error": (lambda reply: Reply(status=503), "503"),
    "a range that was not asked for": (lambda reply: replace(reply, status=206), "206"),
    "a length that is none": (lambda reply: replace(reply, endless=True, headers={"Content-Length": "-1"}), "bytes"),
    "a compressed bomb": (
        lambda reply: Reply(gzip.compress(b"\0" * 50_000_000), headers={"Content-Encoding": "gzip"}),
        "sends 48\\d+ bytes, the manifest says 24000",
    ),
}


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


def bad_image(**more: object) -> ImageParts:
    document = json.loads(IMAGE.manifest)
    document.update(more)
    return replace(IMAGE, manifest=json.dumps(document).encode())


LAYER_ROW = describe(IMAGE.layers[0], LAYER)
BAD_DOCUMENTS = {
    "no layers": (bad_image(layers=None), "has no list layers"),
    "ten thousand and one layers": (bad_image(layers=[LAYER_ROW] * 10_001), "has 10001 layers, more than 10000"),
    "six hundred layers": (bad_image(layers=[LAYER_ROW] * 600), "has 600 layers; 500 are possible"),
    "a layer that is a text": (bad_image(layers=["x"]), r"has no descriptor as layers\[0\]"),
    "a size that is less than nothing": (bad_image(layers=[{**LAYER_ROW, "size": -1}]), "whose size is no number"),
    "a size that is a text": (bad_image(layers=[{**LAYER_ROW, "size": "1"}]), "whose size is no number"),
    "an exabyte": (bad_image(layers=[{**LAYER_ROW, "size": 1 << 60}]), "needs 1152921.5 TB, and the store"),
    "a digest that leads out": (
        bad_image(layers=[{**LAYER_ROW, "digest": "sha256:../../../etc/passwd"}]),
        "whose digest is none",
    ),
    "a digest in capitals": (bad_image(layers=[{**LAYER_ROW, "digest": BIG.upper()}]), "whose digest is none"),
    "a digest by sha512": (
        bad_image(layers=[{**LAYER_ROW, "digest": "sha512:" + "a" * 128}]),
        "digests other than sha256",
    ),
    "no configuration": (bad_image(config=None), "has no descriptor as config"),
    "layers and manifests": (bad_image(manifests=[]), "is a manifest and an index at once"),
    "another schema": (bad_image(schemaVersion=3), "has another schemaVersion than 2"),
    "a type that is no text": (bad_image(mediaType=5), "has a mediaType that is no text"),
    "a type that is none of an image": (
        bad_image(mediaType="text/html"),
        "says that it is text/html, the registry that",
    ),
    "a media type with a line break": (
        bad_image(layers=[{**LAYER_ROW, "mediaType": "a/b\r\nX: y"}]),
        "whose mediaType is none",
    ),
}


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
            client.list_tags()
        registry.after = about("/tags/", with_header(Link='</v2/team/app/tags/list>; rel="next"'))
        with pytest.raises(SourceError, match="the pages go round in a circle"):
            client.list_tags()
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

"""What a registry that means harm, or is broken, answers: for the client of the host and for that of a machine."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace

from tests.support.registry import INDEX, LAYER, MANIFEST, ImageParts, describe, digest
from vm.fakes.web import HttpRequest, Reply

Answer = Callable[[HttpRequest, Reply], Reply]
IMAGE = ImageParts.make(b"first layer" * 1000, b"second layer" * 2000)
BIG = digest(IMAGE.layers[1])


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

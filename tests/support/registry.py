"""A registry in memory that does what the distribution-spec says, until a test tells it to do something else."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from vm.fakes.web import HttpRequest, Reply, WebServer

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def describe(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


@dataclass(frozen=True)
class ImageParts:
    """An image as bytes."""

    manifest: bytes
    config: bytes
    layers: tuple[bytes, ...]
    media_type: str = MANIFEST

    @classmethod
    def make(cls, *layers: bytes, architecture: str = "amd64", media_type: str = MANIFEST, **more: Any) -> ImageParts:
        rootfs = {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}
        config = json.dumps({"os": "linux", "architecture": architecture, "rootfs": rootfs}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": describe(config, CONFIG),
            "layers": [describe(layer, LAYER) for layer in layers],
            **more,
        }
        return cls(json.dumps(manifest).encode(), config, layers, media_type)

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        return (self.config, *self.layers)


def make_index(*images: tuple[ImageParts, str], **more: Any) -> bytes:
    """An index of images, each with a platform like ``linux/arm64/v8``."""
    entries = []
    for image, platform in images:
        names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        entries.append(describe(image.manifest, image.media_type, platform=names))
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **more}).encode()


@dataclass
class Repository:
    """What one has. ``manifests``: digest -> bytes and media type."""

    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


@dataclass
class RegistryServer:
    """A registry behind a web server.

    Attributes:
        before: asked first; what it returns is answered, ``None`` leaves it to the registry.
        after: given every answer of the registry, and returns the one that is sent.
        token: what has to be shown as Bearer; the realm gives it to ``login`` (``None``: to everybody).
        basic: name and password that have to be shown as they are.
        referrers_api: whether there is one.
        page: how many tags, or referrers, are in an answer.
    """

    web: WebServer
    repositories: dict[str, Repository] = field(default_factory=dict)
    before: Callable[[HttpRequest], Reply | None] = lambda request: None
    after: Callable[[HttpRequest, Reply], Reply] = lambda request, reply: reply
    token: str | None = None
    login: tuple[str, str] | None = None
    basic: tuple[str, str] | None = None
    refresh: str | None = None
    realm: str | None = None
    referrers_api: bool = True
    mounts: bool = True
    page: int = 1000
    minimum_chunk: int = 0
    uploads: dict[str, bytearray] = field(default_factory=dict)
    scopes: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.web.fallback = self._answer
        self._lock = threading.RLock()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.web.port}"

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def add(self, name: str, tag: str | None, image: ImageParts) -> str:
        """Have an image; returns its digest."""
        there = self.repository(name)
        there.blobs.update({digest(blob): blob for blob in image.blobs})
        return self.add_manifest(name, tag, image.manifest, image.media_type)

    def add_manifest(self, name: str, tag: str | None, data: bytes, media_type: str = INDEX) -> str:
        there = self.repository(name)
        there.manifests[digest(data)] = (data, media_type)
        if tag is not None:
            there.tags[tag] = digest(data)
        return digest(data)

    def add_index(self, name: str, tag: str | None, *images: tuple[ImageParts, str], **more: Any) -> str:
        for image, _ in images:
            self.add(name, None, image)
        return self.add_manifest(name, tag, make_index(*images, **more))

    def asked(self, method: str, part: str) -> list[HttpRequest]:
        """The requests of a method whose path has this in it."""
        return [request for request in self.web.requests if request.method == method and part in request.path]

    # What it answers

    def _answer(self, request: HttpRequest) -> Reply:
        with self._lock:
            reply = self.before(request)
            return self.after(request, self._judge(request)) if reply is None else reply

    def _judge(self, request: HttpRequest) -> Reply:
        path = urlsplit(request.path).path
        if path == "/token":
            return self._give_token(request)
        shown = request.headers.get("authorization")
        if self.token is not None and shown != f"Bearer {self.token}":
            realm = self.realm or self.web.url("/token")
            return _fail(401, "UNAUTHORIZED", {"WWW-Authenticate": f'Bearer realm="{realm}",service="a registry"'})
        if self.basic is not None and shown != _basic(self.basic):
            return _fail(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="a registry"'})
        if path == "/v2/":
            return Reply(b"{}", headers={"Docker-Distribution-API-Version": "registry/2.0"})
        for kind in ("manifests", "blobs", "tags", "referrers"):
            name, found, rest = path.removeprefix("/v2/").rpartition(f"/{kind}/")
            if kind == "blobs" and "/blobs/uploads/" in path:
                name, _, rest = path.removeprefix("/v2/").partition("/blobs/uploads/")
                return self._upload(request, name, rest)
            if found:
                handler: Callable[[HttpRequest, str, str], Reply] = getattr(self, f"_{kind}")
                return handler(request, name, rest)
        return _fail(404, "UNSUPPORTED")

    def _give_token(self, request: HttpRequest) -> Reply:
        query = parse_qs(urlsplit(request.path).query)
        form = parse_qs(request.body.decode())
        self.scopes.append(query.get("scope") or (form.get("scope") or [""])[0].split())
        if self.refresh is not None:
            allowed = form.get("refresh_token") == [self.refresh] and form.get("grant_type") == ["refresh_token"]
        else:
            allowed = self.login is None or request.headers.get("authorization") == _basic(self.login)
        if not allowed:
            return _fail(401, "DENIED")
        return _json({"access_token" if self.refresh else "token": self.token})

    def _manifests(self, request: HttpRequest, name: str, target: str) -> Reply:
        if request.method == "PUT":
            kind = request.headers.get("content-type", "")
            document = json.loads(request.body)
            there = self.repository(name)
            needed = [] if "manifests" in document else [document["config"], *document["layers"]]
            missing = [blob["digest"] for blob in needed if blob["digest"] not in there.blobs]
            missing += [m["digest"] for m in document.get("manifests", []) if m["digest"] not in there.manifests]
            if missing:
                return _fail(400, "MANIFEST_BLOB_UNKNOWN")
            made = self.add_manifest(name, None if ":" in target else target, request.body, kind)
            if ":" in target and target != made:
                return _fail(400, "DIGEST_INVALID")
            headers = {"Docker-Content-Digest": made, "Location": f"/v2/{name}/manifests/{made}"}
            if "subject" in document and self.referrers_api:
                headers["OCI-Subject"] = document["subject"]["digest"]
            return Reply(status=201, headers=headers)
        if name not in self.repositories:
            return _fail(404, "NAME_UNKNOWN")
        there = self.repositories[name]
        found = target if ":" in target else there.tags.get(target, "")
        if found not in there.manifests:
            return _fail(404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            if ":" in target:
                del there.manifests[target]
                there.tags = {tag: value for tag, value in there.tags.items() if value != target}
            else:
                del there.tags[target]
            return Reply(status=202)
        data, kind = there.manifests[found]
        return Reply(data, headers={"Content-Type": kind, "Docker-Content-Digest": found})

    def _blobs(self, request: HttpRequest, name: str, target: str) -> Reply:
        there = self.repositories.get(name, Repository())
        if target not in there.blobs:
            return _fail(404, "BLOB_UNKNOWN")
        if request.method == "DELETE":
            del there.blobs[target]
            return Reply(status=202)
        data = there.blobs[target]
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": target}
        begin = request.headers.get("range", "")
        if begin:
            start = int(begin.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                return _fail(416, "SIZE_INVALID")
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Reply(data[start:], 206, headers)
        return Reply(data, headers=headers)

    def _tags(self, request: HttpRequest, name: str, _rest: str) -> Reply:
        if name not in self.repositories:
            return _fail(404, "NAME_UNKNOWN")
        query = parse_qs(urlsplit(request.path).query)
        last = query.get("last", [""])[0]
        tags = [tag for tag in sorted(self.repositories[name].tags) if tag > last]
        headers = {}
        if len(tags) > self.page:
            tags = tags[: self.page]
            headers["Link"] = f'</v2/{name}/tags/list?last={tags[-1]}>; rel="next"'
        return _json({"name": name, "tags": tags}, headers)

    def _referrers(self, request: HttpRequest, name: str, target: str) -> Reply:
        if not self.referrers_api:
            return _fail(404, "UNSUPPORTED")
        entries = []
        for made, (data, kind) in self.repositories.get(name, Repository()).manifests.items():
            document = json.loads(data)
            if document.get("subject", {}).get("digest") == target:
                artifact = document.get("artifactType") or document["config"]["mediaType"]
                entries.append({"mediaType": kind, "digest": made, "size": len(data), "artifactType": artifact})
        query = parse_qs(urlsplit(request.path).query)
        begin = int(query.get("from", ["0"])[0])
        headers = {"Content-Type": INDEX}
        if len(entries) > begin + self.page:
            headers["Link"] = f'</v2/{name}/referrers/{target}?from={begin + self.page}>; rel="next"'
        shown = entries[begin : begin + self.page]
        return _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": shown}, headers)

    def _upload(self, request: HttpRequest, name: str, session: str) -> Reply:
        query = {key: values[0] for key, values in parse_qs(urlsplit(request.path).query).items()}
        there = self.repository(name)
        if request.method == "POST":
            origin = self.repositories.get(query.get("from", ""), Repository())
            if self.mounts and query.get("mount") in origin.blobs:
                there.blobs[query["mount"]] = origin.blobs[query["mount"]]
                return Reply(status=201, headers={"Location": f"/v2/{name}/blobs/{query['mount']}"})
            session = str(len(self.uploads) + 1)
            self.uploads[session] = bytearray()
            headers = {"Location": f"/v2/{name}/blobs/uploads/{session}?state=0", "Range": "0-0"}
            if self.minimum_chunk:
                headers["OCI-Chunk-Min-Length"] = str(self.minimum_chunk)
            return Reply(status=202, headers=headers)
        if session not in self.uploads:
            return _fail(404, "BLOB_UPLOAD_UNKNOWN")
        kept = self.uploads[session]
        where = {"Location": f"/v2/{name}/blobs/uploads/{session}?state={len(kept)}"}
        if request.method == "DELETE":
            del self.uploads[session]
            return Reply(status=204)
        if request.method == "GET":
            return Reply(status=204, headers={**where, "Range": f"0-{len(kept) - 1}"} if kept else where)
        begin = request.headers.get("content-range", f"{len(kept)}-").partition("-")[0]
        if request.body and int(begin) != len(kept):
            return Reply(status=416, headers={**where, "Range": f"0-{max(0, len(kept) - 1)}"})
        kept += request.body
        if request.method == "PATCH":
            where = {"Location": f"/v2/{name}/blobs/uploads/{session}?state={len(kept)}"}
            return Reply(status=202, headers={**where, "Range": f"0-{len(kept) - 1}"})
        if digest(bytes(kept)) != query.get("digest"):
            return _fail(400, "DIGEST_INVALID")
        del self.uploads[session]
        there.blobs[query["digest"]] = bytes(kept)
        return Reply(status=201, headers={"Location": f"/v2/{name}/blobs/{query['digest']}"})


def _basic(login: Sequence[str]) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()


def _json(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(json.dumps(document).encode(), headers={"Content-Type": "application/json", **(headers or {})})


def _fail(status: int, code: str, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
    return Reply(body, status, {"Content-Type": "application/json", **(headers or {})})

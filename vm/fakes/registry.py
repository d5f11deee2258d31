"""A registry of container images: what a client needs to pull (OCI Distribution 1.1, "Pull")."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vm.fakes.web import Reply, WebServer

LIST = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """Serves images out of OCI layouts. ``web`` tells who asked, and can be told to misbehave."""

    def __init__(self, web: WebServer) -> None:
        self.web = web
        web.put("/v2/", Reply(b"{}", headers={"Content-Type": "application/json"}))

    def format_name(self, repository: str, tag: str, host: str = "127.0.0.1") -> str:
        """What a client calls an image."""
        return f"{host}:{self.web.port}/{repository}:{tag}"

    def add(self, repository: str, tag: str, layout: Path) -> str:
        """Serve the first image of a layout (OCI image-layout); returns its digest."""
        index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
        first: dict[str, Any] = index["manifests"][0]
        digest = str(first["digest"])
        kind = str(first.get("mediaType", MANIFEST))
        for path in (layout / "blobs" / "sha256").iterdir():
            name = f"sha256:{path.name}"
            self.web.put(f"/v2/{repository}/blobs/{name}", _reply(path.read_bytes(), "application/octet-stream", name))
        for manifest in (tag, digest):
            data = _blob(layout, digest).read_bytes()
            self.web.put(f"/v2/{repository}/manifests/{manifest}", _reply(data, kind, digest))
        if kind == LIST:
            for child in json.loads(_blob(layout, digest).read_text(encoding="utf-8"))["manifests"]:
                data = _blob(layout, child["digest"]).read_bytes()
                where = f"/v2/{repository}/manifests/{child['digest']}"
                self.web.put(where, _reply(data, child["mediaType"], child["digest"]))
        return digest


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _reply(data: bytes, kind: str, digest: str) -> Reply:
    return Reply(data, headers={"Content-Type": kind, "Docker-Content-Digest": digest})

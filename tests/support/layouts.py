"""Image layouts put together by hand, apart from the code under test."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder.oci.image import CONFIG, INDEX, LAYER_GZIP, MANIFEST, make_digest


class Layout:
    """An image layout put together by hand, apart from the code under test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.root / "blobs/sha256" / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": len(data), **more}

    def json(self, value: object, media_type: str, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(value).encode(), media_type, **more)

    def image(
        self,
        layers: list[bytes],
        *,
        change: Callable[[dict[str, Any], dict[str, Any]], None] | None = None,
        **more: Any,
    ) -> None:
        """Add an image; ``change`` may spoil its configuration and manifest."""
        config = {
            "os": "linux",
            "architecture": "amd64",
            "created": "2020-01-01T00:00:00.123456789+01:00",
            "config": None,
            "rootfs": {"type": "layers", "diff_ids": [make_digest(layer) for layer in layers]},
            "history": [{"created_by": "x"} for _ in layers] + [{"empty_layer": True}],
        }
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "layers": [self.blob(gzip.compress(layer), LAYER_GZIP) for layer in layers],
        }
        if change is not None:
            change(config, manifest)
        manifest.setdefault("config", self.json(config, CONFIG))
        self.manifests.append(self.json(manifest, MANIFEST, **more))

    def finish(self, **index: Any) -> Path:
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests, **index}
        (self.root / "index.json").write_text(json.dumps(document))
        (self.root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return self.root


def tar_of(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_wh_", ".wh."))
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()

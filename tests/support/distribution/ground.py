"""A registry and a repository in it, for one check; and where the checks of each category are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.oci.registry.client import Client
from builder.oci.registry.copy import Copied, copy_image
from builder.oci.registry.ends import RegistryDestination, RegistryOrigin
from builder.oci.registry.manifest import Manifest, make_manifest
from builder.oci.registry.open import RegistryOptions, open_client
from builder.oci.registry.pull import pull_image
from builder.oci.registry.push import Publisher
from firstboot.config.oci.manifests import (
    DOCKER_MANIFEST,
    INDEX,
    Descriptor,
    Platform,
)
from tests.support.registry import ImageParts, describe, digest, make_index

Check = Callable[["Ground"], None]
CHECKS: dict[str, list[Check]] = {"pull": [], "push": [], "discovery": [], "management": []}
BINARY = "application/octet-stream"
BIG = bytes(range(251)) * 40_000  # 10 MB, more than is sent with one request


@dataclass(frozen=True)
class Ground:
    """A registry and a repository in it.

    Attributes:
        deletes_tags: whether a tag can be deleted without what it names.
    """

    host: str
    repository: str
    options: RegistryOptions
    directory: Path
    deletes_tags: bool = True

    def open(self, target: str = "", repository: str | None = None) -> Client:
        return open_client(f"{self.host}/{repository or self.repository}{target}", self.options, mirrors=False)

    def publish(self, repository: str | None = None, chunk: int = 0) -> AbstractContextManager[Publisher]:
        return _Opened(self.open(repository=repository), chunk)

    def upload(self, data: bytes, *, chunk: int = 0, mount: tuple[str, ...] = ()) -> bool:
        with self.publish(chunk=chunk) as publisher:
            return publisher.upload_blob(blob_of(data), lambda start: iter([data[start:]]), mount=mount)

    def push(self, image: ImageParts, *tags: str, repository: str | None = None) -> Manifest:
        manifest = make_manifest(image.manifest, image.media_type)
        with self.publish(repository) as publisher:
            for data in image.blobs:
                publisher.upload_blob(blob_of(data), lambda start, data=data: iter([data[start:]]))  # type: ignore[misc]
            for tag in tags or (None,):
                publisher.put_manifest(manifest, tag)
        return manifest

    def push_index(self, *images: tuple[ImageParts, str], tag: str = "index", media_type: str = INDEX) -> Manifest:
        for image, _ in images:
            self.push(image)
        manifest = make_manifest(make_index(*images, mediaType=media_type), media_type)
        with self.publish() as publisher:
            publisher.put_manifest(manifest, tag)
        return manifest

    def pull(self, target: str, architecture: str = "amd64") -> Any:
        store = Store.open(self.directory / "store")
        with self.open(target) as client:
            return pull_image(client, store, QuietConsole(), architecture=architecture)

    def copy(self, source: str, target: str, *tags: str, platform: Platform | None = None) -> Copied:
        with (
            open_client(f"{self.host}/{source}", self.options) as client,
            open_client(f"{self.host}/{target}", self.options, mirrors=False) as out,
        ):
            destination = RegistryDestination(Publisher(out), tags)
            return copy_image(RegistryOrigin(client), destination, QuietConsole(), platform=platform)


class _Opened:
    def __init__(self, client: Client, chunk: int) -> None:
        self._client, self._chunk = client, chunk

    def __enter__(self) -> Publisher:
        return Publisher(self._client.__enter__(), chunk=self._chunk)

    def __exit__(self, *how: Any) -> None:
        self._client.__exit__(*how)


def blob_of(data: bytes) -> Descriptor:
    return Descriptor(BINARY, digest(data), len(data))


def image_of(*layers: bytes, **more: Any) -> ImageParts:
    return ImageParts.make(*(layers or (b"a layer", b"another layer")), **more)


def referring(image: ImageParts, text: bytes, kind: str = "application/x-notes") -> ImageParts:
    return image_of(text, subject=describe(image.manifest, image.media_type), artifactType=kind)


def replace_size(blob: Descriptor, size: int) -> Descriptor:
    return blob._replace(size=size)


def docker_image() -> ImageParts:
    image = image_of(media_type=DOCKER_MANIFEST)
    document = json.loads(image.manifest)
    document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    for layer in document["layers"]:
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    return replace(image, manifest=json.dumps(document).encode())


def check(category: str) -> Callable[[Check], Check]:
    def keep(function: Check) -> Check:
        CHECKS[category].append(function)
        return function

    return keep


pull, push, discovery, management = (check(category) for category in CHECKS)


def make_ground(host: str, options: RegistryOptions, function: Check, directory: Path, **how: Any) -> Ground:
    """A repository of its own for a check."""
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:8]
    return Ground(host, f"checks/{function.__name__}-{name}", options, directory, **how)

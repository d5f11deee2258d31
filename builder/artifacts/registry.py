"""An artifact in a registry: one layer of a manifest, as oras and others push files (image-spec, artifacts)."""

from __future__ import annotations

from builder.core.console import Console
from builder.core.errors import InputError, SourceError
from builder.core.store import Store
from builder.oci.registry.client import Client
from builder.oci.registry.open import open_client
from builder.oci.registry.pull import fetch_blobs
from firstboot.config.artifact import find_parts
from firstboot.config.oci.manifests import EMPTY, TITLE, BadManifest, Descriptor

MAX_SIZE = 32 << 30  # bytes, as of files at URLs
ANY = "application/octet-stream"


def fetch_layer(url: str, arch: str, locked: tuple[str, int] | None, store: Store, console: Console) -> str:
    """Bring the file that ``oci://HOST/NAME:TAG`` or ``@sha256:DIGEST`` names into the store; returns its hash.

    Args:
        url: with ``#TITLE`` where the artifact has several files.
        locked: the file's hash and size, where they are known: then nobody is asked what the tag means.

    Raises:
        InputError: there is no such artifact, or it is not said which of its files is meant.
        SourceError: the registry does not answer, or what it sends is not what was promised.
    """
    parts = find_parts(url)
    assert parts is not None, "the definition was checked"
    tag, digest = (f"{mark}{parts[key]}" if parts[key] else "" for mark, key in ((":", "tag"), ("@", "digest")))
    with open_client(f"{parts['host']}/{parts['name']}{tag}{digest}") as client:
        if locked is None:
            layer = _choose_layer(client, parts["title"], arch)
        else:
            layer = Descriptor(ANY, f"sha256:{locked[0]}", locked[1])
        if not layer.digest.startswith("sha256:") or layer.size > MAX_SIZE:
            raise SourceError(f"{url} is {layer.digest} of {layer.size} bytes, which cannot be kept")
        fetch_blobs(client, [layer], store, console)
        return layer.hex


def _choose_layer(client: Client, title: str | None, arch: str) -> Descriptor:
    try:
        manifest = client.read_manifest()
        if manifest.is_index:
            _, manifest = client.read_image_manifest(f"linux/{arch}")
        layers = [layer for layer in manifest.list_blobs()[1:] if layer.media_type != EMPTY]
    except BadManifest as error:
        raise SourceError(f"{client.reference} is no artifact: the manifest {error}") from None
    titles = [layer.annotations.get(TITLE, "") for layer in layers]
    suitable = [layer for layer, name in zip(layers, titles, strict=True) if title in (None, name)]
    if len(suitable) == 1:
        return suitable[0]
    if not suitable:
        raise InputError(f"{client.reference} has no file {title or ''}".rstrip(), details=titles[:20])
    raise InputError(
        f"{client.reference} has {len(suitable)} files, and nothing says which is meant",
        details=titles[:20],
        hint="append '#' and the file's title to the URL",
    )

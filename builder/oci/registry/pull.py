"""An image of a registry becomes an OCI image layout in the store.

Its blobs are blobs of the store, so they are fetched once, go on where an earlier run stopped, and can be carried by
``store export``. The layout is ``images/HEX`` of the manifest's digest: its files are hard links of the store's, and
the manifest's bytes, and with them its digest, are the registry's.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from builder.core.console import Console, format_size
from builder.core.errors import CapabilityError, SourceError
from builder.core.files import write_file
from builder.core.http import Stopped
from builder.core.partial import claim_partial, keep_partial, measure_partial
from builder.core.store import Store
from builder.core.store_errors import explain_store_errors
from builder.oci.facts import LAYOUT_VERSION, MAX_LAYERS
from builder.oci.registry.client import Client
from builder.oci.registry.manifest import Manifest, make_manifest
from builder.oci.registry.reference import Reference
from firstboot.config.oci.manifests import REF_NAME, BadManifest, Descriptor, Platform

JOBS = 4
ROOM = "images"
SPARE = 16 << 20  # bytes that are left on the disk


@dataclass(frozen=True)
class PulledImage:
    """An image in the store.

    Attributes:
        reference: the repository by the digest of the index, or of the manifest where there is none: what to lock.
        layout: an OCI image layout with this one image.
        index: what the name led to, if it was for several platforms.
        blobs: manifest, configuration and layers.
    """

    reference: Reference
    layout: Path
    index: Descriptor | None
    manifest: Descriptor
    blobs: tuple[Descriptor, ...]


def pull_image(
    client: Client,
    store: Store,
    console: Console,
    *,
    architecture: str,
    digest: str | None = None,
) -> PulledImage:
    """Bring the image for a platform into the store.

    Args:
        architecture: Debian's name, or a platform like ``linux/arm/v7``.
        digest: what to pull in place of the client's reference.

    Raises:
        InputError: there is no such image, or none for this platform.
        SourceError: it cannot be had, or is not what its digests say.
        CapabilityError: the store is full or cannot be written.
    """
    platform = architecture if "/" in architecture else f"linux/{architecture}"
    index, manifest = client.read_image_manifest(Platform(*platform.split("/", 2)), digest)
    pinned = client.reference.pin((index or manifest).digest)
    blobs = list_image_blobs(manifest, str(client.reference.pin(manifest.digest)))
    with explain_store_errors(store):
        for document in (index, manifest):
            if document is not None:
                store.add_bytes(document.data)
    fetch_blobs(client, blobs, store, console)
    descriptor = manifest.descriptor
    layout = lay_out_image(store, descriptor, ref_name=str(client.reference))
    return PulledImage(pinned, layout, index.descriptor if index else None, descriptor, (descriptor, *blobs))


def list_image_blobs(manifest: Manifest, name: str) -> tuple[Descriptor, ...]:
    """Configuration and layers of an image that can be kept in the store.

    Raises:
        SourceError: it is no image, or none that can be used.
    """
    try:
        blobs = manifest.list_blobs()
    except BadManifest as error:
        raise SourceError(f"{name}: the manifest {error}") from None
    if len(blobs) - 1 > MAX_LAYERS:
        raise SourceError(f"{name} has {len(blobs) - 1} layers; {MAX_LAYERS} are possible")
    if any(not blob.digest.startswith("sha256:") for blob in (manifest.descriptor, *blobs)):
        raise SourceError(f"{name} has digests other than sha256, by which nothing is kept here")
    return blobs


def list_blobs(store: Store, digest: str) -> tuple[Descriptor, ...]:
    """Manifest, configuration and layers of an image that is in the store: what to lock and to carry.

    Raises:
        SourceError: the manifest is not there, or is none.
    """
    manifest = read_stored_manifest(store, digest)
    return (manifest.descriptor, *list_image_blobs(manifest, digest))


def read_stored_manifest(store: Store, digest: str) -> Manifest:
    """A manifest or index that is in the store, compared with its digest.

    Raises:
        SourceError: it is not there, or is none.
    """
    path = store.locate_blob(digest.partition(":")[2])
    try:
        return make_manifest(path.read_bytes(), digest=digest)
    except FileNotFoundError:
        raise SourceError(
            f"the manifest {digest} is not in the store", hint="run once without --offline, or 'build-os store import'"
        ) from None
    except Exception as error:
        raise SourceError(f"what the store has as {digest} is no manifest: {error}") from error


def lay_out_image(store: Store, manifest: Descriptor, *, ref_name: str) -> Path:
    """The layout of an image whose blobs are in the store, made if it is not there.

    Raises:
        SourceError: a blob is not in the store.
        CapabilityError: the store cannot be written.
    """
    blobs = list_blobs(store, manifest.digest)
    missing = [blob for blob in blobs if not store.has_blob(blob.hex, blob.size)]
    if missing:
        raise SourceError(
            f"{len(missing)} of {len(blobs)} blobs of {ref_name} are not in the store",
            details=[blob.digest for blob in missing[:20]],
            hint="run once without --offline, or 'build-os store import'",
        )
    layout = store.root / ROOM / manifest.hex
    entry = {
        "mediaType": blobs[0].media_type,
        "digest": manifest.digest,
        "size": manifest.size,
        "annotations": {REF_NAME: ref_name},
    }
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    with explain_store_errors(store):
        if not _is_whole(layout, blobs, store):
            _make_layout(layout, blobs, store)
        write_file(layout / "index.json", json.dumps(index, sort_keys=True))
    return layout


def _is_whole(layout: Path, blobs: Sequence[Descriptor], store: Store) -> bool:
    """Whether a layout has just the store's own files."""
    try:
        return (
            all((layout / "blobs/sha256" / blob.hex).samefile(store.locate_blob(blob.hex)) for blob in blobs)
            and (layout / "oci-layout").is_file()
        )
    except OSError:
        return False


def _make_layout(layout: Path, blobs: Sequence[Descriptor], store: Store) -> None:
    layout.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{layout.name[:12]}.", dir=layout.parent))
    try:
        temporary.chmod(0o755)
        (temporary / "blobs/sha256").mkdir(parents=True)
        for blob in {blob.hex: blob for blob in blobs}.values():
            _link_or_copy(store.locate_blob(blob.hex), temporary / "blobs/sha256" / blob.hex)
        write_file(temporary / "oci-layout", json.dumps(LAYOUT_VERSION))
        if layout.exists():
            shutil.rmtree(layout, ignore_errors=True)
        temporary.rename(layout)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _link_or_copy(blob: Path, target: Path) -> None:
    try:
        os.link(blob, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        shutil.copyfile(blob, target, follow_symlinks=False)  # a store apart has its blobs elsewhere


def fetch_blobs(client: Client, blobs: Sequence[Descriptor], store: Store, console: Console) -> int:
    """Make sure that blobs are in the store; returns how many bytes were downloaded.

    Raises:
        SourceError: one cannot be had, or is not what its digest says; what came of it stays for the next run.
        CapabilityError: the store is full or cannot be written.
    """
    missing = {blob.digest: blob for blob in blobs if not store.has_blob(blob.hex, blob.size)}
    total = sum(blob.size for blob in missing.values())
    kept = sum(min(measure_partial(store, blob.hex), blob.size) for blob in missing.values())
    _check_room(store, total - kept, str(client.reference))
    guard = threading.Lock()
    counts = {"have": 0, "received": 0}

    def progress(count: int) -> None:
        with guard:
            counts["have"] += count
            have = counts["have"]
        console.report_progress(have, total, "B")

    def fetch(blob: Descriptor) -> None:
        what = f"{client.reference.name}@{blob.digest}"
        with (
            explain_store_errors(store),
            claim_partial(store, blob.hex, blob.size, what, client.stop, console) as file,
        ):
            if file is None:  # another build fetched it while we waited
                progress(blob.size)
                return
            received = client.download_blob(blob, file, progress)
            with guard:
                counts["received"] += received
            keep_partial(store, blob.hex, file)

    # Large ones first, or the last of them is waited for alone.
    ordered = sorted(missing.values(), key=lambda blob: (-blob.size, blob.digest))
    run_stoppable([partial(fetch, blob) for blob in ordered], client.stop, JOBS)
    return counts["received"]


def _check_room(store: Store, total: int, name: str) -> None:
    status = os.statvfs(store.root)
    free = status.f_bavail * status.f_frsize
    if total and total + SPARE > free:
        raise CapabilityError(
            f"{name} needs {format_size(total)}, and the store {store.root} has room for {format_size(free)}",
            hint="'build-os cache clear' makes room; BUILD_OS_CACHE can name a larger disk",
        )


def run_stoppable(functions: Sequence[Callable[[], None]], stop: threading.Event, jobs: int) -> None:
    """Call functions beside each other; when one fails, the others are told to stop.

    Daemon threads: after Ctrl-C nobody waits for a registry that has gone silent.

    Raises:
        BaseException: of the first that failed.
    """
    todo = list(reversed(functions))
    failures: list[BaseException] = []
    guard = threading.Lock()

    def work() -> None:
        while not stop.is_set():
            with guard:
                if not todo:
                    return
                function = todo.pop()
            try:
                function()
            except Stopped:
                return
            except BaseException as error:
                failures.append(error)
                stop.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(functions)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        raise
    if failures:
        raise failures[0]
    if stop.is_set():
        raise SourceError("the transfer was stopped")

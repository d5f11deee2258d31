"""An image from one place to another, its bytes and so its digests as they are: blobs at once, then manifests."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from builder.core.console import Console
from builder.core.errors import InputError, SourceError
from builder.oci.registry.client import MAX_NESTING
from builder.oci.registry.ends import Destination, Origin
from builder.oci.registry.manifest import Manifest
from builder.oci.registry.pull import JOBS, run_stoppable
from firstboot.config.oci.manifests import BadManifest, Descriptor, Platform, find_for_platform
from firstboot.config.oci.reference import TAG

MAX_MANIFESTS = 1000  # of all platforms of an image


@dataclass(frozen=True)
class Copied:
    """What was done. Sizes in bytes.

    Attributes:
        digest: of the manifest or index at the destination.
        copied, there, mounted: how many blobs were sent, were there already, and were taken from another repository.
    """

    digest: str
    media_type: str
    size: int
    copied: int
    there: int
    mounted: int


def copy_image(
    origin: Origin,
    destination: Destination,
    console: Console,
    *,
    platform: Platform | None = None,
    expected: str | None = None,
    stop: threading.Event | None = None,
) -> Copied:
    """Copy an image.

    Args:
        platform: the one of an index to copy; ``None``: the whole index.
        expected: the digest that it must have.
        stop: set when something fails; the clients of both sides may have it, too.

    Raises:
        InputError: the origin has no such image, or the destination cannot take it.
        SourceError: something is not what its digest says, or a registry does not do its part.
    """
    root = origin.read_root()
    if platform is not None:
        root = choose_manifest(root, origin, platform)
    if expected is not None and root.digest != expected:
        raise InputError(f"{origin.name} is {root.digest}, not {expected}, so it cannot be copied there")
    manifests = list(_walk(root, origin))
    blobs: dict[str, Descriptor] = {}
    for manifest in manifests:
        if not manifest.is_index:
            blobs.update({blob.digest: blob for blob in _list_blobs(manifest, origin)})
    total = sum(blob.size for blob in blobs.values())
    guard = threading.Lock()
    have = 0
    counts = {"copied": 0, "there": 0, "mounted": 0}
    sizes = []

    def progress(count: int) -> None:
        nonlocal have
        with guard:
            have += count
            now = have
        console.report_progress(now, total, "B")

    def copy(blob: Descriptor) -> None:
        if destination.has_blob(blob):
            progress(blob.size)
            kind = "there"
        else:
            kind = "mounted" if destination.write_blob(blob, origin, progress) else "copied"
        with guard:
            counts[kind] += 1
            if kind == "copied":
                sizes.append(blob.size)

    # Large ones first, or the last of them is waited for alone.
    ordered = sorted(blobs.values(), key=lambda blob: (-blob.size, blob.digest))
    run_stoppable([partial(copy, blob) for blob in ordered], stop or threading.Event(), JOBS)
    for manifest in reversed(manifests[1:]):
        destination.write_manifest(manifest)
    destination.finish(root)
    return Copied(root.digest, root.descriptor.media_type, sum(sizes), **counts)


def parse_tags(texts: Sequence[str]) -> tuple[str, ...]:
    """Tags of a command line.

    Raises:
        InputError: one of them is none.
    """
    for text in texts:
        if not re.fullmatch(TAG, text):
            raise InputError(f"{text!r} is no tag", hint="one has up to 128 of A-Z a-z 0-9 _ . -")
    return tuple(dict.fromkeys(texts))


def choose_manifest(root: Manifest, origin: Origin, platform: Platform) -> Manifest:
    """The image for a platform, if there are several.

    Raises:
        InputError: there is none.
    """
    for _ in range(MAX_NESTING):
        if not root.is_index:
            return root
        entries = _list_entries(root, origin)
        entry = find_for_platform(entries, platform)
        if entry is None:
            known = sorted({str(e.platform) for e in entries if e.platform and e.platform.os != "unknown"})
            raise InputError(
                f"{origin.name} has no image for {platform}",
                details=[f"it has images for {', '.join(known)}"] if known else ["its index names no platform"],
                hint="--platform names another, --all copies every one",
            )
        root = origin.read_manifest(entry)
    raise SourceError(f"{origin.name} is an index in an index in an index, deeper than {MAX_NESTING}")


def _walk(root: Manifest, origin: Origin) -> Iterator[Manifest]:
    """The manifest, and all that it leads to; each once, an index before what is in it."""
    seen = {root.digest}
    level = [root]
    for _ in range(MAX_NESTING + 1):
        following: list[Manifest] = []
        for manifest in level:
            yield manifest
            for entry in _list_entries(manifest, origin) if manifest.is_index else ():
                if entry.digest not in seen:
                    seen.add(entry.digest)
                    if len(seen) > MAX_MANIFESTS:
                        raise SourceError(f"{origin.name} has more than {MAX_MANIFESTS} manifests")
                    following.append(origin.read_manifest(entry))
        level = following
        if not level:
            return
    raise SourceError(f"{origin.name} is an index in an index in an index, deeper than {MAX_NESTING}")


def _list_entries(index: Manifest, origin: Origin) -> tuple[Descriptor, ...]:
    try:
        return index.list_manifests()
    except BadManifest as error:
        raise SourceError(f"{origin.name}: the index {error}") from None


def _list_blobs(manifest: Manifest, origin: Origin) -> tuple[Descriptor, ...]:
    try:
        return manifest.list_blobs()
    except BadManifest as error:
        raise SourceError(f"{origin.name}: the manifest {error}") from None

"""Images in the lock: of a registry by the digest that its tag led to once, beside the definition by their own.

A build asks no registry for what the store has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.bundle import Carried
from builder.core.console import Console
from builder.core.errors import InputError, SourceError
from builder.core.files import hash_file
from builder.core.store import Store
from builder.debian.lock import Lock, LockedImage
from builder.definition.resolved import OciLayout, RegistryImage, Resolved, ResolvedContainer, list_containers
from builder.definition.where import describe_at_entry

if TYPE_CHECKING:
    from builder.oci.registry.client import Client

# What talks to registries, and what reads layouts, is imported where there is an image: most builds have none from
# elsewhere, or find everything as it should be.


@dataclass(frozen=True)
class NamedImage:
    """An image of a definition.

    Attributes:
        name: in the lock: the container's, or ``container:NAME`` for what a container definition is made from.
        path: the file that names it.
        entry: of the list ``containers`` there; empty where the file's own ``from`` is meant.
    """

    name: str
    image: OciLayout | RegistryImage
    path: Path
    entry: str = ""

    def describe(self, message: str, hint: str | None = None) -> str:
        """A complaint, shown at the line that names the image."""
        keys = ("containers",) if self.entry else ("from",)
        return describe_at_entry(self.path, keys, self.entry, "image", message, hint)


def list_images(resolved: Resolved | ResolvedContainer) -> list[NamedImage]:
    """All images that a definition takes from elsewhere."""
    images = []
    for container in resolved.containers if isinstance(resolved, Resolved) else ():
        if not isinstance(container.image, ResolvedContainer):
            images.append(NamedImage(container.name, container.image, resolved.path, container.name))
    for definition in list_containers(resolved):
        if isinstance(definition.base, OciLayout | RegistryImage):
            images.append(NamedImage(definition.package_set.name, definition.base, definition.path))
    return images


def find_stale_images(lock: Lock, resolved: Resolved | ResolvedContainer) -> list[str]:
    """What the definition says of images that the lock does not, each a line. No registry is asked.

    Raises:
        InputError: one beside the definition is no sound image.
    """
    rows = {row.name: row for row in lock.images}
    lines = []
    for named in list_images(resolved):
        row = rows.pop(named.name, None)
        if isinstance(named.image, OciLayout):
            digest = _find_digest(named.image, resolved.arch)
            if row is None or row != LockedImage(named.name, digest):
                lines.append(f"{named.name}: {digest}, locked {row.digest if row else 'without one'}")
        elif row is None:
            lines.append(f"{named.name}: {named.image.reference} is new")
        elif reason := _compare(named.image, row):
            lines.append(f"{named.name}: {reason}")
    return [*lines, *(f"{name}: is gone" for name in rows)]


def lock_images(
    resolved: Resolved | ResolvedContainer,
    store: Store,
    console: Console,
    old: Lock | None = None,
    update: Sequence[str] | None = (),
    *,
    offline: bool = False,
) -> tuple[LockedImage, ...]:
    """The rows of all images. A tag that was resolved before keeps its digest.

    Args:
        update: the names of images whose tags are resolved anew; ``None``: all.

    Raises:
        InputError: there is no such image, or none for this platform; at the line that names it.
        SourceError: a registry does not answer, or nobody of the keys signed an image.
    """
    known = {row.name: row for row in (old.images if old is not None else ())}
    rows = []
    for named in list_images(resolved):
        row = known.get(named.name)
        if isinstance(named.image, OciLayout):
            digest = _find_digest(named.image, resolved.arch)
            rows.append(LockedImage(named.name, digest))
        elif row is None or _compare(named.image, row) or update is None or named.name in update:
            rows.append(_resolve(named, named.image, resolved.arch, store, console, offline=offline))
        else:
            rows.append(row)
    return tuple(rows)


def fetch_images(
    resolved: Resolved | ResolvedContainer,
    locked: Sequence[LockedImage],
    store: Store,
    console: Console,
    *,
    offline: bool = False,
    only: str | None = None,
) -> None:
    """Make sure that all images of a lock are in the store, with their signatures.

    Args:
        only: the name of the one that is wanted.

    Raises:
        SourceError: one cannot be had, or is missing while ``offline``.
    """
    rows = {row.name: row for row in locked if only in (None, row.name)}
    for named in list_images(resolved):
        row = rows.get(named.name)
        if isinstance(named.image, RegistryImage) and row is not None and _list_missing(row, store):
            _fetch(named, named.image, row, resolved.arch, store, console, offline=offline)


def list_carried_images(lock: Lock, store: Store) -> list[Carried]:
    """The files of a lock's images, to be carried to another store.

    Raises:
        SourceError: a manifest is not in the store.
    """
    from builder.oci.registry.pull import list_blobs  # noqa: PLC0415 - see the top

    files = []
    for row in lock.images:
        if not row.reference:
            continue
        what = f"image {row.name}"
        files += [Carried(blob.hex, blob.size, what) for blob in list_blobs(store, row.digest)]
        for sha256 in (row.index.partition(":")[2], row.signature):
            if sha256:
                files.append(Carried(sha256, store.locate_blob(sha256).stat().st_size, what))
    return files


def _compare(image: RegistryImage, row: LockedImage) -> str:
    """Why a row is not this image's; empty if it is."""
    if image.reference != row.reference:
        return f"is {image.reference}, locked {row.reference or 'as an image beside the definition'}"
    if image.keys and row.key not in map(hash_file, image.keys):
        return "another key must have signed it" if row.key else "a key must have signed it"
    return ""


def _list_missing(row: LockedImage, store: Store) -> list[str]:
    """Which files of a locked image are not in the store."""
    from builder.oci.registry.pull import list_blobs  # noqa: PLC0415 - see the top

    others = [sha256 for sha256 in (row.index.partition(":")[2], row.signature) if sha256]
    if not store.has_blob(row.digest.partition(":")[2]):
        return [row.digest]
    blobs = [blob.hex for blob in list_blobs(store, row.digest) if not store.has_blob(blob.hex, blob.size)]
    return [*blobs, *(sha256 for sha256 in others if not store.has_blob(sha256))]


def _find_digest(layout: OciLayout, arch: str) -> str:
    from builder.oci.layout import find_image  # noqa: PLC0415 - see the top

    return find_image(layout.path, arch, tag=layout.tag).manifest.digest


def _resolve(
    named: NamedImage, image: RegistryImage, arch: str, store: Store, console: Console, *, offline: bool
) -> LockedImage:
    """Ask the registry what a name means now, and whether it is signed; manifests are kept, layers are not fetched."""
    from builder.oci.registry.open import open_client  # noqa: PLC0415 - see the top
    from builder.oci.registry.pull import list_image_blobs  # noqa: PLC0415

    if offline:
        raise _complain(named, "this image is not locked yet, and asking its registry is off")
    with _at_line(named), open_client(image.reference) as client:
        index, manifest = client.read_image_manifest(f"linux/{arch}")
        blobs = list_image_blobs(manifest, image.reference)
        config = client.read_blob(blobs[0])
        _require_platform(image.reference, config, arch)
        for data in (manifest.data, config, *([index.data] if index else [])):
            store.add_bytes(data)
        row = LockedImage(named.name, manifest.digest, image.reference, index.digest if index else "")
        console.note(f"{image.reference} is {manifest.digest}")
        if not image.keys:
            return row
        evidence, key = _find_signature(client, image, row, console)
        return LockedImage(row.name, row.digest, row.reference, row.index, store.add_bytes(evidence), hash_file(key))


def _require_platform(reference: str, config: bytes, arch: str) -> None:
    """Refuse a single manifest of another platform: no index said which it is of."""
    try:
        document = json.loads(config)
        platform = f"{document['os']}/{document['architecture']}"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"{reference} has a configuration that says no platform") from error
    if platform != f"linux/{arch}":
        raise InputError(f"{reference} is for {platform}, and the system is for linux/{arch}")


def _find_signature(client: Client, image: RegistryImage, row: LockedImage, console: Console) -> tuple[bytes, Path]:
    """The evidence that one of the keys signed an image, and which.

    Raises:
        SourceError: none did; names the image, the keys and what was found.
    """
    from builder.images.locked import find_signer  # noqa: PLC0415 - see the top
    from builder.oci.cosign import find_evidence  # noqa: PLC0415
    from builder.signatures.key_file import read_verify_key  # noqa: PLC0415
    from builder.signatures.verify_key import SignatureRefused  # noqa: PLC0415

    digests = [row.digest, *([row.index] if row.index else [])]
    refusals: list[str] = []
    for evidence in find_evidence(client, digests):
        try:
            path = find_signer(evidence, image.keys, digests)
        except SignatureRefused as error:
            refusals.append(str(error))
            continue
        key = read_verify_key(path)
        console.note(f"{image.reference}: signed by the {key.kind} {key.fingerprint} ({path.name})")
        return evidence.encode(), path
    wanted = " or ".join(path.name for path in image.keys)
    there = f"{len(refusals)} signatures found" if refusals else "no signature found"
    raise SourceError(
        f"{image.reference} is not signed by {wanted}",
        details=[there, *dict.fromkeys(refusals)][:20],
        hint=f"looked at the tag {row.digest.replace(':', '-')}.sig and at the referrers in {client.reference.name}",
    )


def _fetch(
    named: NamedImage,
    image: RegistryImage,
    row: LockedImage,
    arch: str,
    store: Store,
    console: Console,
    *,
    offline: bool,
) -> None:
    from builder.oci.cosign import find_evidence  # noqa: PLC0415 - see the top
    from builder.oci.registry.open import open_client  # noqa: PLC0415
    from builder.oci.registry.pull import pull_image  # noqa: PLC0415
    from builder.oci.registry.reference import parse_reference  # noqa: PLC0415

    if offline:
        hint = "run once without --offline, or 'build-os store import' what another machine has"
        raise _complain(named, f"{len(_list_missing(row, store))} files of this image are not in the store", hint)
    reference = parse_reference(image.reference)
    with _at_line(named), open_client(reference) as client, console.open_step(f"fetch {image.reference}"):
        pull_image(client, store, console, architecture=arch, digest=row.digest)
        if row.index and not store.has_blob(row.index.partition(":")[2]):
            store.add_bytes(client.read_manifest(row.index).data)
        if row.signature and not store.has_blob(row.signature):
            for evidence in find_evidence(client, [row.digest, *([row.index] if row.index else [])]):
                if hashlib.sha256(evidence.encode()).hexdigest() == row.signature:
                    store.add_bytes(evidence.encode())
                    return
            raise SourceError(
                f"the signature of {image.reference} that was locked is no longer in its repository",
                hint="'build-os lock --update' takes another by the same keys, if there is one",
            )


@contextmanager
def _at_line(named: NamedImage) -> Iterator[None]:
    """Show what goes wrong at the line that names the image."""
    try:
        yield
    except InputError as error:
        raise InputError(named.describe(error.what, error.hint), details=error.details) from error
    except SourceError as error:
        raise SourceError(named.describe(error.what, error.hint), details=error.details) from error


def _complain(named: NamedImage, message: str, hint: str | None = "run once without --offline") -> SourceError:
    return SourceError(named.describe(message, hint))

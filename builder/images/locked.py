"""An image of a registry as the lock has it, out of the store: verified from its digest and its signature down."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from builder.core.errors import SourceError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import LockedImage
from builder.definition.resolved import RegistryImage
from builder.oci.cosign import Evidence
from builder.oci.image import Image
from builder.oci.layout import read_image
from builder.oci.registry.pull import lay_out_image, read_stored_manifest
from builder.oci.registry.reference import parse_reference
from builder.signatures.key_file import read_verify_key
from builder.signatures.verify_key import KeyFileError, SignatureRefused
from firstboot.config.oci.manifests import BadManifest

HINT = "'build-os lock' asks the registry again"


def read_locked_image(
    row: LockedImage, image: RegistryImage, store: Store, *, architecture: str, name: str, tools: Tools | None = None
) -> Image:
    """An image of a registry, from the store alone. It has the name that the registry gave it.

    Raises:
        SourceError: it is not in the store, is not what the definition pins, or is not signed as it must be.
        InputError, TreeError: :func:`builder.oci.layout.read_image`.
    """
    layout = find_locked_layout(row, image, store)
    carried = read_image(layout, store, architecture=architecture, name=name, tools=tools, digest=row.digest)
    reference = parse_reference(image.reference)
    known = f"{reference.name}:{reference.tag}" if reference.tag else f"{reference.name}@{row.digest}"
    return replace(carried, names=(known,))


def find_locked_layout(row: LockedImage, image: RegistryImage, store: Store) -> Path:
    """The OCI image layout of a locked image, made of the store's blobs if it is not there.

    Raises:
        SourceError: a blob is missing; the lock's digest is not one that the definition's pin leads to; nobody of the
            definition's keys signed it.
    """
    require_pinned(row, image, store)
    require_signed(row, image, store)
    return lay_out_image(store, read_stored_manifest(store, row.digest).descriptor, ref_name=image.reference)


def require_pinned(row: LockedImage, image: RegistryImage, store: Store) -> None:
    """Refuse a manifest that the digest in the definition, if there is one, does not lead to.

    Raises:
        SourceError: it is another image, or the index is not in the store.
    """
    pinned = parse_reference(image.reference).digest
    if pinned is None or pinned == row.digest or row.digest in _list_entries(pinned, store):
        return
    raise SourceError(f"the lock has {row.digest} for {image.reference}, to which that does not lead", hint=HINT)


def require_signed(row: LockedImage, image: RegistryImage, store: Store) -> None:
    """Refuse an image that none of the keys signed, by the signature that was kept when it was locked.

    Raises:
        SourceError: there is none, or it is by nobody of them.
    """
    if not image.keys:
        return
    if not row.signature or not store.has_blob(row.signature):
        raise SourceError(f"{image.reference} has no signature in the store", hint=HINT)
    data = store.locate_blob(row.signature).read_bytes()
    if hashlib.sha256(data).hexdigest() != row.signature:
        raise SourceError(f"the signature of {image.reference} in the store is damaged", hint=HINT)
    digests = [row.digest]
    if row.index and row.digest in _list_entries(row.index, store):
        digests.append(row.index)
    try:
        find_signer(Evidence.decode(data), image.keys, digests)
    except SignatureRefused as error:
        raise SourceError(f"{image.reference} is not signed as it must be: {error}", hint=HINT) from error


def find_signer(evidence: Evidence, keys: Sequence[Path], digests: Sequence[str]) -> Path:
    """The key that made a signature of one of these manifests.

    Raises:
        SignatureRefused: none of them did; says of each why.
        SourceError: a key cannot be read any more.
    """
    reasons = []
    for path in keys:
        try:
            evidence.verify(read_verify_key(path), digests)
        except KeyFileError as error:
            raise SourceError(f"the key {path} {error}") from error
        except SignatureRefused as error:
            reasons.append(str(error))
            continue
        return path
    raise SignatureRefused("; ".join(dict.fromkeys(reasons)))


def _list_entries(digest: str, store: Store) -> list[str]:
    """The manifests that an index in the store lists; of what is none, nothing."""
    manifest = read_stored_manifest(store, digest)
    try:
        return [entry.digest for entry in manifest.list_manifests()] if manifest.is_index else []
    except BadManifest as error:
        raise SourceError(f"the index {digest} {error}") from error

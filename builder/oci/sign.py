"""An image of a registry is signed by a key as ``cosign sign --key`` does: at the tag ``sha256-HEX.sig``.

Source: cosign, SIGNATURE_SPEC.md. The manifest there has a payload of "simple signing" for each signature; what others
signed stays.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.core.errors import InputError, SourceError
from builder.core.files import read_bounded
from builder.oci.cosign import PAYLOAD, SIGNATURE, Evidence, find_evidence, make_payload
from builder.oci.image import CONFIG, MANIFEST, make_canonical_json, make_digest
from builder.oci.registry.client import MissingImageError
from builder.oci.registry.manifest import make_manifest
from builder.oci.registry.push import Publisher
from builder.signatures.pem import SigningKey, parse_private_key
from builder.signatures.verify_key import KeyFileError, SignatureRefused
from firstboot.config.oci.manifests import Descriptor

MAX_KEY_FILE = 1 << 20  # bytes
SIGSTORE = b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"


def read_signing_key(path: Path, password: str | None) -> SigningKey:
    """A private key in PEM (PKCS #8).

    Args:
        password: of an encrypted one.

    Raises:
        InputError: there is none that can sign.
    """
    try:
        data = read_bounded(path, MAX_KEY_FILE)
    except OSError as error:
        raise InputError(f"the key {path} cannot be read: {error.strerror}") from error
    if SIGSTORE in data or b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----" in data:
        raise InputError(
            f"the key {path} is encrypted in a way of cosign's own, which is not read here",
            # cosign 2.5.0 refuses to import ECDSA and RSA: "unsupported public key type".
            hint="'openssl genpkey -algorithm ED25519' makes one that both can use (cosign import-key-pair)",
        )
    try:
        return parse_private_key(data, password.encode() if password else None)
    except KeyFileError as error:
        hint = "COSIGN_PASSWORD has the password of an encrypted key" if b"ENCRYPTED" in data else None
        raise InputError(f"the key {path} {error}", hint=hint) from error


def push_signature(publisher: Publisher, digest: str, key: SigningKey) -> str | None:
    """Sign a manifest or index that is in a repository, beside the signatures that it has.

    Returns:
        The digest of the manifest with the signatures; ``None`` if the key's is there already.

    Raises:
        SourceError: the registry does not answer, does not take it, or has something else in the signature's place.
    """
    if any(_is_by(key, digest, evidence) for evidence in find_evidence(publisher.client, [digest])):
        return None
    payload = make_payload(publisher.name, digest)
    own = {
        "mediaType": PAYLOAD,
        "digest": _upload(publisher, payload, PAYLOAD),
        "size": len(payload),
        "annotations": {SIGNATURE: base64.b64encode(key.sign(payload)).decode()},
    }
    tag = f"{digest.replace(':', '-')}.sig"
    try:
        there = publisher.client.read_manifest(tag)
    except MissingImageError:
        layers = [own]
    else:
        if there.is_index or not isinstance(there.document.get("layers"), list):
            raise SourceError(f"{publisher.name}:{tag} is in the place of signatures, and has none", hint="delete it")
        layers = [*there.document["layers"], own]
    config = make_canonical_json(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": _upload(publisher, config, CONFIG), "size": len(config)},
        "layers": layers,
    }
    manifest = make_manifest(make_canonical_json(document))
    publisher.put_manifest(manifest, tag)
    return manifest.digest


def _is_by(key: SigningKey, digest: str, evidence: Evidence) -> bool:
    try:
        evidence.verify(key.public, [digest])
    except SignatureRefused:
        return False
    return True


def _upload(publisher: Publisher, data: bytes, media_type: str) -> str:
    """Bring a small blob; returns its digest."""
    blob = Descriptor(media_type, make_digest(data), len(data))

    def read(start: int) -> Iterator[bytes]:
        yield data[start:]

    if not publisher.has_blob(blob):
        publisher.upload_blob(blob, read)
    return blob.digest

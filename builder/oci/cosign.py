"""Signatures of images in cosign's formats, by a key: found in the image's repository, kept, and verified again.

Three places are looked at:

* the tag ``sha256-HEX.sig``, a manifest whose layers are payloads of "simple signing" (cosign, SIGNATURE_SPEC.md);
* referrers (distribution-spec 1.1) with the artifact type of such a manifest;
* referrers that are Sigstore bundles (protobuf-specs, bundle v0.3): a DSSE envelope with an in-toto statement.

What is signed names the manifest, or the index that it is from, by digest. Certificates and transparency logs are not
looked at: the key is the user's word for who may sign.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from builder.core.errors import SourceError
from builder.oci.registry.client import Client, MissingImageError
from builder.oci.registry.listing import list_referrers
from builder.signatures.verify_key import SignatureRefused, VerifyKey
from firstboot.config.oci.manifests import BadManifest, Descriptor

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
SIGNATURE_TYPE = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE_TYPES = ("application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.3")
STATEMENT = "application/vnd.in-toto+json"
SIGNED = "https://sigstore.dev/cosign/sign/v1"
IDENTITY = "cosign container image signature"
MAX_PAYLOAD = 1 << 20  # bytes
MAX_SIGNATURES = 100
MAX_KEPT = 4 << 20


@dataclass(frozen=True)
class Evidence:
    """A signature and what it is over, as bytes: enough to be verified again without a registry.

    Attributes:
        kind: ``simple``, or ``dsse`` for an envelope of that kind.
        payload: what names the image.
        signature: bare.
    """

    kind: str
    payload: bytes
    signature: bytes

    def encode(self) -> bytes:
        """As it is kept."""
        parts = {name: base64.b64encode(getattr(self, name)).decode() for name in ("payload", "signature")}
        return json.dumps({"kind": self.kind, **parts}, sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> Evidence:
        """What :meth:`encode` wrote.

        Raises:
            SignatureRefused: it is none.
        """
        try:
            parts = json.loads(data)
            payload, signature = (base64.b64decode(parts[name], validate=True) for name in ("payload", "signature"))
            return cls(str(parts["kind"]), payload, signature)
        except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
            raise SignatureRefused("what is kept of its signature is damaged") from error

    def verify(self, key: VerifyKey, digests: Sequence[str]) -> None:
        """Do nothing if the key signed one of these manifests.

        Raises:
            SignatureRefused: it did not.
        """
        named = _read_digests(self)
        if not set(named) & set(digests):
            raise SignatureRefused(f"a signature is of {', '.join(named) or 'nothing'}, not of this image")
        key.verify(_make_pae(self.payload) if self.kind == "dsse" else self.payload, self.signature)


def find_evidence(client: Client, digests: Sequence[str]) -> Iterator[Evidence]:
    """All signatures of manifests that their repository has, by whomever.

    Raises:
        SourceError: the registry does not answer, or sends what is no signature where one belongs.
    """
    for digest in digests:
        manifests: list[tuple[str, str]] = [(f"{digest.replace(':', '-')}.sig", SIGNATURE_TYPE)]
        for referrer in list_referrers(client, digest)[:MAX_SIGNATURES]:
            manifests.append((referrer.digest, referrer.artifact_type))
        for target, kind in manifests:
            if kind == SIGNATURE_TYPE:
                yield from _read_simple(client, target)
            elif kind in BUNDLE_TYPES:
                yield from _read_bundles(client, target)


def make_payload(reference: str, digest: str) -> bytes:
    """What ``cosign sign`` signs: a payload of simple signing that names a manifest."""
    return json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": IDENTITY,
            },
            "optional": None,
        },
        separators=(",", ":"),
    ).encode()


def _read_simple(client: Client, target: str) -> Iterator[Evidence]:
    for layer in _list_layers(client, target):
        if layer.media_type == PAYLOAD and SIGNATURE in layer.annotations:
            try:
                signature = base64.b64decode(layer.annotations[SIGNATURE], validate=True)
            except binascii.Error:
                continue
            yield Evidence("simple", client.read_blob(layer, MAX_PAYLOAD), signature)


def _read_bundles(client: Client, target: str) -> Iterator[Evidence]:
    for layer in _list_layers(client, target):
        try:
            envelope = json.loads(client.read_blob(layer, MAX_PAYLOAD))["dsseEnvelope"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            signatures = [base64.b64decode(signature["sig"], validate=True) for signature in envelope["signatures"]]
        except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
            continue  # a bundle of another kind: over a blob, or not by a key
        if envelope.get("payloadType") == STATEMENT:
            for signature in signatures[:MAX_SIGNATURES]:
                yield Evidence("dsse", payload, signature)


def _list_layers(client: Client, target: str) -> tuple[Descriptor, ...]:
    try:
        manifest = client.read_manifest(target)
        return () if manifest.is_index else manifest.list_blobs()[1 : MAX_SIGNATURES + 1]
    except MissingImageError:
        return ()
    except BadManifest as error:
        raise SourceError(f"{client.reference.name}:{target} is no signature: the manifest {error}") from None


def _read_digests(evidence: Evidence) -> list[str]:
    """The manifests that a payload names; none if it says something else."""
    try:
        document: Any = json.loads(evidence.payload)
        if evidence.kind == "dsse":
            if document["predicateType"] != SIGNED:
                return []
            return [f"sha256:{subject['digest']['sha256']}" for subject in document["subject"]]
        critical = document["critical"]
        if critical["type"] not in (IDENTITY, "atomic container signature"):
            return []
        return [str(critical["image"]["docker-manifest-digest"])]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _make_pae(payload: bytes) -> bytes:
    """What a DSSE signature is over (DSSE v1, "Signature Definition")."""
    kind = STATEMENT.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)

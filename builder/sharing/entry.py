"""An entry of the shared cache: what it holds, and the signature of who made it.

A key says what should be there, not who made it: whoever can write to the cache could put anything under it. So each
entry is a document that names its key and the hash of its content, signed; a machine uses those of keys that it trusts.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from builder.signatures.pem import SigningKey
from builder.signatures.verify_key import SignatureRefused, VerifyKey

SCHEMA = 1
MAX_ENVELOPE = 4 << 20  # bytes
TOO_LARGE = f"it has more than {MAX_ENVELOPE >> 20} MiB, and is no entry of a cache"
MOST = 1 << 53  # bytes or seconds: what a float holds exactly
NAME = re.compile(r"[a-z]+-[0-9]+-[0-9a-f]{64}")


@dataclass(frozen=True)
class SharedEntry:
    """What an entry says of itself.

    Attributes:
        name: ``SECTION-VERSION-KEY``.
        sha256, size: of the archive that has its files.
        files: what each path is, by :func:`builder.sharing.archive.describe_files`.
        value: whatever JSON can hold.
        seconds: how long it took to make: fetching it must not take longer.
        made: when, in seconds since 1970.
    """

    name: str
    sha256: str
    size: int
    files: Mapping[str, str]
    value: Any = None
    seconds: float = 0.0
    made: int = 0
    schema: int = field(default=SCHEMA)

    @property
    def section(self) -> str:
        """What kind of thing it is."""
        return self.name.partition("-")[0]


def sign_entry(entry: SharedEntry, key: SigningKey) -> bytes:
    """The document that stands for an entry, signed."""
    payload = json.dumps(asdict(entry), sort_keys=True, separators=(",", ":")).encode()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "key": key.public.fingerprint,
        "signature": base64.b64encode(key.sign(payload)).decode(),
    }
    return json.dumps(envelope).encode()


def open_entry(envelope: bytes, name: str, trusted: Sequence[VerifyKey]) -> SharedEntry:
    """What a document says, if one of the keys has signed that it is this entry.

    Raises:
        SignatureRefused: none has, or it is another entry's.
    """
    entry, maker, payload, signature = _parse(envelope)
    key = next((key for key in trusted if key.fingerprint == maker), None)
    if key is None:
        raise SignatureRefused(f"it is signed by {maker[:80]}, which is not trusted here")
    key.verify(payload, signature)
    if entry.name != name:
        raise SignatureRefused(f"what was signed is {entry.name}")
    return entry


def peek_entry(envelope: bytes) -> tuple[SharedEntry, str]:
    """What a document says, and whose key it claims: for lists, nothing is believed.

    Raises:
        SignatureRefused: it is no such document.
    """
    entry, maker, _, _ = _parse(envelope)
    return entry, maker


def _parse(envelope: bytes) -> tuple[SharedEntry, str, bytes, bytes]:
    try:
        outer = json.loads(envelope)
        payload, signature = (base64.b64decode(outer[name], validate=True) for name in ("payload", "signature"))
        entry = SharedEntry(**json.loads(payload))
        maker = str(outer["key"])
        sound = entry.schema == SCHEMA and NAME.fullmatch(entry.name) and re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError) as error:
        raise SignatureRefused("it is no entry of a cache") from error
    size: object = entry.size  # what JSON has there may be anything
    files: object = entry.files
    numbers: tuple[object, ...] = (size, entry.made, entry.seconds)
    if not sound or not isinstance(size, int) or not all(map(_is_amount, numbers)) or not isinstance(files, dict):
        raise SignatureRefused("it is an entry of another version")
    return entry, maker, payload, signature


def _is_amount(value: object) -> bool:
    """Whether it is a number that sums and comparisons bear, which JSON's are not all."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST

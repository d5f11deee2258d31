"""The keys of a repository: made, found again, and what signs with them.

A directory has ``root-N.key``, ``targets.key``, ``snapshot.key``, ``timestamp.key`` (PKCS #8 in PEM, Ed25519 when they
are made here) and ``root.json``, which says whose signatures count (TUF 1.0, section 2.1). Machines have ``root.json``;
the keys of the root belong elsewhere once it is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
)
from securesystemslib.exceptions import Error as SecuresystemsError
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from builder.core.errors import InputError
from builder.core.files import write_file
from builder.publishing.signing_command import CommandSigner, add_signature, read_public_key
from builder.signatures.signing_command import SigningCommand
from firstboot.config.update_words import DEVELOPMENT

NOWHERE: Mapping[str, Path] = MappingProxyType({})
ROOT_FILE = "root.json"
ONLINE_ROLES = ("targets", "snapshot", "timestamp")
# Days for which what a role signs is valid. Whoever keeps old metadata from machines is noticed when it has expired.
DAYS: Mapping[str, int] = {"root": 730, "targets": 365, "snapshot": 30, "timestamp": 7}
MAX_KEYS = 20
# What python-tuf raises for metadata that is not what it should be; what it does not foresee included.
BAD_METADATA = (RepositoryError, SecuresystemsError, ValueError, LookupError, TypeError, AttributeError)


def compute_expiry(now: int, days: int) -> datetime:
    """A moment so many days from now (seconds since 1970)."""
    return datetime.fromtimestamp(now, UTC).replace(microsecond=0) + timedelta(days=days)


def make_update_keys(
    directory: Path,
    *,
    root_keys: int = 1,
    threshold: int = 1,
    development: bool = False,
    elsewhere: Mapping[str, Path] = NOWHERE,
    command: SigningCommand | None = None,
    now: int,
) -> list[Path]:
    """New keys and ``root.json``, version 1, signed by all keys of the root.

    Args:
        root_keys: how many keys the root has.
        threshold: how many of them must sign a new root.
        development: they are marked as such.
        elsewhere: public keys of those that are not made, by the names that their files would have: ``root-1``,
            ``targets``.
        command: signs with those.

    Returns:
        What was written, ``root.json`` last.

    Raises:
        InputError: the numbers make no sense, there are keys already, or the root cannot be signed.
    """
    if not 1 <= threshold <= root_keys <= MAX_KEYS:
        raise InputError(
            f"{threshold} of {root_keys} keys cannot sign a root",
            hint=f"the threshold is at least 1 and at most the number of keys, which is at most {MAX_KEYS}",
        )
    names = [*(f"root-{number}" for number in range(1, root_keys + 1)), *ONLINE_ROLES]
    paths = {name: directory / f"{name}.key" for name in names}
    for path in (directory / ROOT_FILE, *directory.glob("root-*.key"), *paths.values()):
        if path.exists():
            raise InputError(f"{path} is there already, and machines may trust it", hint="name another directory")
    if unknown := [name for name in elsewhere if name not in names]:
        raise InputError(f"there is no key '{unknown[0]}'", hint=f"there are {', '.join(names)}")
    made = {name: CryptoSigner(Ed25519PrivateKey.generate()) for name in names if name not in elsewhere}
    public = {name: made[name].public_key if name in made else read_public_key(elsewhere[name]) for name in names}
    marks = {DEVELOPMENT: True} if development else {}
    root = Root(expires=compute_expiry(now, DAYS["root"]), consistent_snapshot=True, unrecognized_fields=dict(marks))
    for name, key in public.items():
        root.add_key(key, "root" if name.startswith("root-") else name)
    root.roles["root"].threshold = threshold
    metadata = Metadata(root)
    for name in names[:root_keys]:
        signer = made[name] if name in made else make_command_signer(command, "root", public[name])
        add_signature(metadata, signer)
    for name, signer in made.items():
        write_file(paths[name], signer.private_bytes, mode=0o600, durable=True)
    write_file(directory / ROOT_FILE, metadata.to_bytes(), durable=True)
    return [*(paths[name] for name in made), directory / ROOT_FILE]


def make_command_signer(command: SigningCommand | None, role: str, key: Key) -> CommandSigner:
    """What signs with a key that is kept elsewhere.

    Raises:
        InputError: nothing says how.
    """
    if command is None:
        raise InputError(f"nothing signs {role} with a key that is kept elsewhere", hint="add --sign-command COMMAND")
    return CommandSigner(command, role, key)


def is_development(root: Root) -> bool:
    """Whether the keys were made to try things out."""
    return root.unrecognized_fields.get(DEVELOPMENT) is True


def read_root(path: Path) -> Metadata[Root]:
    """A ``root.json``, signed by its own keys.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        metadata: Metadata[Root] = Metadata[Root].from_bytes(path.read_bytes())
        metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    except OSError as error:
        hint = "'build-os key DIR --for updates' makes one" if isinstance(error, FileNotFoundError) else None
        raise InputError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    except BAD_METADATA as error:
        raise InputError(f"{path} is no root of a repository: {error}") from error
    return metadata


def read_signer(path: Path) -> CryptoSigner:
    """What signs with a private key.

    Raises:
        InputError: it cannot be read, wants a passphrase, or is of another kind.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
        return CryptoSigner(key)
    except OSError as error:
        raise InputError(f"cannot read the private key {path}: {error.strerror}") from error
    except TypeError as error:
        raise InputError(
            f"the private key {path} is encrypted, and nobody is asked for a passphrase",
            hint=f"decrypt it into memory: openssl pkey -in {path} -out /dev/shm/FILE",
        ) from error
    except (ValueError, SecuresystemsError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} is no private key that signs updates",
            hint="those are Ed25519, RSA or ECDSA with P-256, in PEM",
        ) from error


def find_signers(
    directory: Path, root: Root, role: str, command: SigningCommand | None = None
) -> list[CryptoSigner | CommandSigner]:
    """Enough of the keys in a directory to sign for a role, whatever their files are called.

    Args:
        command: signs with those that are not there.

    Raises:
        InputError: there are not enough of them.
    """
    wanted = root.roles[role]
    signers: dict[str, CryptoSigner | CommandSigner] = {}
    # What is called after the role comes first, and must be readable; others are looked at if those are not enough.
    for path in sorted(directory.glob("*.key"), key=lambda path: (not path.name.startswith(role), path.name)):
        own = path.name.startswith(role)
        if not own and len(signers) >= wanted.threshold:
            break
        try:
            signer = read_signer(path)
        except InputError:
            if own:
                raise
            continue
        if signer.public_key.keyid in wanted.keyids:
            signers[signer.public_key.keyid] = signer
    if command is not None:
        missing = [keyid for keyid in wanted.keyids if keyid not in signers]
        for keyid in missing[: max(0, wanted.threshold - len(signers))]:
            signers[keyid] = CommandSigner(command, role, root.keys[keyid])
    if len(signers) < wanted.threshold:
        raise InputError(
            f"{directory} has {len(signers)} of the {wanted.threshold} keys that sign {role}",
            details=[f"the root, version {root.version}, accepts the key {keyid}" for keyid in wanted.keyids],
            hint=f"name the directory with {role}.key by --keys, or what signs elsewhere by --sign-command",
        )
    return list(signers.values())

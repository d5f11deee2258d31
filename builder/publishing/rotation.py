"""The root is renewed: the same keys for longer, or other keys. Who has the old root follows (TUF 1.0, section 6.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from builder.core.files import write_file
from builder.publishing.keys import (
    DAYS,
    NOWHERE,
    ROOT_FILE,
    compute_expiry,
    find_signers,
    make_command_signer,
    read_root,
)
from builder.publishing.signing_command import CommandSigner, add_signature, read_public_key
from builder.signatures.signing_command import SigningCommand


def replace_root(
    directory: Path,
    rotate: Sequence[str],
    now: int,
    elsewhere: Mapping[str, Path] = NOWHERE,
    command: SigningCommand | None = None,
) -> list[Path]:
    """Write the next version of ``root.json``, signed by the keys of the root before and of the new one.

    Old keys stay beside the new ones as ``NAME.VERSION.old``: those of the root are needed no more once machines have
    followed, the others at once. Every version stays as ``N.root.json``, until it is published and longer.

    Args:
        rotate: roles that get new keys, as many as they had.
        now: seconds since 1970.
        elsewhere: public keys of those that are not made, by the names that their files would have.
        command: signs with the root's keys that are kept elsewhere.

    Returns:
        What was written, ``root.json`` last.

    Raises:
        InputError: there is no root, or not enough of its keys.
    """
    old = read_root(directory / ROOT_FILE)
    signers = find_signers(directory, old.signed, "root", command)
    root = Root.from_dict(old.signed.to_dict())
    root.version += 1
    root.expires = compute_expiry(now, DAYS["root"])
    made: dict[Path, CryptoSigner] = {}
    for role in dict.fromkeys(rotate):
        count = len(root.roles[role].keyids)
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        for name in [f"root-{number}" for number in range(1, count + 1)] if role == "root" else [role]:
            signer: CryptoSigner | CommandSigner
            if name in elsewhere:
                signer = make_command_signer(command, role, read_public_key(elsewhere[name]))
            else:
                signer = made[directory / f"{name}.key"] = CryptoSigner(Ed25519PrivateKey.generate())
            root.add_key(signer.public_key, role)
            if role == "root":
                signers.append(signer)
    metadata = Metadata(root)
    for signer in signers:
        add_signature(metadata, signer)
    write_file(directory / f"{old.signed.version}.root.json", old.to_bytes(), durable=True)
    # The new root before the keys change places: until its own file is there, the old keys are those that count.
    written = directory / f"{root.version}.root.json"
    write_file(written, metadata.to_bytes(), durable=True)
    for path, signer in made.items():
        if path.exists():
            path.rename(path.with_name(f"{path.name}.{old.signed.version}.old"))
        write_file(path, signer.private_bytes, mode=0o600, durable=True)
    write_file(directory / ROOT_FILE, metadata.to_bytes(), durable=True)
    return [*made, written, directory / ROOT_FILE]

"""Locked artifacts, put into a tree: by a system's stage and by a container's build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from builder.artifacts.placed_artifact import PlacedArtifact
from builder.artifacts.unpack import ArchiveError, unpack_archive
from builder.core.errors import InputError, SourceError
from builder.core.files import hash_file
from builder.core.store import Store
from builder.core.tools import Tools
from builder.signatures.key_file import read_verify_key
from builder.signatures.verify_key import SignatureRefused
from builder.tree.node import Kind, Node, Slice
from builder.tree.tree import Tree
from firstboot.config.account_files import parse_rows


def place_artifacts(
    tree: Tree,
    artifacts: Sequence[PlacedArtifact],
    store: Store,
    tools: Tools,
    make_accounts: Callable[[Tree], None] | None = None,
) -> None:
    """Verify each artifact and put it into the tree.

    Args:
        make_accounts: makes the users that the tree declares, if an owner is not there yet.

    Raises:
        SourceError: the store has other bytes than the lock says, or nobody of the named key signed them.
        InputError: an archive is none, an owner does not exist, a path is taken by something else.
    """
    for artifact in artifacts:
        blob = store.locate_blob(artifact.sha256)
        verify_artifact(artifact, blob, store)
        uid, gid = _find_owner(tree, artifact, make_accounts)
        if artifact.archive is None:
            content = Slice(str(blob), 0, blob.stat().st_size)
            tree.put(artifact.path, Node(Kind.FILE, artifact.mode, uid, gid, content=content, origin=artifact.origin))
            continue
        try:
            unpacked = unpack_archive(blob, artifact.sha256, artifact.archive, store, tools, origin=artifact.origin)
        except ArchiveError as error:
            raise InputError(f"artifact {artifact.name} {error.what}", details=error.details) from error
        for path, node in unpacked.walk():
            place = f"{artifact.path.rstrip('/')}{path}".rstrip("/") or "/"
            known = tree.get(place, follow=True)
            if node.kind is Kind.DIRECTORY and known is not None and known.kind is Kind.DIRECTORY:
                continue
            tree.put(place, node.copy_with(uid=uid, gid=gid))


def verify_artifact(artifact: PlacedArtifact, blob: Path, store: Store) -> None:
    """Compare an artifact in the store with its hash, and its signature with the key that must have made it.

    Raises:
        SourceError: it is another, or is not signed by that key.
    """
    if not store.has_blob(artifact.sha256) or hash_file(blob) != artifact.sha256:
        blob.unlink(missing_ok=True)
        raise SourceError(f"artifact {artifact.name} in the store is not whole; it has been removed", hint="try again")
    if artifact.key is None:
        return
    if not artifact.signature or not store.has_blob(artifact.signature):
        raise SourceError(f"artifact {artifact.name} has no signature in the store", hint="'build-os lock' gets it")
    try:
        read_verify_key(artifact.key).verify(blob, store.locate_blob(artifact.signature).read_bytes())
    except SignatureRefused as error:
        raise SourceError(f"artifact {artifact.name} is not signed by {artifact.key.name}: {error}") from error


def _find_owner(tree: Tree, artifact: PlacedArtifact, make_accounts: Callable[[Tree], None] | None) -> tuple[int, int]:
    user, _, group = artifact.owner.partition(":")
    users: dict[str, tuple[int | None, int | None]] = {}
    for attempt in range(2):
        users, groups = (_read_table(tree, name) for name in ("/etc/passwd", "/etc/group"))
        uid = int(user) if user.isdecimal() else users.get(user, (None, None))[0]
        own = users.get(user, (None, uid))[1]
        gid = own if not group else int(group) if group.isdecimal() else groups.get(group, (None, None))[0]
        if uid is not None and gid is not None:
            return uid, gid
        if not attempt and make_accounts is not None:
            make_accounts(tree)
    missing = f"group {group}" if user in users or user.isdecimal() else f"user {user}"
    raise InputError(
        f"artifact {artifact.name} is to be owned by {artifact.owner}, and there is no {missing} in the image",
        hint="a file in sysusers.d/ of an overlay declares one",
    )


def _read_table(tree: Tree, path: str) -> dict[str, tuple[int | None, int | None]]:
    """Name -> its number, and of a user the number of the group. Root is there even where there is no file."""
    table: dict[str, tuple[int | None, int | None]] = {"root": (0, 0)}
    if path in tree:
        for row in parse_rows(tree.read_text(path)):
            if len(row) > 2 and row[2].isdecimal():
                table[row[0]] = (int(row[2]), int(row[3]) if len(row) > 3 and row[3].isdecimal() else None)
    return table

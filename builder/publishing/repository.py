"""A repository of versions on a disk: the metadata of TUF 1.0 over files that are called by their hashes.

``metadata/`` has every root, and targets and snapshot by number; ``targets/`` has each file with its hash before its
name (TUF, section 6.2, consistent snapshots). So nothing that a machine may be reading is ever replaced but
``timestamp.json``, by a rename, when all that it leads to is on the disk. A publisher that is cut off leaves the
repository as it was.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from builder.core.errors import InputError, SourceError
from builder.core.files import CHUNK, hash_file, open_replacement, sync_names, write_file
from builder.publishing.keys import BAD_METADATA, DAYS, compute_expiry, read_root
from builder.publishing.signing_command import add_signature
from update.registry import METADATA, TARGETS

LOCK = ".lock"
TIMESTAMP_FILE = "timestamp.json"
NUMBERED = re.compile(r"([1-9][0-9]{0,8})\.(root|targets|snapshot)\.json")
# What is left of its time when a role is signed anew although nothing has changed.
RENEW_BELOW = 1 / 2

Kind = TypeVar("Kind", Targets, Snapshot, Timestamp)
Signers = Callable[[str], Sequence[Signer]]
"""Who signs for a role."""


@dataclass
class Repository:
    """A repository as it is, and what is to become of it with the next :meth:`write`."""

    directory: Path
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]
    new_roots: list[Metadata[Root]] = field(default_factory=list)
    changed: bool = False
    _written: list[Path] = field(default_factory=list)

    @property
    def files(self) -> Mapping[str, TargetFile]:
        """The targets by path."""
        return self.targets.signed.targets

    def locate(self, path: str) -> Path:
        """Where a target's bytes are."""
        parent, _, name = path.rpartition("/")
        return self.directory / TARGETS / parent / f"{self.files[path].hashes['sha256']}.{name}"

    def read(self, path: str) -> bytes:
        """A target's bytes.

        Raises:
            SourceError: they are gone, or not what was signed.
        """
        file = self.locate(path)
        try:
            data = file.read_bytes()
        except OSError as error:
            raise SourceError(f"cannot read {file}: {error.strerror}", hint=_RESTORE) from error
        if hashlib.sha256(data).hexdigest() != self.files[path].hashes["sha256"]:
            raise SourceError(f"{file} is not what was published", hint=_RESTORE)
        return data

    def add(self, path: str, source: Path | bytes) -> None:
        """Add a target, or replace it: the file is on the disk afterwards, and nobody is led to it yet.

        Raises:
            OSError: the disk is full, or fails.
        """
        if isinstance(source, bytes):
            sha256, size = hashlib.sha256(source).hexdigest(), len(source)
        else:
            sha256, size = hash_file(source), source.stat().st_size
        there = self.files.get(path)
        self.targets.signed.targets[path] = TargetFile(size, {"sha256": sha256}, path)
        self.changed |= there is None or there.hashes.get("sha256") != sha256
        file = self.locate(path)
        if file.exists() and file.stat().st_size == size and hash_file(file) == sha256:
            return
        self._written.append(file)
        with open_replacement(file, durable=True) as out:
            if isinstance(source, bytes):
                out.write(source)
            else:
                with source.open("rb") as stream:
                    shutil.copyfileobj(stream, out, CHUNK)

    def remove(self, path: str) -> None:
        """Take a target out; its file stays until :meth:`sweep`."""
        del self.targets.signed.targets[path]
        self.changed = True

    def write(self, signers: Signers, now: int) -> None:
        """Sign and write what has changed: targets if need be, snapshot, timestamp, which is what machines ask for.

        Raises:
            InputError: a key is missing.
            OSError: the disk is full, or fails.
        """
        if self._must_sign_targets(signers, now):
            self.targets.signed.version += 1
            self.targets.signed.expires = compute_expiry(now, DAYS["targets"])
            self._sign("targets", self.targets, signers)
        self.snapshot.signed.meta["targets.json"] = MetaFile(self.targets.signed.version)
        self.snapshot.signed.version += 1
        self.snapshot.signed.expires = compute_expiry(now, DAYS["snapshot"])
        self._sign("snapshot", self.snapshot, signers)
        self.timestamp.signed.snapshot_meta = MetaFile(self.snapshot.signed.version)
        self.timestamp.signed.version += 1
        self.timestamp.signed.expires = compute_expiry(now, DAYS["timestamp"])
        self._sign("timestamp", self.timestamp, signers)
        # All is signed before anything is written: a missing key changes nothing.
        metadata = self.directory / METADATA
        for new in self.new_roots:
            write_file(metadata / f"{new.signed.version}.root.json", new.to_bytes(), durable=True)
        for name, document in (("targets", self.targets), ("snapshot", self.snapshot)):
            write_file(metadata / f"{document.signed.version}.{name}.json", document.to_bytes(), durable=True)
        # From here on machines may be led to what was added, even if the disk fails while this is made durable.
        self._written.clear()
        write_file(metadata / TIMESTAMP_FILE, self.timestamp.to_bytes(), durable=True)
        self.new_roots.clear()
        self.changed = False

    def _must_sign_targets(self, signers: Signers, now: int) -> bool:
        """Whether they changed; or have used up half of their time, and the key that would renew them is here."""
        if self.changed or self.timestamp.signed.version == 0 or self.new_roots:
            return True
        left = self.targets.signed.expires.timestamp() - now
        if left > DAYS["targets"] * 86400 * RENEW_BELOW:
            return False
        try:
            signers("targets")
        except InputError:
            if left <= 0:
                raise
            return False
        return True

    def _sign(self, role: str, document: Metadata[Kind], by: Signers) -> None:
        document.signatures.clear()
        for signer in by(role):
            add_signature(document, signer)
        self.root.signed.verify_delegate(role, document.signed_bytes, document.signatures)

    def discard(self) -> None:
        """Remove the files that were added, after a failure: nobody was led to them."""
        for file in self._written:
            file.unlink(missing_ok=True)

    def sweep(self) -> int:
        """Remove targets and metadata that nothing leads to; how many bytes that frees."""
        freed = 0
        wanted = {self.locate(path) for path in self.files}
        for file in sorted((self.directory / TARGETS).rglob("*")):
            if file.is_file() and file not in wanted:
                freed += file.stat().st_size
                file.unlink()
        current = {"targets": self.targets.signed.version, "snapshot": self.snapshot.signed.version}
        for file in sorted((self.directory / METADATA).iterdir()):
            match = NUMBERED.fullmatch(file.name)
            # One older stays, for machines that have just asked for the timestamp.
            if match and match[2] in current and int(match[1]) < current[match[2]] - 1:
                freed += file.stat().st_size
                file.unlink()
        sync_names(self.directory / METADATA)
        return freed


def open_repository(directory: Path, root: Path | None) -> Repository:
    """A repository that is there, or a new one.

    Args:
        root: ``root.json`` beside the keys: the root of a new repository, or a newer one for what is there.

    Raises:
        InputError: there is none and no root for one; the root is of other keys.
        SourceError: its metadata is damaged, or not signed by whom its root names.
    """
    metadata = directory / METADATA
    roots = [read_root(metadata / f"{number}.root.json") for number in _list_numbers(metadata, "root")]
    given = None if root is None or not root.exists() else read_root(root)
    if not (metadata / TIMESTAMP_FILE).exists():
        if given is None:
            hint = "'build-os key DIR --for updates' makes keys and a root.json; name DIR by --keys"
            raise InputError(f"there is no repository in {directory}, and no root.json for a new one", hint=hint)
        _require_own_directory(directory)
        return Repository(directory, given, *_make_empty(), new_roots=[given])
    if not roots:
        raise SourceError(f"{metadata} has no root", hint=_RESTORE)
    timestamp, current = _read(metadata / TIMESTAMP_FILE, "timestamp", Timestamp, roots)
    version = timestamp.signed.snapshot_meta.version
    snapshot, also = _read(metadata / f"{version}.snapshot.json", "snapshot", Snapshot, roots)
    version = snapshot.signed.meta["targets.json"].version
    targets, too = _read(metadata / f"{version}.targets.json", "targets", Targets, roots)
    repository = Repository(directory, roots[-1], targets, snapshot, timestamp, changed=not (current and also and too))
    if given is not None and root is not None:
        _take_root(repository, given, root)
    return repository


def _take_root(repository: Repository, given: Metadata[Root], path: Path) -> None:
    """A newer root is published, with those between; one of other keys is refused."""
    current = repository.root.signed.version
    if given.signed.version == current and given.signed_bytes != repository.root.signed_bytes:
        raise InputError(
            f"{path} is not the root of {repository.directory}: both are version {current}, and they differ",
            hint="name the directory of this repository's keys by --keys",
        )
    # Machines follow the versions one by one, and each is signed by keys of the one before.
    for number in range(current + 1, given.signed.version + 1):
        step = given if number == given.signed.version else read_root(path.with_name(f"{number}.root.json"))
        try:
            repository.root.signed.verify_delegate("root", step.signed_bytes, step.signatures)
        except BAD_METADATA as error:
            raise InputError(
                f"version {number} of {path} is not signed by enough keys of the root before it", details=[str(error)]
            ) from error
        repository.new_roots.append(step)
        repository.root = step


def _make_empty() -> tuple[Metadata[Targets], Metadata[Snapshot], Metadata[Timestamp]]:
    targets, snapshot, timestamp = Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp())
    for document in (targets, snapshot, timestamp):
        document.signed.version = 0
    return targets, snapshot, timestamp


def _require_own_directory(directory: Path) -> None:
    """A new repository is made in a directory that is not there or is empty, or where one was cut off."""
    there = list(directory.iterdir()) if directory.is_dir() else []
    strange = [path.name for path in there if path.name not in (METADATA, TARGETS, LOCK)]
    if strange:
        raise InputError(
            f"{directory} is no repository and not empty: it has {strange[0]}", hint="name a new directory"
        )


def _list_numbers(metadata: Path, role: str) -> list[int]:
    """The versions of a role that are there, in order."""
    names = (NUMBERED.fullmatch(path.name) for path in metadata.glob(f"*.{role}.json"))
    return sorted(int(match[1]) for match in names if match and match[2] == role)


def _read(path: Path, role: str, kind: type[Kind], roots: Sequence[Metadata[Root]]) -> tuple[Metadata[Kind], bool]:
    """Metadata, and whether the newest root's keys signed it. An older root's do as well: a publisher of a new root may
    have been cut off.

    Raises:
        SourceError: it is damaged, or nobody's of these signed it.
    """
    try:
        document = cast("Metadata[Kind]", Metadata.from_bytes(path.read_bytes()))
        if not isinstance(document.signed, kind):
            raise ValueError(f"it is of the type {document.signed.type}")
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}", hint=_RESTORE) from error
    except BAD_METADATA as error:
        raise SourceError(f"{path} is damaged: {error}", hint=_RESTORE) from error
    for root in reversed(roots):
        try:
            root.signed.verify_delegate(role, document.signed_bytes, document.signatures)
        except BAD_METADATA:
            continue
        return document, root is roots[-1]
    raise SourceError(f"{path} is not signed by those whom the root names for {role}", hint=_RESTORE)


_RESTORE = "restore the repository from a copy, or publish into a new directory"

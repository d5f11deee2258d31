"""A *pack* is what remains of a deb in the store: read once, verified, decompressed, indexed.

It is the deb's ``data.tar`` as it is, uncompressed (``packs/SHA256.tar``), and in its seal
(:mod:`builder.core.kept`) an index of it together with the control files. Trees point into the tar; nothing is ever
extracted.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from builder.core.console import Console
from builder.core.errors import SourceError
from builder.core.files import open_replacement, sync_file_system
from builder.core.kept import DAMAGED, PACKS, SEAL, Row, is_usable, is_whole, read_entry, seal_entry
from builder.core.store import Store
from builder.core.store_errors import explain_store_errors
from builder.debian.deb import Contents, DebError, Source, read_deb
from builder.debian.lock import LockedPackage
from builder.debian.tarmembers import PackageMember, read_members
from builder.tree.node import Kind
from builder.tree.tar_headers import TarError

_KINDS = {str(kind): kind for kind in Kind}


class DamagedBlob(SourceError):
    """A deb in the store is not what its name says; it has been removed and can be fetched again."""


@dataclass(frozen=True)
class Pack:
    """An unpacked deb.

    Attributes:
        tar: the uncompressed ``data.tar``; members' offsets are into it.
        tar_sha256, tar_size: its hash and its size in bytes.
        control: the fields of the control file.
        files: all other control files by name (``postinst``, ``conffiles`` ...).
    """

    package: LockedPackage
    tar: Path
    tar_sha256: str
    tar_size: int
    control: Mapping[str, str]
    files: Mapping[str, bytes] = field(repr=False)
    members: tuple[PackageMember, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """The package's name."""
        return self.package.name

    def find_script(self, name: str) -> str | None:
        """The text of a maintainer script (``preinst``, ``postinst``, ``prerm``, ``postrm``, ``config``)."""
        data = self.files.get(name)
        return None if data is None else data.decode(errors="surrogateescape")

    def list_conffiles(self) -> tuple[str, ...]:
        """The paths that dpkg treats as configuration, without those to be removed on upgrade.

        Source: deb-conffiles(5).
        """
        lines = self.files.get("conffiles", b"").decode(errors="surrogateescape").splitlines()
        return tuple(line.strip() for line in lines if line.startswith("/"))

    def read(self, path: str) -> bytes:
        """The content of a file of the deb, by its own path (no links are followed).

        Raises:
            DebError: it has no such file.
        """
        for member in self.members:
            if member.path == path and member.kind is Kind.FILE:
                return self.read_member(member)
        raise DebError(f"{self.name} has no file {path}")

    def read_member(self, member: PackageMember) -> bytes:
        """The content of one of the members."""
        with self.tar.open("rb") as file:
            file.seek(member.offset)
            return file.read(member.size)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A pack that does not count yet: its tar is written, and may not be on the disk; it has no seal."""

    key: str
    size: int
    sha256: str
    value: dict[str, Any]

    def seal(self, store: Store) -> None:
        """Make it count."""
        seal_entry(
            store,
            PACKS,
            self.key,
            inputs={"deb": self.key},
            files={f"{self.key}.tar": [self.size, self.sha256]},
            value=self.value,
        )


def unpack(
    store: Store,
    package: LockedPackage,
    *,
    verify: bool = True,
    console: Console | None = None,
    unsettled: list[Unsettled] | None = None,
) -> Pack:
    """The deb's pack, from the store or made now. The deb's hash is verified while it is read.

    Args:
        verify: read an existing pack through to see that it is intact; one that is not is made again, and
            ``console`` is told.
        unsettled: receives what is left to :func:`settle`, for many packs at once.

    Raises:
        DebError: the deb is malformed or hostile, or is another package.
        DamagedBlob: the deb in the store is damaged or missing.
        CapabilityError: it is compressed in a way that this Python cannot read; the store cannot be written.
    """
    kept = load_pack(store, package, verify=verify)
    if kept is not None:
        return kept
    tar = _tar_path(store, package)
    if console is not None and (tar.exists() or tar.with_suffix(SEAL).exists()):
        console.warn(f"{package.name} in the store {DAMAGED}; unpacking it again")
    with explain_store_errors(store):
        pack, left = _make_pack(store, package, durable=unsettled is None)
        if unsettled is None:
            left.seal(store)
        else:
            unsettled.append(left)
        return pack


def settle(store: Store, unsettled: Sequence[Unsettled]) -> None:
    """Make packs count, once their tars are on the disk: from then on, snapshots know them by size and time alone.

    Raises:
        CapabilityError: the store's disk is full or fails.
    """
    if not unsettled:
        return
    with explain_store_errors(store):
        sync_file_system(store.root / PACKS.name)
        for left in unsettled:
            left.seal(store)


def load_pack(store: Store, package: LockedPackage, *, verify: bool = True) -> Pack | None:
    """The deb's pack if it is in the store and intact."""
    entry = read_entry(store, PACKS, package.sha256)
    if entry is None or not (is_whole(entry) if verify else is_usable(entry)):
        return None
    return _pack(package, _tar_path(store, package), entry.files[f"{package.sha256}.tar"], entry.value)


def _tar_path(store: Store, package: LockedPackage) -> Path:
    return store.root / PACKS.name / f"{package.sha256}.tar"


def _pack(package: LockedPackage, tar: Path, row: Row, data: dict[str, Any]) -> Pack:
    """The inverse of what :func:`_make_pack` writes; its hash was checked, so its shape is known."""
    size, sha256 = row
    return Pack(
        package=package,
        tar=tar,
        tar_sha256=str(sha256),
        tar_size=int(size),
        control=data["control"],
        files={name: text.encode("latin-1") for name, text in data["files"].items()},
        members=tuple(
            PackageMember(path, _KINDS[kind], mode, uid, gid, mtime, offset, size, target, (major, minor))
            for path, kind, mode, uid, gid, mtime, offset, size, target, major, minor in data["members"]
        ),
    )


def _make_pack(store: Store, package: LockedPackage, *, durable: bool) -> tuple[Pack, Unsettled]:
    tar = _tar_path(store, package)
    blob = store.locate_blob(package.sha256)
    what = f"{package.name} {package.version}"
    if not store.has_blob(package.sha256, package.size):
        _discard(blob)
        raise DamagedBlob(f"{what} is not whole in the store", hint="the next build downloads it again")
    with blob.open("rb") as file, open_replacement(tar, durable=durable) as out:
        source = Source(file)
        try:
            contents = read_deb(source, out)
            out.flush()
            members = _members_of(out)
            _require_same(contents, package)
        except (SourceError, TarError) as error:
            _require_intact(source.read_rest(), package, blob)
            raise DebError(
                f"{what}: {error.what if isinstance(error, SourceError) else error}",
                hint="the package is malformed; it may be hostile",
            ) from error
        _require_intact(source.read_rest(), package, blob)
    data = {
        "control": contents.control,
        "files": {name: text.decode("latin-1") for name, text in contents.files.items()},
        "members": [[*member[:-1], *member.device] for member in members],
    }
    pack = Pack(package, tar, contents.tar_sha256, contents.tar_size, contents.control, contents.files, tuple(members))
    return pack, Unsettled(package.sha256, contents.tar_size, contents.tar_sha256, data)


def _members_of(file: BinaryIO) -> list[PackageMember]:
    if not file.seek(0, 2):
        return []
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return read_members(view)


def _require_same(contents: Contents, package: LockedPackage) -> None:
    identity = tuple(contents.control.get(name, "") for name in ("Package", "Version", "Architecture"))
    if identity != (package.name, package.version, package.architecture):
        raise DebError(f"it says that it is {' '.join(identity)[:200]!r}")


def _require_intact(sha256: str, package: LockedPackage, blob: Path) -> None:
    """Remove a deb that is not what it should be.

    Raises:
        DamagedBlob: it was not.
    """
    if sha256 != package.sha256:
        _discard(blob)
        raise DamagedBlob(
            f"{package.name} {package.version} in the store was damaged; it has been removed",
            details=(f"expected sha256 {package.sha256}", f"found sha256 {sha256}"),
            hint="the next build downloads it again; is the disk healthy?",
        )


def _discard(blob: Path) -> None:
    with contextlib.suppress(OSError):
        blob.unlink()

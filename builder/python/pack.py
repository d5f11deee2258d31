"""What remains of a wheel in the store: verified and decompressed once, indexed, and pointed into by trees.

One file, ``packs/KEY.wheel``, holds the contents of all files one after the other; the seal (:mod:`builder.core.kept`)
has where each begins. Nothing is ever extracted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.core.console import Console
from builder.core.errors import SourceError
from builder.core.files import hash_file, open_replacement, sync_file_system
from builder.core.kept import DAMAGED, PACKS, derive_key, describe_file, is_usable, read_entry, seal_entry
from builder.core.parallel import run_parallel
from builder.core.store import Store
from builder.core.store_errors import explain_store_errors
from builder.debian.lock import LockedWheel
from builder.python.archive import ZipMember
from builder.python.errors import WheelError
from builder.python.wheel import WheelFacts, verify_wheel
from builder.tree.dynamic import MAGIC, read_dynamic
from builder.tree.node import Slice

FORMAT = 1
SUFFIX = ".wheel"


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file of a wheel, under the name that it has there, and where its content lies in the pack."""

    name: str
    executable: bool
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What the loader is asked for by a shared object: see :class:`builder.tree.dynamic.Dynamic`."""

    machine: int
    soname: str
    needed: tuple[str, ...]
    runpath: tuple[str, ...]


@dataclass(frozen=True)
class WheelPack:
    """An unpacked wheel.

    Attributes:
        info, data: the names of its ``.dist-info`` and ``.data`` directories.
        elves: its programs and shared objects by name.
    """

    wheel: LockedWheel
    path: Path
    info: str
    data: str
    files: tuple[PackedFile, ...] = field(repr=False)
    elves: Mapping[str, Needs] = field(repr=False)

    def slice(self, file: PackedFile) -> Slice:
        """Where the content of one of the files is."""
        return Slice(str(self.path), file.offset, file.size)

    def read(self, name: str) -> bytes | None:
        """The content of a file, if the wheel has it."""
        return next((self.slice(file).read() for file in self.files if file.name == name), None)


@dataclass(frozen=True)
class _Unsettled:
    """A pack that is written and does not count yet."""

    key: str
    wheel: LockedWheel
    path: Path
    value: dict[str, Any]


def unpack_wheels(
    wheels: Sequence[LockedWheel],
    store: Store,
    console: Console,
    *,
    refetch: Callable[[LockedWheel], None] | None = None,
) -> list[WheelPack]:
    """The packs of these wheels, in their order, made where they are missing or damaged.

    Args:
        refetch: gets a wheel again that turns out to be damaged in the store, once, before it is an error.

    Raises:
        WheelError: one is malformed, hostile, or not what its name says.
        SourceError: one in the store is damaged.
        CapabilityError: the store cannot be written.
    """
    unsettled: list[_Unsettled] = []
    distinct = {wheel.sha256: wheel for wheel in wheels}
    # The largest first, or the last of them is waited for alone.
    order = sorted(distinct.values(), key=lambda wheel: -wheel.size)

    def open_one(wheel: LockedWheel) -> WheelPack:
        return _open_pack(wheel, store, console, unsettled, refetch)

    with explain_store_errors(store):
        packs = run_parallel(*[lambda wheel=wheel: open_one(wheel) for wheel in order])
        if unsettled:
            sync_file_system(store.root / PACKS.name)
            for left in unsettled:
                inputs = {"wheel": left.wheel.sha256, "format": str(FORMAT)}
                # By size and time: it is on the disk by now, and nobody writes into it again.
                files = {left.path.name: describe_file(str(left.path))}
                seal_entry(store, PACKS, left.key, inputs=inputs, files=files, value=left.value)
    by_hash = {pack.wheel.sha256: pack for pack in packs}
    return [by_hash[wheel.sha256] for wheel in wheels]


def _open_pack(
    wheel: LockedWheel,
    store: Store,
    console: Console,
    unsettled: list[_Unsettled],
    refetch: Callable[[LockedWheel], None] | None,
) -> WheelPack:
    key = derive_key({"wheel": wheel.sha256, "format": str(FORMAT), "file": wheel.file})
    path = store.root / PACKS.name / f"{key}{SUFFIX}"
    entry = read_entry(store, PACKS, key)
    if entry is not None and is_usable(entry):
        return _make_pack(wheel, path, entry.value)
    if entry is not None:
        console.warn(f"{wheel.name} in the store {DAMAGED}; unpacking it again")
    blob = store.locate_blob(wheel.sha256)
    if not store.has_blob(wheel.sha256) or hash_file(blob) != wheel.sha256:
        blob.unlink(missing_ok=True)
        if refetch is None:
            raise SourceError(
                f"{wheel.name} {wheel.version} is not whole in the store", hint="the next build downloads it again"
            )
        refetch(wheel)
    try:
        value = _write_pack(blob, wheel.file, path)
    except WheelError as error:
        raise WheelError(
            f"{wheel.file}: {error.what}",
            details=error.details,
            hint=error.hint or "the wheel is malformed; it may be hostile",
        ) from error
    unsettled.append(_Unsettled(key, wheel, path, value))
    return _make_pack(wheel, path, value)


def _write_pack(blob: Path, file: str, path: Path) -> dict[str, Any]:
    files: list[list[object]] = []
    elves: dict[str, list[object]] = {}
    offset = 0
    with open_replacement(path) as out:

        def keep(member: ZipMember, data: bytes) -> None:
            nonlocal offset
            out.write(data)
            files.append([member.name, member.executable, offset, len(data)])
            offset += len(data)
            if data.startswith(MAGIC) and (dynamic := read_dynamic(data)) is not None:
                elves[member.name] = [dynamic.machine, dynamic.soname, list(dynamic.needed), list(dynamic.runpath)]

        facts: WheelFacts = verify_wheel(blob, file, keep)
    return {"info": facts.info, "data": facts.data, "files": files, "elves": elves}


def _make_pack(wheel: LockedWheel, path: Path, value: Mapping[str, Any]) -> WheelPack:
    """The inverse of what :func:`_write_pack` says; the seal has a hash of it, so its shape is known."""
    return WheelPack(
        wheel,
        path,
        value["info"],
        value["data"],
        tuple(PackedFile(*row) for row in value["files"]),
        {name: Needs(row[0], row[1], tuple(row[2]), tuple(row[3])) for name, row in value["elves"].items()},
    )

"""Golden machines: booted once, kept on disk with their memory, and woken up for a test in a second or two.

A golden machine is a folder in the store: the disk overlays, which hold the snapshot, the firmware's variables, and
what the machine had told until then. It is valid for one image, one configuration and one QEMU command line, of which
:func:`golden_key` is made. :mod:`vm.qemu.snapshots` says what such a machine cannot be used for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from builder.core.efi_keys import read_certificate
from builder.core.image import Image
from builder.core.store import Store
from vm.guest import probe
from vm.guest.probe_client import Hello
from vm.qemu.argv import argv
from vm.spec import VmSpec
from vm.spec.folder import MachineFolder

SNAPSHOT = "asleep"  # not what a test calls its own
MEMENTO = "memento.json"
ROOM = "machines"
KEPT = 3  # each is as large as what its guest has in memory


@dataclass(frozen=True)
class Memento:
    """What a machine had told when its state was kept: its probe's greeting and the first boot's events."""

    hello: Hello | None
    firstboot: tuple[tuple[float, dict[str, object]], ...]

    def write(self, path: Path) -> None:
        """Keep it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Memento:
        """What was kept."""
        data = json.loads(path.read_text(encoding="utf-8"))
        events = tuple((float(seconds), message) for seconds, message in data["firstboot"])
        return cls(Hello(**data["hello"]) if data["hello"] else None, events)


def golden_key(image: Image, spec: VmSpec, tools: Path, steps: Sequence[str]) -> str:
    """Names the machine that this image becomes; everything that could make it another one is in it.

    Args:
        tools: the tools tree, whose name tells QEMU's and the firmware's version.
        steps: what is waited for before it is put to sleep.
    """
    anywhere = replace(
        spec,
        name="golden",
        disks=tuple(replace(disk, path=Path(f"disk{number}")) for number, disk in enumerate(spec.disks)),
        uefi=None if spec.uefi is None else replace(spec.uefi, variables=Path("variables")),
        firstboot_config=None,
        forwards=(),
    )
    config = b"" if spec.firstboot_config is None else spec.firstboot_config.read_bytes()
    trusted = b"" if spec.uefi is None or spec.uefi.certificate is None else read_certificate(spec.uefi.certificate)
    parts = [
        argv(anywhere),
        [str(disk.base) for disk in spec.disks],
        [disk.size for disk in spec.disks],
        sorted(artifact.sha256 for artifact in image.artifacts.values()),
        hashlib.sha256(config).hexdigest(),
        "" if spec.uefi is None else str(spec.uefi.template),
        hashlib.sha256(trusted).hexdigest(),
        hashlib.sha256(Path(probe.__file__).read_bytes()).hexdigest(),
        str(tools),
        list(steps),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def find(store: Store, key: str) -> Path | None:
    """The golden machine's folder, if there is one."""
    folder = store.root / ROOM / key
    if not (folder / MEMENTO).exists():
        return None
    os.utime(folder)
    return folder


def keep(store: Store, key: str, folder: MachineFolder, memento: Memento) -> Path:
    """Put a machine that is asleep, and off, into the store. Whoever comes first wins."""
    room = store.root / ROOM
    room.mkdir(mode=0o700, exist_ok=True)
    target = room / key
    with tempfile.TemporaryDirectory(dir=room, prefix=".new-") as directory:
        fresh = Path(directory) / "machine"
        fresh.mkdir()
        for path in folder.state():
            shutil.move(path, fresh / path.name)
        memento.write(fresh / MEMENTO)
        if not target.exists():
            fresh.rename(target)
    store.prune(ROOM, KEPT)
    return target


def wake(golden: Path, folder: MachineFolder) -> Memento:
    """Give a machine that is about to start its own copy of what the golden one has."""
    for path in golden.iterdir():
        if path.name != MEMENTO:
            shutil.copyfile(path, folder.root / path.name)
    return Memento.read(golden / MEMENTO)


def remove(store: Store, key: str) -> None:
    """Forget a golden machine, for instance one that does not wake up."""
    shutil.rmtree(store.root / ROOM / key, ignore_errors=True)

"""Golden machines: booted once, kept on disk with their memory, and woken up for a test in a second or two.

A golden machine is a folder in the store: the disk overlays, which hold the snapshot, the firmware's variables, and
what the machine had told until then. It is valid for one image, one configuration and one QEMU command line, which are
among :func:`make_golden_inputs`; it is kept as all things are (:mod:`builder.core.kept`).
:mod:`vm.qemu.snapshots` says what such a machine cannot be used for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from builder.core.efi_keys import read_certificate
from builder.core.image import Image
from builder.core.kept import MACHINES, Contents, add_entry, derive_key, forget_entry, is_whole, prune, read_entry
from builder.core.store import Store
from vm.guest import probe
from vm.guest.probe_client import Greeting
from vm.qemu.argv import make_argv
from vm.spec import VmSpec
from vm.spec.folder import MachineFolder

SNAPSHOT = "asleep"  # not what a test calls its own
SNAPSHOT_FILE = "snapshot.json"


@dataclass(frozen=True)
class Snapshot:
    """What a machine had told when its state was kept: its probe's greeting and the first boot's events."""

    hello: Greeting | None
    firstboot: tuple[tuple[float, dict[str, object]], ...]

    def write(self, path: Path) -> None:
        """Keep it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Snapshot:
        """What was kept."""
        data = json.loads(path.read_text(encoding="utf-8"))
        events = tuple((float(seconds), message) for seconds, message in data["firstboot"])
        return cls(Greeting(**data["hello"]) if data["hello"] else None, events)


def make_golden_inputs(image: Image, spec: VmSpec, tools: Path, steps: Sequence[str]) -> dict[str, str]:
    """What makes the machine that this image becomes; everything that could make it another one is among it.

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
    return {
        "command line": json.dumps(make_argv(anywhere)),
        "disks": json.dumps([(str(disk.base), disk.size) for disk in spec.disks]),
        "image": json.dumps(sorted(artifact.sha256 for artifact in image.artifacts.values())),
        "config": hashlib.sha256(config).hexdigest(),
        "firmware": "" if spec.uefi is None else str(spec.uefi.template),
        "certificate": hashlib.sha256(trusted).hexdigest(),
        "probe": hashlib.sha256(Path(probe.__file__).read_bytes()).hexdigest(),
        "tools": str(tools),
        "steps": json.dumps(steps),
    }


def find_golden(store: Store, key: str) -> Path | None:
    """The golden machine's folder, if there is one."""
    entry = read_entry(store, MACHINES, key)
    if entry is None or not is_whole(entry):
        return None
    entry.touch()
    return entry.path


def keep_golden(store: Store, inputs: Mapping[str, str], folder: MachineFolder, snapshot: Snapshot) -> Path:
    """Put a machine that is asleep, and off, into the store. Whoever comes first wins."""
    section = store.root / MACHINES.name
    section.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=section, prefix=".new-") as directory:
        fresh = Path(directory) / "machine"
        fresh.mkdir()
        for path in folder.list_state_files():
            shutil.move(path, fresh / path.name)
        snapshot.write(fresh / SNAPSHOT_FILE)
        entry = add_entry(store, MACHINES, derive_key(inputs), fresh, inputs=inputs, contents=Contents())
    prune(store, [MACHINES])
    return entry.path


def wake_golden(golden: Path, folder: MachineFolder) -> Snapshot:
    """Give a machine that is about to start its own copy of what the golden one has."""
    for path in golden.iterdir():
        if path.name != SNAPSHOT_FILE:
            shutil.copyfile(path, folder.root / path.name)
    return Snapshot.read(golden / SNAPSHOT_FILE)


def remove_golden(store: Store, key: str) -> None:
    """Forget a golden machine, for instance one that does not wake up."""
    forget_entry(store, MACHINES, key)

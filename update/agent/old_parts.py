"""The parts of the version that runs, for deltas that make those of a new one of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from update.agent.disk import TYPES, find_disk, find_node, list_partitions
from update.agent.esp import find_image, mount_esp
from update.agent.host import Host
from update.agent.identity import Identity
from update.errors import UpdateError

KERNEL = "/var/lib/update/running.efi"


def find_old_parts(host: Host, identity: Identity) -> dict[str, Path]:
    """Where they can be read: partitions of the slot, and a copy of the kernel image. What is not there is left out.

    Raises:
        UpdateError: the disk cannot be read.
    """
    label, disk = f"{identity.name}_{identity.version}", find_disk(host)
    parts = {}
    for partition in list_partitions(host, disk):
        part = next((name for name, kind in TYPES.items() if kind == partition.type), None)
        if part is not None and partition.name == label:
            parts[part] = host.locate(find_node(host, disk, partition.number))
    # The EFI system partition is not mounted for as long as a download takes.
    with mount_esp(host) as esp:
        image = find_image(esp, identity.name, identity.version)
        if image is not None:
            copy = host.locate(KERNEL)
            try:
                copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copyfile(image.path, copy)
            except OSError as error:
                raise UpdateError(f"{KERNEL} cannot be written: {error.strerror}") from None
            parts["uki"] = copy
    return parts


def forget_old_parts(host: Host) -> None:
    """Remove the copy."""
    host.locate(KERNEL).unlink(missing_ok=True)

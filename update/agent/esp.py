"""The EFI system partition: which kernel images are on it, and how often each may still be tried.

Names are systemd's (UAPI.1, "Boot counting"): ``NAME_VERSION.efi`` has proven itself, ``NAME_VERSION+LEFT-DONE.efi`` is
on trial, and with no tries left it is started only where there is nothing else.

Linux renames on FAT in two steps: the new name is there without content first, and a disk that loses power in between
has that. Firmware starts no such file, so it counts as none (``tests/boot/test_every_moment_of_an_update.py`` sees it).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.update_words import VERSION_PATTERN
from update.agent.disk import find_disk, find_node, list_partitions
from update.agent.host import Host, sync_directory
from update.agent.mounts import mount
from update.errors import UpdateError

MOUNT_POINT = "/run/update/esp"
IMAGES = "EFI/Linux"
_COUNTED = re.compile(r"(?P<stem>.*?)(?:\+(?P<left>[0-9]+)(?:-(?P<done>[0-9]+))?)?\.efi", re.DOTALL)


class KernelImage(NamedTuple):
    """A kernel image of the machine's OS on the partition.

    Attributes:
        path: the file.
        version: of the OS that it starts.
        left: how many tries are left, or ``None`` where nothing is counted.
        done: how many tries there were.
    """

    path: Path
    version: str
    left: int | None
    done: int

    @property
    def is_bad(self) -> bool:
        """Whether its tries have run out."""
        return self.left == 0


@contextmanager
def mount_esp(host: Host) -> Iterator[Path]:
    """The partition of the disk that the machine runs from, mounted where only root can see it, while it is needed.

    Raises:
        UpdateError: there is none, or it cannot be mounted.
    """
    disk = find_disk(host)
    partition = next((entry for entry in list_partitions(host, disk) if entry.type == "esp"), None)
    if partition is None:
        raise UpdateError(f"{disk} has no EFI system partition: this machine was not started from it")
    options = "rw,nosuid,nodev,noexec,umask=0077"
    with mount(host, MOUNT_POINT, "-t", "vfat", "-o", options, find_node(host, disk, partition.number)) as target:
        yield target


def list_images(esp: Path, name: str) -> list[KernelImage]:
    """The kernel images of an OS, by its name."""
    return [image for image in _list_names(esp, name) if not _is_cut(image)]


def find_image(esp: Path, name: str, version: str) -> KernelImage | None:
    """The kernel image of a version of an OS."""
    return next((image for image in list_images(esp, name) if image.version == version), None)


def has_cut_image(esp: Path, name: str, version: str) -> bool:
    """Whether a version's kernel image has lost its content because the power went while it was renamed."""
    return any(image.version == version and _is_cut(image) for image in _list_names(esp, name))


def _list_names(esp: Path, name: str) -> list[KernelImage]:
    wanted = re.compile(re.escape(name) + "_(" + VERSION_PATTERN + ")")
    images = []
    for path in sorted((esp / IMAGES).glob("*.efi")):
        counted = _COUNTED.fullmatch(path.name)
        matched = None if counted is None else wanted.fullmatch(counted["stem"])
        if counted is not None and matched is not None:
            left = None if counted["left"] is None else int(counted["left"])
            images.append(KernelImage(path, matched[1], left, int(counted["done"] or 0)))
    return images


def _is_cut(image: KernelImage) -> bool:
    return image.path.stat().st_size == 0


def require_good_image(esp: Path, name: str, version: str) -> KernelImage:
    """The kernel image of the version that runs, which is what a machine goes back to.

    Raises:
        UpdateError: it is not there, or on trial itself.
    """
    image = find_image(esp, name, version)
    if image is None:
        raise UpdateError(
            f"the EFI system partition has no kernel image {name}_{version}.efi: "
            "there would be nothing to go back to, so nothing is written"
        )
    if image.left is not None:
        raise UpdateError(f"version {version} has not proven itself yet; 'os-update status' says what it waits for")
    return image


def remove_other_images(esp: Path, name: str, version: str) -> list[str]:
    """Remove all kernel images but that of this version, which runs: the other slot is to be written next.

    Returns:
        The versions.
    """
    gone = [image for image in _list_names(esp, name) if image.version != version or _is_cut(image)]
    for image in gone:
        image.path.unlink()
    sync(esp)
    return [image.version for image in gone]


def rename_image(image: KernelImage, name: str) -> None:
    """Give a kernel image another name, for good."""
    image.path.rename(image.path.with_name(name))
    sync(image.path.parent)


def sync(path: Path) -> None:
    """Have what was changed on a file system on the disk: of FAT, files before the directories that name them."""
    os.sync()
    sync_directory(path)

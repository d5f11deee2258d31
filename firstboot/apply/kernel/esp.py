"""The EFI system partition that this machine was started from, and what its firmware would let a kernel be told."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from firstboot.apply.action import Refused
from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from firstboot.apply.disks import devices
    from firstboot.places import Places
else:
    devices = import_lazily("firstboot.apply.disks.devices")

# UEFI 2.10, 3.3; The Boot Loader Interface.
_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_PARTITION = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_VARIABLES = "firmware/efi/efivars"
# For all versions of the image: the kernel image's own directory would be gone after an update.
ADDON = "loader/addons/build-os-firstboot.addon.efi"
_STUBS = "/usr/lib/systemd/boot/efi/addon*.efi.stub"


def has_variables(places: Places) -> bool:
    """Whether the machine was started by UEFI firmware that can be asked; makes its variables visible."""
    directory = places.sys / _VARIABLES
    if not (places.sys / "firmware/efi").is_dir():
        return False
    if _variable(places, _PARTITION) is None:
        places.load_module("efivarfs")
        places.programs.run_for_status(
            ["mount", "-t", "efivarfs", "-o", "nosuid,nodev,noexec,ro", "efivarfs", str(directory)]
        )
    return _variable(places, _PARTITION) is not None


def is_secure(places: Places) -> bool:
    """Whether Secure Boot is on: the firmware then starts and reads signed files only."""
    value = _variable(places, _SECURE_BOOT)
    return value is not None and value[:1] == b"\1"


@contextmanager
def mount_esp(places: Places) -> Iterator[Path]:
    """The partition, mounted where only root can see it, as long as it is needed.

    Raises:
        Refused: the firmware does not say which one it is, or it is not there. ProgramError: it cannot be mounted.
    """
    value = _variable(places, _PARTITION)
    if value is None:
        raise Refused("the firmware does not say which partition it started the machine from")
    uuid = value.decode("utf-16-le", "replace").strip("\0").lower()
    device = devices.wait_for(str(places.dev / "disk/by-partuuid" / uuid), 10)
    target = places.locate("/run/firstboot/esp")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = "rw,nosuid,nodev,noexec,umask=0077"
    places.programs.run(["mount", "-t", "vfat", "-o", options, device, str(target)])
    try:
        yield target
    finally:
        places.programs.run(["umount", str(target)])
        with suppress(OSError):
            target.rmdir()


def find_stub(places: Places) -> bytes | None:
    """systemd's empty EFI program of the image, for its own architecture."""
    stubs = sorted(glob.glob(str(places.locate(_STUBS))))  # noqa: PTH207 - the pattern is absolute
    return Path(stubs[0]).read_bytes() if stubs else None


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is whole or not there, whenever the power goes.

    Raises:
        OSError
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")  # the firmware reads what ends in .addon.efi
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Remove a file for good.

    Raises:
        OSError
    """
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on the disk.

    Raises:
        OSError
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _variable(places: Places, name: str) -> bytes | None:
    """A variable's value, behind its four bytes of attributes."""
    try:
        return (places.sys / _VARIABLES / name).read_bytes()[4:]
    except OSError:
        return None

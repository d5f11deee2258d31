"""``boot_device``: the root filesystem encrypted, the boot disk mirrored.

The disks are laid out as Fedora CoreOS' images are, which this replaces: a partition is never smaller than the one
it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from firstboot.config.butane.models import BootDevice
from firstboot.config.devices import Cex, Clevis, Disk, Filesystem, Luks, Partition, Raid
from firstboot.config.models import Config, Storage
from firstboot.config.text import Path, Problem

Version = tuple[int, int]

LAYOUTS = ("aarch64", "ppc64le", "x86_64")
S390X = {"s390x-eckd": r"/dev/dasd[a-z]$", "s390x-zfcp": r"/dev/sd[a-z]$", "s390x-virt": ""}
# The partition of the root filesystem is this one of the device.
_ROOT_NUMBER = {"s390x-eckd": "2", "s390x-zfcp": "4"}

# Type and size in MiB of partitions (UEFI specification 5.3.3; the first is CoreOS' own).
_RESERVED = ("reserved", "8DA63339-0007-60C0-C436-083AC8230908", 1)
_BIOS = ("bios", "21686148-6449-6E6F-744E-656564454649", 1)
_PREP = ("prep", "9E1A2D38-C612-4316-AA26-8B49521E5A8B", 4)
_ESP = ("esp", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", 127)
_BOOT_MIB = 384
# The first two partitions of each layout.
_FIRMWARE = {"x86_64": (_BIOS, _ESP), "aarch64": (_RESERVED, _ESP), "ppc64le": (_PREP, _RESERVED)}

AT: Path = ("boot_device",)


def check(boot: BootDevice, spec: Version) -> Iterator[Problem]:
    """What is wrong with it, at paths below ``boot_device``."""
    luks = boot.luks
    if boot.layout is not None:
        yield from _check_layout(boot, boot.layout, spec)
    if luks.cex.enabled:
        if boot.layout is None or not boot.layout.startswith("s390x"):
            yield Problem((*AT, "luks", "cex"), "cex needs one of the s390x layouts")
        if luks.tang or luks.tpm2:
            yield Problem((*AT, "luks"), "give either cex or tang and tpm2, not both")
    if len(boot.mirror.devices) == 1:
        yield Problem((*AT, "mirror", "devices"), "mirroring needs two devices at least")
    elif boot.mirror.devices and boot.layout is None:
        hint = f"say which machine this is for: layout: {', '.join(LAYOUTS)}"
        message = "a mirrored boot disk needs a layout; x86_64 is assumed"
        yield Problem((*AT, "mirror"), message, hint, "error" if spec >= (3, 6) else "warning", on_key=True)
    if luks.device and not _wants_luks(boot):
        yield Problem((*AT, "luks"), "nothing says how to unlock the device", "give tpm2, tang or cex", on_key=True)


def _check_layout(boot: BootDevice, layout: str, spec: Version) -> Iterator[Problem]:
    here = (*AT, "layout")
    if layout in S390X and spec >= (3, 5):
        device = boot.luks.device or ""
        if boot.mirror.devices:
            yield Problem(here, f"with the layout {layout} the boot disk cannot be mirrored")
        if S390X[layout] and not device:
            yield Problem(here, f"the layout {layout} needs luks.device")
        elif S390X[layout] and not re.match(S390X[layout], device):
            yield Problem(here, f"with the layout {layout} luks.device cannot be '{device}'")
    elif layout not in LAYOUTS:
        known = (*LAYOUTS, *(S390X if spec >= (3, 5) else ()))
        yield Problem(here, f"the layout '{layout}' is not known", f"it is one of {', '.join(known)}")


def _wants_luks(boot: BootDevice) -> bool:
    return bool(boot.luks.tpm2 or boot.luks.tang or boot.luks.cex.enabled)


def render(boot: BootDevice) -> tuple[Config, dict[Path, Path]] | None:
    """The config it stands for, to be merged under the user's, and which setting each part comes from.

    ``None`` if it asks for nothing.
    """
    mirrored, encrypted = bool(boot.mirror.devices), _wants_luks(boot)
    if not mirrored and not encrypted:
        return None
    entries: dict[Path, Path] = {(): AT}
    disks: list[Disk] = []
    raids: list[Raid] = []
    filesystems: list[Filesystem] = []
    for index, device in enumerate(boot.mirror.devices):
        source = (*AT, "mirror", "devices", index)
        entries[("storage", "disks", index)] = source
        disk, esp = _disk(device, index + 1, boot.layout or "x86_64")
        disks.append(disk)
        if esp is not None:
            entries[("storage", "filesystems", len(filesystems))] = source
            filesystems.append(esp)
    if mirrored:
        # The superblock of the boot filesystem is at its end, so that GRUB need not understand RAID.
        raids = [_raid("boot", len(disks), "--metadata=1.0"), _raid("root", len(disks))]
        filesystems.append(_filesystem("/dev/md/md-boot", "ext4", "boot"))
    root = "/dev/mapper/root" if encrypted else "/dev/md/md-root"
    filesystems.append(_filesystem(root, "xfs", "root"))
    for name in ("raid", "luks"):
        entries[("storage", name)] = (*AT, "mirror" if name == "raid" else "luks")
    storage = Storage(
        disks=(*disks,),
        raid=(*raids,),
        luks=(_luks(boot, mirrored=mirrored),) if encrypted else (),
        filesystems=(*filesystems,),
    )
    return Config(storage=storage), entries


def _disk(device: str, number: int, layout: str) -> tuple[Disk, Filesystem | None]:
    partitions = [
        Partition(label=f"{name}-{number}", type_guid=guid, size_mib=size) for name, guid, size in _FIRMWARE[layout]
    ]
    partitions.append(Partition(label=f"boot-{number}", size_mib=_BOOT_MIB))
    partitions.append(Partition(label=f"root-{number}"))
    disk = Disk(device=device, wipe_table=True, partitions=(*partitions,))
    label = f"esp-{number}"
    esp = _filesystem(f"/dev/disk/by-partlabel/{label}", "vfat", label) if _ESP in _FIRMWARE[layout] else None
    return disk, esp


def _raid(name: str, count: int, *options: str) -> Raid:
    devices = tuple(f"/dev/disk/by-partlabel/{name}-{number + 1}" for number in range(count))
    return Raid(name=f"md-{name}", level="raid1", devices=devices, options=options)


def _filesystem(device: str, kind: str, label: str) -> Filesystem:
    return Filesystem(device=device, format=kind, label=label, wipe_filesystem=True)


def _luks(boot: BootDevice, *, mirrored: bool) -> Luks:
    wanted = boot.luks
    if boot.layout in _ROOT_NUMBER:
        device = f"{wanted.device}{_ROOT_NUMBER[boot.layout]}"
    else:
        device = "/dev/md/md-root" if mirrored else "/dev/disk/by-partlabel/root"
    luks = Luks(device=device, discard=wanted.discard, label="luks-root", name="root", wipe_volume=True)
    if wanted.cex.enabled:
        return luks.model_copy(update={"cex": Cex(enabled=True)})
    clevis = Clevis(tang=wanted.tang, threshold=wanted.threshold, tpm2=wanted.tpm2)
    return luks.model_copy(update={"clevis": clevis})

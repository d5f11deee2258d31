"""What somebody asks of a machine, besides the image that it boots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from vm.spec import Forward
from vm.spec.extra_disk import DiskBus, ExtraDisk


@dataclass(frozen=True)
class MachineRequest:
    """A machine that boots an image as that is meant to boot, unless it says otherwise: UEFI and virtio.

    Attributes:
        name: what it is called; none, as the image.
        boot: ``kernel`` skips the boot loader: QEMU loads kernel and initrd with the image's own command line, by
            itself where the kernel then finds what it is told, else through the firmware.
        arguments: for the kernel besides the image's own; only with ``boot="kernel"``, the others are verified.
        config: the first-boot configuration, JSON or YAML.
        memory: MiB.
        disk_size: bytes, when the boot disk should be larger than the image.
        extra_disks: further, empty disks, described or just their bytes; one without a serial number of its own gets
            ``extra0``, ``extra1`` ...
        media: raw images of further disks, which are only read.
        bus: how the boot disk is attached.
        rtc: what the hardware clock says at power-on.
        rng: whether it has a source of random numbers.
        icount: whether its clock counts its instructions, so that what they take can be told; only when emulated.
        log_writes: whether what is written to the boot disk is kept as :mod:`vm.disks.write_log` reads it.
        hotplug: how many disks can be plugged in later.
        restrict: whether a guest with a network reaches nothing but us.
        tpm: whether it has a TPM 2.0.
        secure_boot: the firmware starts only what is signed with the key of this certificate (a file, PEM or DER);
            true means the image's own, or Microsoft's if it is not signed.
        variables: the firmware's variables to begin with, in the tools tree, instead of those that this decides; they
            say what is trusted.
        watchdog: whether it has a watchdog that resets it.
    """

    name: str | None = None
    boot: Literal["uefi", "kernel"] = "uefi"
    arguments: str = ""
    config: Path | None = None
    memory: int = 1024
    cpus: int = 2
    disk_size: int | None = None
    extra_disks: Sequence[int | ExtraDisk] = ()
    media: Sequence[Path] = ()
    bus: DiskBus = "virtio"
    rtc: datetime | None = None
    rng: bool = True
    icount: bool = False
    log_writes: bool = False
    hotplug: int = 0
    net: Literal["none", "user"] = "user"
    restrict: bool = True
    forwards: Sequence[Forward] = ()
    video: bool = False
    tpm: bool = False
    secure_boot: bool | Path = False
    variables: Path | None = None
    watchdog: bool = False

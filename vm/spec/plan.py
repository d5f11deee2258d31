"""From an image and a few wishes to a machine's description. Touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from builder.core.architecture import Emulator, architecture
from builder.core.errors import ConfigError
from builder.core.image import Image
from firstboot.config.kernel_words import FULL_MARK
from vm.spec import NO_CREDENTIALS, Accel, Credentials, Disk, Forward, Kernel, Uefi, VmSpec
from vm.spec.extra_disk import DiskBus, ExtraDisk
from vm.spec.folder import MachineFolder


def plan_machine(
    image: Image,
    folder: MachineFolder,
    accel: Accel,
    *,
    name: str | None = None,
    boot: Literal["uefi", "kernel"] = "uefi",
    arguments: str = "",
    config: Path | None = None,
    memory: int = 1024,
    cpus: int = 2,
    disk_size: int | None = None,
    extra_disks: Sequence[int | ExtraDisk] = (),
    media: Sequence[Path] = (),
    bus: DiskBus = "virtio",
    rtc: datetime | None = None,
    rng: bool = True,
    icount: bool = False,
    log_writes: bool = False,
    hotplug: int = 0,
    net: Literal["none", "user"] = "user",
    restrict: bool = True,
    forwards: Sequence[Forward] = (),
    video: bool = False,
    tpm: bool = False,
    secure_boot: bool | Path = False,
    variables: Path | None = None,
    watchdog: bool = False,
) -> VmSpec:
    """A machine that boots this image from an overlay, as the image is meant to boot: UEFI and virtio.

    Args:
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
        tpm: whether it has a TPM 2.0.
        secure_boot: the firmware starts only what is signed with the key of this certificate (a file, PEM or DER);
            true means the image's own, or Microsoft's if it is not signed.
        variables: the firmware's variables to begin with, in the tools tree, instead of those that this decides; they
            say what is trusted.
        watchdog: whether it has a watchdog that resets it.

    Raises:
        ConfigError: the image has no artifact to boot so, or is of an architecture that is none of ours.
    """
    path, disk_format = image.disk()
    log = folder.root / "disk0.writes" if log_writes else None
    disks = [Disk(folder.disk(0), base=path, base_format=disk_format, size=disk_size, bus=bus, log=log)]
    for number, wish in enumerate(extra_disks):
        extra = ExtraDisk(wish) if isinstance(wish, int) else wish
        disks.append(
            Disk(
                folder.disk(number + 1),
                size=extra.size,
                serial=extra.serial or f"extra{number}",
                bus=extra.bus,
                block_size=extra.block_size,
            )
        )
    disks += [Disk(path, format="raw", read_only=True) for path in media]
    emulator = architecture(image.arch).emulator
    uefi = None
    if boot == "uefi" or not emulator.bare_kernel:
        if not secure_boot:
            uefi = Uefi(folder.variables, emulator.code, variables or emulator.variables)
        else:
            certificate = secure_boot if isinstance(secure_boot, Path) else image.certificate
            uefi = _secure_firmware(folder.variables, emulator, certificate, variables)
    elif secure_boot:
        raise ConfigError("without firmware, nobody verifies what is started", hint="take 'kernel' or 'secure boot'")
    kernel = None
    if boot == "kernel":
        # Whoever loads the kernel says what it is told: the word that fills a signed line up is left out.
        words = [word for word in image.command_line.split() if not word.startswith(FULL_MARK)]
        command_line = " ".join([*words, arguments]).rstrip()
        kernel = Kernel(image.artifact("kernel").path, image.artifact("initrd").path, command_line)
    return VmSpec(
        name=name or image.name,
        arch=image.arch,
        accel=accel,
        disks=tuple(disks),
        uefi=uefi,
        kernel=kernel,
        memory=memory,
        cpus=cpus,
        net=net,
        restrict=restrict,
        forwards=tuple(forwards) if net == "user" else (),
        firstboot_config=config,
        takes=_takes_credentials(image, by_kernel=boot == "kernel"),
        video=video,
        rtc=rtc,
        rng=rng,
        icount=icount,
        hotplug=hotplug,
        tpm=folder.tpm if tpm else None,
        watchdog=watchdog,
    )


def _takes_credentials(image: Image, *, by_kernel: bool) -> Credentials:
    """Whether systemd takes what we hand over. The last such word of a line counts, and a signed line is full."""
    words = [word for word in image.command_line.split() if word.startswith("systemd.import_credentials=")]
    if not words or words[-1] != NO_CREDENTIALS:
        return Credentials.TAKEN
    full = any(word.startswith(FULL_MARK) for word in image.command_line.split())
    return Credentials.REFUSED if full and not by_kernel else Credentials.IF_TOLD


def _secure_firmware(own: Path, emulator: Emulator, certificate: Path | None, variables: Path | None) -> Uefi:
    """The one that verifies what it starts.

    Raises:
        ConfigError: there is none for this architecture.
    """
    if emulator.secure_code is None or emulator.secure_variables is None:
        raise ConfigError(f"{emulator.program} has no firmware with Secure Boot here")
    if variables is not None or certificate is None:
        return Uefi(own, emulator.secure_code, variables or emulator.secure_variables, emulator.secure_options)
    return Uefi(own, emulator.secure_code, emulator.variables, emulator.secure_options, certificate)

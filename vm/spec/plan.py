"""From an image and what is asked of a machine to that machine's description. Touches nothing."""

from __future__ import annotations

from pathlib import Path

from builder.core.architecture import Emulator, require_architecture
from builder.core.errors import InputError
from builder.core.image import Image
from firstboot.config.kernel_words import FULL_MARK
from vm.spec import NO_CREDENTIALS, Accel, Credentials, Disk, Kernel, Uefi, VmSpec
from vm.spec.extra_disk import ExtraDisk
from vm.spec.folder import MachineFolder
from vm.spec.request import MachineRequest

ANYTHING = MachineRequest()
ENCRYPTED_STATE = "encrypted-state"  # the feature of images whose state a TPM opens


def plan_machine(image: Image, folder: MachineFolder, accel: Accel, request: MachineRequest = ANYTHING) -> VmSpec:
    """A machine that boots this image from an overlay.

    Raises:
        InputError: the image has no artifact to boot so, or is of an architecture that is none of ours.
    """
    emulator = require_architecture(image.arch).emulator
    return VmSpec(
        name=request.name or image.name,
        arch=image.arch,
        accel=accel,
        disks=_plan_disks(image, folder, request),
        uefi=_plan_firmware(image, folder, request, emulator),
        kernel=_plan_kernel(image, request),
        memory=request.memory,
        cpus=request.cpus,
        net=request.net,
        restrict=request.restrict,
        forwards=tuple(request.forwards) if request.net == "user" else (),
        firstboot_config=request.config,
        takes=_find_credentials(image, by_kernel=request.boot == "kernel"),
        video=request.video,
        rtc=request.rtc,
        rng=request.rng,
        icount=request.icount,
        hotplug=request.hotplug,
        tpm=folder.tpm if request.tpm or ENCRYPTED_STATE in image.features else None,
        watchdog=request.watchdog,
    )


def _plan_disks(image: Image, folder: MachineFolder, request: MachineRequest) -> tuple[Disk, ...]:
    path, disk_format = image.choose_disk()
    log = folder.root / "disk0.writes" if request.log_writes else None
    size, bus = request.disk_size, request.bus
    disks = [Disk(folder.locate_disk(0), base=path, base_format=disk_format, size=size, bus=bus, log=log)]
    for number, asked in enumerate(request.extra_disks):
        extra = ExtraDisk(asked) if isinstance(asked, int) else asked
        disks.append(
            Disk(
                folder.locate_disk(number + 1),
                size=extra.size,
                serial=extra.serial or f"extra{number}",
                bus=extra.bus,
                block_size=extra.block_size,
            )
        )
    disks += [Disk(path, format="raw", read_only=True) for path in request.media]
    return tuple(disks)


def _plan_firmware(image: Image, folder: MachineFolder, request: MachineRequest, emulator: Emulator) -> Uefi | None:
    own, variables = folder.variables, request.variables
    if request.boot == "kernel" and emulator.bare_kernel:
        if request.secure_boot:
            raise InputError(
                "a machine without firmware verifies nothing that it starts", hint="take 'kernel' or 'secure boot'"
            )
        return None
    if not request.secure_boot:
        return Uefi(own, emulator.code, variables or emulator.variables)
    certificate = request.secure_boot if isinstance(request.secure_boot, Path) else image.certificate
    return _secure_firmware(own, emulator, certificate, variables)


def _plan_kernel(image: Image, request: MachineRequest) -> Kernel | None:
    if request.boot != "kernel":
        return None
    if ENCRYPTED_STATE in image.features:
        raise InputError(
            f"the state of {image.name} is opened for kernel images that firmware measured, and --kernel has none",
            hint="leave out --kernel",
        )
    # Whoever loads the kernel says what it is told: the word that fills a signed line up is left out.
    words = [word for word in image.command_line.split() if not word.startswith(FULL_MARK)]
    command_line = " ".join([*words, request.arguments]).rstrip()
    return Kernel(image.require_artifact("kernel").path, image.require_artifact("initrd").path, command_line)


def _find_credentials(image: Image, *, by_kernel: bool) -> Credentials:
    """Whether systemd takes what we hand over. The last such word of a line counts, and a signed line is full."""
    words = [word for word in image.command_line.split() if word.startswith("systemd.import_credentials=")]
    if not words or words[-1] != NO_CREDENTIALS:
        return Credentials.TAKEN
    full = any(word.startswith(FULL_MARK) for word in image.command_line.split())
    return Credentials.REFUSED if full and not by_kernel else Credentials.IF_TOLD


def _secure_firmware(own: Path, emulator: Emulator, certificate: Path | None, variables: Path | None) -> Uefi:
    """The one that verifies what it starts.

    Raises:
        InputError: there is none for this architecture.
    """
    if emulator.secure_code is None or emulator.secure_variables is None:
        raise InputError(f"{emulator.program} has no firmware with Secure Boot here")
    if variables is not None or certificate is None:
        return Uefi(own, emulator.secure_code, variables or emulator.secure_variables, emulator.secure_options)
    return Uefi(own, emulator.secure_code, emulator.variables, emulator.secure_options, certificate)

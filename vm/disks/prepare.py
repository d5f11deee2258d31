"""What a machine needs on the host's disk before it is first switched on."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from builder.core.efi_keys import read_certificate
from builder.core.errors import CapabilityError, InputError
from builder.core.files import write_file
from builder.core.tools import Tools
from vm.disks.firmware_variables import NotFirmwareVariables, add_own_keys
from vm.guest.credentials import (
    CREDENTIALS_AFTER_ALL,
    add_probe_to_config,
    make_probe_credentials,
    make_stub_argument,
    write_credentials,
)
from vm.spec import Credentials, Disk, Uefi, VmSpec
from vm.spec.folder import MachineFolder

# What a machine reads of a first-boot configuration; a disk image given by mistake is not read into memory.
MAX_CONFIG = 10_000_000
# More than this is handed over on a disk: the kernel reads fw_cfg by pages, and begins at the front for each, so that
# time grows with the square of the size.
LARGE_CONFIG = 64 << 10
CONFIG_DISK = "ignition"  # the serial number by which Ignition knows a disk with a config
_SECTOR = 512


def prepare(spec: VmSpec, tools: Tools, folder: MachineFolder, *, probe: bool) -> VmSpec:
    """Make disks, firmware variables, configuration and credentials; returns the spec that names them.

    Raises:
        InputError: the configuration cannot be read.
        CapabilityError: the tools tree has no firmware or no qemu-img.
        ToolError: qemu-img failed.
    """
    for disk in spec.disks:
        make_disk(disk, tools)
    if spec.uefi is not None:
        copy_variables(spec.uefi, tools)
    by_config = probe and spec.takes is Credentials.REFUSED
    if by_config or spec.firstboot_config is not None:
        config = None if spec.firstboot_config is None else read_config(spec.firstboot_config)
        # QEMU sees the tools tree's /etc and /usr instead of the host's: what it is to read lies in the folder.
        write_file(folder.config, (add_probe_to_config(config) if by_config else config) or b"", mode=0o600)
        spec = add_config(spec, folder.config)
    copies = [copy_config(path, folder.root / path.name) for path in spec.base_configs]
    spec = replace(spec, base_configs=tuple(copies))
    if probe and not by_config:
        files = write_credentials(make_probe_credentials(), folder.credentials)
        spec = replace(spec, credentials=(*spec.credentials, *files))
    if spec.credentials and spec.takes is Credentials.IF_TOLD:
        spec = tell_to_take_credentials(spec, folder)
    return spec


def tell_to_take_credentials(spec: VmSpec, folder: MachineFolder) -> VmSpec:
    """The machine whose kernel is told to, by whoever makes its command line: QEMU, or the stub in the image."""
    if spec.kernel is not None and spec.kernel.command_line is not None:
        words = f"{spec.kernel.command_line} {CREDENTIALS_AFTER_ALL}"
        return replace(spec, kernel=replace(spec.kernel, command_line=words))
    path = folder.credentials / "argument"
    write_file(path, make_stub_argument(), mode=0o600)
    return replace(spec, credentials=(*spec.credentials, path))


def add_config(spec: VmSpec, config: Path) -> VmSpec:
    """The machine with this configuration: in fw_cfg, or on a disk if it is large."""
    size = config.stat().st_size
    # A driver finds all its devices at once: where the root is on virtio, so is the config by then.
    if size <= LARGE_CONFIG or spec.disks[0].bus != "virtio":
        return replace(spec, firstboot_config=config)
    os.truncate(config, size + -size % _SECTOR)  # what reads it takes the padding off
    disk = Disk(config, format="raw", read_only=True, serial=CONFIG_DISK)
    return replace(spec, firstboot_config=None, disks=(*spec.disks, disk))


def make_disk(disk: Disk, tools: Tools) -> None:
    """Make an overlay or an empty disk, unless it is there."""
    if disk.log is not None:
        write_file(disk.log, b"")
    if disk.path.exists():
        return
    if disk.kept and disk.base is not None:
        copy_disk(disk, disk.base, tools)
        return
    size = [] if disk.size is None else [str(disk.size)]
    base: list[str | Path] = [] if disk.base is None else ["-b", disk.base, "-F", disk.base_format]
    tools.run("qemu-img", "create", "-q", "-f", disk.format, *base, disk.path, *size)


def copy_disk(disk: Disk, base: Path, tools: Tools) -> None:
    """Make a disk that needs its base no more; it appears under its name when it is whole."""
    beside = disk.path.with_name(f".{disk.path.name}")
    tools.run("qemu-img", "convert", "-q", "-f", disk.base_format, "-O", disk.format, base, beside)
    if disk.size is not None:
        tools.run("qemu-img", "resize", "-q", "-f", disk.format, beside, str(disk.size))
    beside.replace(disk.path)


def copy_variables(uefi: Uefi, tools: Tools) -> None:
    """Give the machine firmware variables of its own.

    Raises:
        CapabilityError: the tools tree has no such firmware, or one whose variables we cannot write.
        InputError: the certificate that it shall trust is none.
    """
    for needed in (uefi.code, uefi.template):
        if not (tools.root / needed.relative_to("/")).is_file():
            raise CapabilityError(
                f"the tools tree has no firmware {needed}",
                hint="run 'build-os doctor'; 'build-os cache clear --tools' makes it anew",
            )
    if uefi.variables.exists():
        return
    template = tools.root / uefi.template.relative_to("/")
    if uefi.certificate is None:
        shutil.copyfile(template, uefi.variables)
        return
    try:
        own = add_own_keys(template.read_bytes(), read_certificate(uefi.certificate))
    except NotFirmwareVariables as error:
        raise CapabilityError(f"cannot put keys into {uefi.template}: {error}") from error
    write_file(uefi.variables, own)


def copy_config(source: Path, target: Path) -> Path:
    """Copy a configuration to where QEMU sees it.

    Raises:
        InputError: as :func:`read_config`.
    """
    write_file(target, read_config(source), mode=0o600)
    return target


def read_config(source: Path) -> bytes:
    """The first-boot configuration.

    Raises:
        InputError: it cannot be read, or is no configuration by its size.
    """
    try:
        with source.open("rb") as file:
            data = file.read(MAX_CONFIG + 1)
    except OSError as error:
        raise InputError(f"cannot read the first-boot configuration {source}: {error.strerror}") from error
    if len(data) > MAX_CONFIG:
        raise InputError(f"{source} is larger than {MAX_CONFIG // 1_000_000} MB, which no first-boot configuration is")
    return data

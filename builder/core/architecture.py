"""What differs between the architectures, in one place: everything else asks this table.

Names: Debian's, except where a field says whose. Another architecture is an entry in :class:`Arch` and one in
:data:`ARCHITECTURES`.
"""

from __future__ import annotations

import enum
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError


class Arch(enum.StrEnum):
    """An architecture, by Debian's name."""

    AMD64 = "amd64"
    ARM64 = "arm64"


@dataclass(frozen=True)
class Emulator:
    """The virtual machine that runs an architecture's images, by QEMU's names.

    Attributes:
        packages: what the tools tree needs for it.
        machine: with the parts that every machine gets.
        cpu: the processor under emulation; under KVM it is the host's own.
        display: the graphics card of a machine that has one.
        tpm: the security chip of a machine that has one.
        code, variables: the firmware and its fresh variables, in the tools tree.
        secure_code, secure_variables: the firmware that verifies what it starts, and variables with Microsoft's keys.
        secure_options: what that firmware needs besides.
        bare_kernel: whether a kernel that QEMU loads itself sees the SMBIOS tables; where only the firmware shows them
            to it, it is the firmware that loads it.
    """

    packages: tuple[str, ...]
    program: str
    machine: str
    cpu: str
    display: str
    tpm: str
    code: Path
    variables: Path
    bare_kernel: bool
    secure_code: Path | None = None
    secure_variables: Path | None = None
    secure_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """The facts of one architecture.

    Attributes:
        machines: the kernel's names for it, ``uname -m``.
        multiarch: the GNU triplet in library paths and names of Python's extension modules.
        elf_machine: ``e_machine`` of its ELF files.
        library_flags: ldconfig's for a library of its normal ABI (``FLAG_ELF_LIBC6`` and glibc's
            ``sysdeps/generic/ldconfig.h``).
        efi: the UEFI specification's name in file names, in lower case as systemd has it.
        partition: systemd's name in partition types (UAPI.2).
        variant: the OCI image specification's, beside the architecture's name, which is Debian's.
        variants: those that images for it may name and its machines run, best first.
        loader: the dynamic loader's file name, which is a library's as well.
        oldest_glibc: the minor version of the first glibc that manylinux wheels for it can be made for (PEP 600).
        kernel_package: what an image gets that names no kernel.
        consoles: kernel command line words for an image that names no console; the last device that exists is the main
            one, where services write and the login prompt is.
    """

    machines: tuple[str, ...]
    multiarch: str
    elf_machine: int
    library_flags: int
    efi: str
    partition: str
    variant: str | None
    variants: tuple[str, ...]
    loader: str
    oldest_glibc: int
    kernel_package: str
    consoles: tuple[str, ...]
    emulator: Emulator

    @property
    def boot_file(self) -> str:
        """What firmware starts from a disk it knows nothing about (UEFI 2.10, 3.5.1.1), in ``EFI/BOOT``."""
        return f"BOOT{self.efi.upper()}.EFI"

    @property
    def is_native(self) -> bool:
        """Whether this machine runs its programs."""
        return platform.machine().lower() in self.machines


ARCHITECTURES: Mapping[str, Architecture] = {
    Arch.AMD64: Architecture(
        machines=("x86_64", "amd64"),
        multiarch="x86_64-linux-gnu",
        elf_machine=62,
        library_flags=0x0303,
        efi="x64",
        partition="x86-64",
        variant=None,
        # Go calls the first one nothing or v1.
        variants=("", "v1"),
        loader="ld-linux-x86-64.so.2",
        oldest_glibc=5,
        kernel_package="linux-image-cloud-amd64",
        consoles=("console=tty0", "console=ttyS0"),
        emulator=Emulator(
            packages=("qemu-system-x86", "ovmf", "swtpm"),
            program="qemu-system-x86_64",
            # No disk of a machine is on the board's own SATA controller: its drivers took 0.4 of 15 thousand million
            # instructions of a boot.
            machine="q35,sata=off",
            # x86-64-v2, which Debian's and other user spaces may ask for, and nothing that is slow to emulate. Measured
            # with the demo image, 2 vCPUs, from power-on to the container's answer (QEMU 10.0):
            #   this one 44 CPU s; Nehalem 75; max 65; max without la57 56; this one with erms and fsrm 55.
            # - Nehalem, as Intel made it, is vulnerable to Meltdown: the guest's kernel isolates page tables, and each
            #   system call flushes the emulated TLB. An AMD processor does not need that, and qemu64 is one, of a
            #   family that AMD made.
            # - max makes kernel and libc choose what is slow here: 5-level page tables, SMAP, AVX2, "rep movsb" for
            #   every copy.
            # - sha-ni is for dm-verity: QEMU's helper hashes 19 MB/s, the kernel's plain C 15, its SSSE3 code 7, and
            #   the kernel prefers them in the order NI, SSSE3, C.
            # - No aes: without pclmulqdq the kernel's driver dies of an invalid opcode, and with it more drivers are
            #   loaded.
            cpu="qemu64,-svm,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf-lm,+sha-ni",
            display="VGA",
            tpm="tpm-crb",
            code=Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
            variables=Path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
            bare_kernel=True,
            secure_code=Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"),
            secure_variables=Path("/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
            # Only the firmware itself may write its variables: from system management mode.
            secure_options=("-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"),
        ),
    ),
    Arch.ARM64: Architecture(
        machines=("aarch64", "arm64"),
        multiarch="aarch64-linux-gnu",
        elf_machine=183,
        library_flags=0x0A03,
        efi="aa64",
        partition="arm64",
        variant="v8",
        variants=("v8", ""),
        loader="ld-linux-aarch64.so.1",
        oldest_glibc=17,
        kernel_package="linux-image-cloud-arm64",
        # A 16550 on AWS, a PL011 on Azure, Google and in QEMU.
        consoles=("console=tty0", "console=ttyS0", "console=ttyAMA0"),
        emulator=Emulator(
            packages=("qemu-system-arm", "qemu-efi-aarch64", "swtpm"),
            program="qemu-system-aarch64",
            machine="virt",
            # Measured from power-on to the login prompt of a provisioned machine, 2 vCPUs (QEMU 10.0), CPU s:
            #   this one 38; cortex-a76 54; cortex-a57 54; neoverse-n1 56; cortex-a53 59; max 52.
            # - The kernel isolates page tables to keep its random address a secret, unless the processor hides them
            #   by itself (FEAT_E0PD, Armv8.5): then each system call flushes the emulated TLB.
            # - Signing each return address is what costs max more.
            cpu="max,pauth=off",
            display="virtio-gpu-pci",
            tpm="tpm-tis-device",
            code=Path("/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd"),
            variables=Path("/usr/share/AAVMF/AAVMF_VARS.fd"),
            bare_kernel=False,
        ),
    ),
}


def require_architecture(name: str) -> Architecture:
    """The facts of an architecture.

    Raises:
        InputError: it is none of ours.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise InputError(
            f"build-os does not know the architecture '{name}'", hint=f"supported: {', '.join(ARCHITECTURES)}"
        ) from None


def find_host_arch() -> Arch | None:
    """This machine's architecture, or ``None`` if it is none of ours."""
    return next((arch for arch in Arch if ARCHITECTURES[arch].is_native), None)

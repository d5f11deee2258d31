"""A virtual machine described: what it is made of, and nothing of how it is started."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Literal

from builder.core.image import DiskFormat
from vm.spec.extra_disk import DiskBus

NO_CREDENTIALS = "systemd.import_credentials=no"  # on the command line of an image that takes none


class Credentials(Enum):
    """Whether the guest takes system credentials (:mod:`vm.guest.credentials`)."""

    TAKEN = "taken"
    IF_TOLD = "taken when the kernel is told so, which whoever starts it can do"
    REFUSED = "refused"


class Accel(Enum):
    """What executes the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class Fault:
    """Requests of one kind that touch a sector (of 512 bytes; without one, all of that kind) fail with EIO."""

    kind: Literal["read", "write", "flush"]
    sector: int | None = None


@dataclass(frozen=True)
class Disk:
    """A disk. QEMU writes ``path``.

    With a ``base``, ``path`` is an overlay that is made when the machine first starts: reads come from ``base``, which
    is never written, writes go to ``path`` (and stay over a power cut). ``size`` in bytes makes the overlay larger.
    Without a ``base``, a missing ``path`` is made as an empty disk of ``size``. With a ``log``, every write and flush
    of the guest is also written there, in the kernel's dm-log-writes format (:mod:`vm.disks.write_log`). A disk that is
    ``kept`` is a copy of its ``base`` instead of an overlay, because that may be built anew meanwhile, and what the
    guest flushes is on the host's disk. ``faults`` are what a disk does wrong.
    """

    path: Path
    format: DiskFormat = "qcow2"
    base: Path | None = None
    base_format: DiskFormat = "qcow2"
    size: int | None = None
    serial: str | None = None
    read_only: bool = False
    block_size: Literal[512, 4096] = 512
    bus: DiskBus = "virtio"
    log: Path | None = None
    kept: bool = False
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Uefi:
    """Firmware. ``code`` and ``template`` lie in the tools tree and are named as QEMU sees them, from its root.

    ``options`` are words of QEMU's command line that this firmware needs.
    ``variables`` is this machine's own copy of ``template``, made when it first starts; with a ``certificate`` (a file
    on the host, PEM or DER) it trusts that one, and only that.
    """

    variables: Path
    code: Path
    template: Path
    options: tuple[str, ...] = ()
    certificate: Path | None = None


@dataclass(frozen=True)
class Kernel:
    """A kernel that QEMU loads itself; with :class:`Uefi` it may be a UKI, and then needs neither of the others."""

    path: Path
    initrd: Path | None = None
    command_line: str | None = None


@dataclass(frozen=True)
class Forward:
    """TCP from ``host`` on 127.0.0.1 to ``guest``; host port 0 lets the kernel choose one when QEMU binds it."""

    guest: int
    host: int = 0


@dataclass(frozen=True)
class SocketFd:
    """A chardev on a connected socket that QEMU inherits; with ``log``, QEMU also writes what it sends there."""

    fd: int
    log: Path | None = None


@dataclass(frozen=True)
class ListeningFd:
    """A chardev on a listening socket that QEMU inherits, for one client at a time; ``log`` as for another."""

    fd: int
    log: Path | None = None


Chardev = SocketFd | ListeningFd


@dataclass(frozen=True)
class Port:
    """A virtio-serial port: ``/dev/virtio-ports/NAME`` in the guest."""

    name: str
    chardev: Chardev


@dataclass(frozen=True)
class Cable:
    """A network card on a datagram socket that QEMU inherits (:mod:`vm.network.segment`)."""

    fd: int
    mac: str


@dataclass(frozen=True)
class VmSpec:
    """Everything that decides QEMU's command line (:func:`vm.qemu.argv.make_argv`).

    ``memory`` in MiB. ``credentials`` are files with one SMBIOS type 11 string each (:mod:`vm.guest.credentials`).
    ``takes`` says what becomes of them.
    ``firstboot_config`` is handed to the guest as fw_cfg ``opt/com.coreos/config``, where Ignition looks for it; a
    large one becomes a disk (:func:`vm.disks.prepare.add_config`).
    ``restrict`` keeps a guest with a network from reaching anything but us.
    With ``icount`` the guest's clock goes by its instructions, a nanosecond each, and emulation uses one thread.
    Without ``rng`` the guest has no source of random numbers but its processor. ``rtc`` is what the hardware clock says
    at power-on (none: the host's time); ``hotplug`` the number of slots for disks that are plugged in later. ``tpm`` is
    the directory in which the machine's TPM 2.0 keeps its state. With
    ``watchdog``, a device resets it when nobody has fed that.
    ``base_configs`` are first-boot configs that the machine's own is merged over (:mod:`firstboot.platforms.qemu`).
    ``serial``, ``qmp``, ``ports``, ``cables`` and ``tpm_control`` are filled in by :class:`vm.machine.Machine`, which
    makes the sockets.
    """

    name: str
    arch: str
    accel: Accel
    disks: tuple[Disk, ...]
    uefi: Uefi | None = None
    kernel: Kernel | None = None
    memory: int = 1024
    cpus: int = 2
    cpu: str | None = None
    net: Literal["none", "user"] = "user"
    restrict: bool = True
    forwards: tuple[Forward, ...] = ()
    firstboot_config: Path | None = None
    base_configs: tuple[Path, ...] = ()
    credentials: tuple[Path, ...] = ()
    takes: Credentials = Credentials.TAKEN
    video: bool = False
    rtc: datetime | None = None
    rng: bool = True
    icount: bool = False
    hotplug: int = 0
    tpm: Path | None = None
    watchdog: bool = False
    reboots: bool = True
    paused: bool = False
    serial: Chardev | None = None
    qmp: Chardev | None = None
    ports: tuple[Port, ...] = ()
    cables: tuple[Cable, ...] = ()
    tpm_control: SocketFd | None = None

    def __post_init__(self) -> None:
        """A machine without firmware of its own and without a kernel would show an empty screen for ever."""
        assert self.uefi is not None or self.kernel is not None, "a machine needs firmware or a kernel"

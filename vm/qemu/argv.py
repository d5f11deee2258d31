"""QEMU's command line, as a pure function of the machine's description."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

from builder.core.architecture import require_architecture
from vm.spec import Accel, Chardev, Disk, Fault, Kernel, ListeningFd, SocketFd, Uefi, VmSpec

DISK_DEVICES = {"virtio": "virtio-blk-pci", "scsi": "scsi-hd", "nvme": "nvme"}
FIRSTBOOT_CONFIG = "opt/com.coreos/config"
BASE_CONFIGS = "opt/org.buildos/base"


def make_argv(spec: VmSpec) -> list[str]:
    """The command line, program first.

    Raises:
        InputError: the architecture is none of ours.
    """
    parts = (_machine, _firmware, _tpm, _disks, _network, _guest_data, _wires)
    return [require_architecture(spec.arch).emulator.program, *(word for part in parts for word in part(spec))]


def escape(value: str | Path) -> str:
    """A value inside a comma-separated option: commas are doubled (qemu(1), "Device URL Syntax")."""
    return str(value).replace(",", ",,")


def _machine(spec: VmSpec) -> Iterator[str]:
    """Processor, memory, clock, and none of the devices that QEMU adds when it is not told otherwise."""
    emulator = require_architecture(spec.arch).emulator
    flash = ",pflash0=code,pflash1=variables" if spec.uefi else ""
    yield from ("-name", escape(spec.name))
    yield from ("-no-user-config", "-nodefaults")
    # A guest that breaks out of its devices finds a process that starts no other and gains no rights (seccomp(2)).
    yield from ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
    yield from ("-machine", f"{emulator.machine}{flash}")
    # One thread a vCPU is the default where guest and host agree on memory order; said, because it halves boot time.
    if spec.icount:
        yield from ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off")
    else:
        yield from ("-accel", "kvm" if spec.accel is Accel.KVM else "tcg,thread=multi")
    yield from ("-cpu", spec.cpu or ("host" if spec.accel is Accel.KVM else emulator.cpu))
    yield from ("-smp", str(spec.cpus))
    yield from ("-m", f"{spec.memory}M")
    yield from ("-display", "none")
    if spec.rtc is not None:
        yield from ("-rtc", f"base={spec.rtc.astimezone(UTC):%Y-%m-%dT%H:%M:%S}")
    if spec.watchdog:
        yield from ("-device", "i6300esb", "-action", "watchdog=reset")
    if spec.video:
        yield from ("-device", emulator.display)
    if not spec.reboots:
        yield "-no-reboot"
    if spec.paused:
        yield "-S"


def _firmware(spec: VmSpec) -> Iterator[str]:
    if isinstance(spec.uefi, Uefi):
        yield from spec.uefi.options
        code, variables = escape(spec.uefi.code), escape(spec.uefi.variables)
        yield from (
            "-blockdev",
            f"driver=raw,node-name=code,read-only=on,file.driver=file,file.filename={code}",
        )
        yield from ("-blockdev", f"driver=raw,node-name=variables,file.driver=file,file.filename={variables}")
    if isinstance(spec.kernel, Kernel):
        yield from ("-kernel", str(spec.kernel.path))
        if spec.kernel.initrd is not None:
            yield from ("-initrd", str(spec.kernel.initrd))
        if spec.kernel.command_line is not None:
            yield from ("-append", spec.kernel.command_line)


def _tpm(spec: VmSpec) -> Iterator[str]:
    """A TPM 2.0, which another program is (:mod:`vm.qemu.tpm`)."""
    if spec.tpm_control is None:
        return
    yield from ("-chardev", _chardev("tpm", spec.tpm_control))
    yield from ("-tpmdev", "emulator,id=tpm0,chardev=tpm")
    yield from ("-device", f"{require_architecture(spec.arch).emulator.tpm},tpmdev=tpm0")


def _disks(spec: VmSpec) -> Iterator[str]:
    if any(disk.bus == "scsi" for disk in spec.disks):
        yield from ("-device", "virtio-scsi-pci")
    for number, disk in enumerate(spec.disks):
        yield from ("-blockdev", _blockdev(f"disk{number}", disk))
        device = [f"{DISK_DEVICES[disk.bus]},drive=disk{number}"]
        if number == 0 and spec.kernel is None:
            device.append("bootindex=0")
        serial = disk.serial or (f"disk{number}" if disk.bus == "nvme" else None)  # NVMe has no drives without one
        if serial is not None:
            device.append(f"serial={escape(serial)}")
        if disk.block_size != 512:
            device.append(f"logical_block_size={disk.block_size},physical_block_size={disk.block_size}")
        if disk.log is not None and disk.bus == "virtio":
            # QEMU merges requests into one of as many pieces as writev(2) takes; the log adds two, and it fails.
            device.append("request-merging=off")
        yield from ("-device", ",".join(device))
    for slot in range(spec.hotplug):
        yield from ("-device", f"pcie-root-port,id=slot{slot},chassis={slot + 1}")


def _blockdev(node: str, disk: Disk) -> str:
    # A test machine's disk need not survive the host: not waiting for the host's fsync is most of an install's time.
    # It does survive QEMU being killed, because the data is in the host's page cache by then.
    options = [f"driver={disk.format}"]
    careless = [] if disk.kept else ["cache.no-flush=on"]
    options += ["read-only=on"] if disk.read_only else [*careless, "discard=unmap"]
    options += ["file.driver=file", f"file.filename={escape(disk.path)}"]
    if disk.faults:
        rules = [word for number, fault in enumerate(disk.faults) for word in _fault(number, fault)]
        return ",".join([f"driver=blkdebug,node-name={node}", *(f"image.{option}" for option in options), *rules])
    if disk.log is None:
        return ",".join([options[0], f"node-name={node}", *options[1:]])
    log = f"log.driver=file,log.filename={escape(disk.log)},log-super-update-interval=1"
    return ",".join([f"driver=blklogwrites,node-name={node}", *(f"file.{option}" for option in options), log])


def _fault(number: int, fault: Fault) -> Iterator[str]:
    """A rule of blkdebug's."""
    rule = f"inject-error.{number}"
    yield from (f"{rule}.event=none", f"{rule}.errno=5", f"{rule}.iotype={fault.kind}")
    if fault.sector is not None:
        yield f"{rule}.sector={fault.sector}"


def _network(spec: VmSpec) -> Iterator[str]:
    for number, cable in enumerate(spec.cables):
        yield from ("-netdev", f"dgram,id=cable{number},local.type=fd,local.str={cable.fd}")
        yield from ("-device", f"virtio-net-pci,netdev=cable{number},mac={cable.mac},romfile=")
    if spec.net == "none":
        return
    options = ["user,id=net0"]
    if spec.restrict:
        options.append("restrict=on")
    options += [f"hostfwd=tcp:127.0.0.1:{forward.host}-:{forward.guest}" for forward in spec.forwards]
    yield from ("-netdev", ",".join(options))
    # No option ROM: it would offer to boot from the network, and costs firmware time.
    yield from ("-device", "virtio-net-pci,netdev=net0,romfile=")


def _guest_data(spec: VmSpec) -> Iterator[str]:
    """What the guest is told, and the randomness it needs to start without waiting."""
    if spec.rng:
        yield from ("-device", "virtio-rng-pci")
    if spec.firstboot_config is not None:
        yield from ("-fw_cfg", f"name={FIRSTBOOT_CONFIG},file={escape(spec.firstboot_config)}")
    for path in spec.base_configs:
        yield from ("-fw_cfg", f"name={BASE_CONFIGS}/{escape(path.name)},file={escape(path)}")
    for path in spec.credentials:
        yield from ("-smbios", f"type=11,path={escape(path)}")


def _wires(spec: VmSpec) -> Iterator[str]:
    """Serial line, monitor and virtio-serial ports."""
    yield from ("-chardev", _chardev("serial0", spec.serial))
    # The board's own first serial port, whatever it is.
    yield from ("-serial", "chardev:serial0")
    if spec.qmp is not None:
        yield from ("-chardev", _chardev("qmp", spec.qmp))
        yield from ("-mon", "chardev=qmp,mode=control")
    if spec.ports:
        yield from ("-device", "virtio-serial-pci")
    for number, port in enumerate(spec.ports):
        yield from ("-chardev", _chardev(f"port{number}", port.chardev))
        yield from ("-device", f"virtserialport,chardev=port{number},name={escape(port.name)}")


def _chardev(name: str, chardev: Chardev | None) -> str:
    match chardev:
        case None:
            return f"null,id={name}"
        case ListeningFd(fd, log):
            return f"socket,id={name},fd={fd},server=on,wait=off" + _logfile(log)
        case SocketFd(fd, log):
            return f"socket,id={name},fd={fd}" + _logfile(log)


def _logfile(log: Path | None) -> str:
    return "" if log is None else f",logfile={escape(log)}"

"""Snapshots of a running machine: memory, devices and disks, kept inside the machine's own disk overlay.

A restored machine goes on in the middle of an instruction, a second after it was asked for; a boot takes half a minute
under emulation. What a snapshot cannot be used for:

- anything about booting: firmware, initrd, first boot and early units are over;
- uniqueness: machine-id, host keys, boot id and the kernel's random pool are those of the moment it was taken;
- time: the guest's clock goes on from that moment, so timers, certificates and leases see a clock that is behind; under
  emulation its monotonic clock jumps ahead by what the machine has run since (:mod:`vm.testing.pool`);
- connections that were open then: the other end does not remember them.

Source: ``snapshot-save`` and ``snapshot-load`` in QEMU's QMP reference; every disk that is written must be qcow2,
and none may be NVMe, whose emulation QEMU cannot save.
"""

from __future__ import annotations

from collections.abc import Sequence

from builder.core.errors import InputError
from vm.qemu.qmp import Qmp
from vm.spec import Disk
from vm.waiting.deadline import Deadline


def list_nodes(disks: Sequence[Disk]) -> list[str]:
    """The block nodes that a snapshot is made of.

    Raises:
        InputError: a disk that the guest may write cannot hold one.
    """
    written = {f"disk{number}": disk for number, disk in enumerate(disks) if not disk.read_only}
    for disk in written.values():
        if disk.format != "qcow2":
            raise InputError(
                f"{disk.path} is {disk.format}, which cannot hold a snapshot", hint="use qcow2, or make it read-only"
            )
    if any(disk.bus == "nvme" for disk in disks):
        raise InputError("QEMU cannot save a machine that has an NVMe disk", hint="use virtio or scsi")
    if not written:
        raise InputError("a machine without a disk of its own has nowhere to keep a snapshot")
    return list(written)


def save_snapshot(qmp: Qmp, name: str, disks: Sequence[Disk], deadline: Deadline) -> None:
    """Keep the machine's present state under a name; one of the same name is replaced.

    Raises:
        InputError: see :func:`list_nodes`.
        VmError: QEMU could not, or the deadline.
    """
    places = list_nodes(disks)
    qmp.run_job("snapshot-delete", deadline, tag=name, devices=places)
    qmp.run_job("snapshot-save", deadline, tag=name, vmstate=places[0], devices=places)


def load_snapshot(qmp: Qmp, name: str, disks: Sequence[Disk], deadline: Deadline) -> None:
    """Put the machine into a state that was kept; its processors stay halted.

    Raises:
        VmError: there is no such snapshot, or the deadline.
    """
    places = list_nodes(disks)
    qmp.stop(deadline)
    qmp.run_job("snapshot-load", deadline, tag=name, vmstate=places[0], devices=places)

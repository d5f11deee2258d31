"""A further disk, as one writes it: ``2G``, ``2G:4k``, ``10G:nvme,serial=data``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from builder.core.errors import InputError

DiskBus = Literal["virtio", "scsi", "nvme"]
BUSES: dict[str, DiskBus] = {"virtio": "virtio", "scsi": "scsi", "nvme": "nvme"}
SHIFTS = {"M": 20, "G": 30, "T": 40}
EXAMPLE = "for example 2G, 2G:4k or 10G:nvme,serial=data"


@dataclass(frozen=True)
class ExtraDisk:
    """An empty disk of ``size`` bytes that the image does not know; found in the guest by its serial number."""

    size: int
    serial: str | None = None
    bus: DiskBus = "virtio"
    block_size: Literal[512, 4096] = 512


def parse_disk(text: str) -> ExtraDisk:
    """``SIZE[:OPTION,...]``; an option is ``4k``, ``virtio``, ``scsi``, ``nvme`` or ``serial=NAME``.

    Raises:
        InputError: it is not of that form.
    """
    size, _, options = text.partition(":")
    match = re.fullmatch(r"([1-9]\d*)([MGT])", size)
    if match is None:
        raise InputError(f"a disk of size {size!r} cannot be made", hint=EXAMPLE)
    serial: str | None = None
    bus: DiskBus = "virtio"
    block_size: Literal[512, 4096] = 512
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if option == "4k":
            block_size = 4096
        elif option in BUSES:
            bus = BUSES[option]
        elif key == "serial" and re.fullmatch(r"[A-Za-z0-9_.-]{1,20}", value):
            serial = value
        else:
            raise InputError(f"a disk has no option {option!r}", hint=EXAMPLE)
    return ExtraDisk(int(match[1]) << SHIFTS[match[2]], serial, bus, block_size)

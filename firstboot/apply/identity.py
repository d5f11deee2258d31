"""Who this machine is: its machine-id.

Made here and not by PID 1 because a root without one counts as booted for the first time, and ``systemd``
then applies all presets again, which costs seconds (machine-id(5), "First Boot Semantics").
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from firstboot.apply.action import Action, Machine
from firstboot.apply.allowed import check_writable
from firstboot.apply.root import Root
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path, Problem

MACHINE_ID = "/etc/machine-id"


class WriteMachineId(NamedTuple):
    """Give the machine a random id."""

    at: Path = ()

    def describe(self) -> str:
        return f"write {MACHINE_ID}"

    def perform(self, machine: Machine) -> None:
        machine.root.write(MACHINE_ID, f"{make_random_id()}\n".encode(), mode=0o444)


def make_random_id() -> str:
    """128 random bits in hex, marked as a random UUID as systemd's own are (RFC 9562, version 4)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return raw.hex()


def plan(root: Root) -> Iterator[Action | Problem]:
    """Make a machine-id, unless the root has one."""
    seen = root.see(MACHINE_ID)
    if seen.is_file and root.read(MACHINE_ID).strip() not in (b"", b"uninitialized"):
        return
    yield from check_writable(seen, MACHINE_ID, ())
    yield WriteMachineId()

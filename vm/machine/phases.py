"""Where the seconds of a boot went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vm.guest.firstboot_events import Event
from vm.guest.probe_client import Greeting

if TYPE_CHECKING:
    from vm.machine import Machine

MICROSECONDS = 1e6
MANAGER_PROPERTIES = ("InitRDTimestampMonotonic", "UserspaceTimestampMonotonic", "FinishTimestampMonotonic")
MULTI_USER = "multi-user.target"


@dataclass(frozen=True)
class Phases:
    """Seconds each phase took, in order, and all together from power-on. Phases that did not happen are absent."""

    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds from power-on to the end of the last phase."""
        return sum(self.seconds.values())


def compute_phases(
    hello: Greeting, manager: Mapping[str, str], multi_user: Mapping[str, str], events: Sequence[Event]
) -> Phases:
    """Put together what three clocks say.

    Args:
        hello: the guest's monotonic clock, which starts with its kernel, and the host's at the same moment.
        manager: service manager properties, ``systemctl show`` without a unit (org.freedesktop.systemd1(5)).
        multi_user: properties of multi-user.target.
        events: of the first boot, with the host's seconds.
    """
    # The firmware has no clock of its own; it is what lies between power-on and the start of the guest's clock.
    kernel_start = max(0.0, hello.seconds - hello.monotonic)
    initrd = _seconds(manager, "InitRDTimestampMonotonic")
    userspace = _seconds(manager, "UserspaceTimestampMonotonic")
    reached = _seconds(multi_user, "ActiveEnterTimestampMonotonic")
    first_boot = _first_boot(events)

    phases: dict[str, float] = {"firmware": kernel_start}
    if initrd:
        phases["kernel"] = initrd
        # The first boot runs within the initrd, and is told apart because it is work that only one boot does.
        phases["initrd"] = max(0.0, userspace - initrd - first_boot)
        if first_boot:
            phases["first boot"] = first_boot
    else:
        phases["kernel"] = userspace
    if reached > userspace:
        phases["multi-user"] = reached - userspace
    return Phases({name: round(value, 3) for name, value in phases.items()})


def measure_phases(machine: Machine) -> Phases:
    """Ask a machine that has reached multi-user.target where its boot's seconds went.

    Raises:
        VmError: the probe does not answer.
    """
    deadline = machine.deadline
    hello = machine.probe.wait(deadline)
    manager = machine.probe.show_manager(deadline, MANAGER_PROPERTIES)
    multi_user = machine.probe.show_unit(MULTI_USER, deadline, ("ActiveEnterTimestampMonotonic",))
    return compute_phases(hello, manager, multi_user, machine.firstboot.events)


def _first_boot(events: Sequence[Event]) -> float:
    started = next((event.seconds for event in events if event.kind == "started"), None)
    finished = next((event.seconds for event in events if event.kind == "finished"), None)
    return finished - started if started is not None and finished is not None else 0.0


def _seconds(properties: Mapping[str, str], name: str) -> float:
    text = properties.get(name, "0")
    return int(text) / MICROSECONDS if text.isdigit() else 0.0

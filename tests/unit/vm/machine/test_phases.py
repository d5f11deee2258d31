"""Where a boot's seconds went."""

from __future__ import annotations

import pytest

from vm.guest.firstboot_events import Event
from vm.guest.probe_client import Greeting
from vm.machine.phases import compute_phases

pytestmark = pytest.mark.unit

MANAGER = {
    "InitRDTimestampMonotonic": "3500000",
    "UserspaceTimestampMonotonic": "9000000",
    "FinishTimestampMonotonic": "15000000",
}
MULTI_USER = {"ActiveEnterTimestampMonotonic": "14000000"}
EVENTS = [Event(7.0, {"event": "started"}), Event(8.5, {"event": "finished", "result": "ok"})]


def test_a_first_boot_is_told_apart_from_its_initrd() -> None:
    phases = compute_phases(Greeting("b", 13.0, 15.0), MANAGER, MULTI_USER, EVENTS)
    assert list(phases.seconds.items()) == [
        ("firmware", 2.0),
        ("kernel", 3.5),
        ("initrd", 4.0),
        ("first boot", 1.5),
        ("multi-user", 5.0),
    ]
    assert phases.total == 16.0


def test_a_second_boot_has_no_first() -> None:
    phases = compute_phases(Greeting("b", 13.0, 15.0), MANAGER, MULTI_USER, [])
    assert "first boot" not in phases.seconds
    assert phases.seconds["initrd"] == 5.5


def test_a_machine_without_an_initrd_has_none() -> None:
    manager = {"InitRDTimestampMonotonic": "0", "UserspaceTimestampMonotonic": "4000000"}
    phases = compute_phases(Greeting("b", 5.0, 5.5), manager, MULTI_USER, [])
    assert list(phases.seconds) == ["firmware", "kernel", "multi-user"]
    assert phases.seconds["kernel"] == 4.0


def test_properties_that_make_no_sense_do_not_count() -> None:
    manager = {"UserspaceTimestampMonotonic": "n/a"}
    phases = compute_phases(Greeting("b", 5.0, 3.0), manager, {}, [])
    assert phases.seconds == {"firmware": 0.0, "kernel": 0.0}

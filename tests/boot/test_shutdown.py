"""Powering off a machine that is busy: what will not end is ended, and what was written is whole at the next boot.

That boot finds a larger disk, because each is a minute: the state has grown with it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.tools import Tools
from tests.support.machines import MASK_CONTAINER
from vm.machine import Machine

DEMO = Path(__file__).parents[2] / "configs" / "machines" / "demo.yaml"
pytestmark = [pytest.mark.boot, pytest.mark.vm(config=DEMO, memory=1024, seconds=120)]

# Goes on when it is told to end, and writes: a file, line by line, and the journal.
STUBBORN = """
import itertools, os, signal, socket, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
with open("/var/lib/numbers", "w", buffering=1) as file:
    for number in itertools.count():
        file.write(f"{number}\\n")
        if number % 100 == 0:
            print(f"at {number}", flush=True)
        time.sleep(0.001)
"""
START = "systemd-run --quiet --unit=stubborn --property=Type=notify --property=TimeoutStopSec=2 python3 -c"


def load(vm: Machine) -> None:
    vm.succeed(*START.split(), STUBBORN)
    vm.succeed("/bin/sh", "-c", "until test -s /var/lib/numbers; do sleep .1; done")


def repairs(vm: Machine) -> list[str]:
    """What this boot had to repair: lines of the kernel about the state, and journals that nobody had closed."""
    said = [line for line in vm.journal("-k") if "EXT4-fs" in line and ("recovery" in line or "orphan" in line)]
    return said + vm.succeed("find /var/log/journal -name *.journal~").splitlines()


def state_blocks(vm: Machine) -> int:
    return int(vm.succeed("stat --file-system --format=%b /run/state"))


def test_a_busy_machine_is_off_in_time_and_everything_is_whole_and_larger_afterwards(
    vm: Machine, vm_tools: Tools
) -> None:
    vm.succeed(MASK_CONTAINER)
    load(vm)
    small = state_blocks(vm)
    vm.shutdown()
    assert vm.transcript.find("Failed unmounting") is None
    vm_tools.run("qemu-img", "resize", "-q", vm.spec.disks[0].path, "+512M")
    vm.boot()
    vm.wait_unit("multi-user.target")
    vm.wait_unit("state-grow.service")

    assert state_blocks(vm) > small + 100_000  # of 4 KiB
    before = vm.journal("--boot=-1", "--unit=stubborn.service", boot=False)
    assert any("State 'stop-sigterm' timed out. Killing." in line for line in before)
    assert any("at 0" in line for line in before)
    assert repairs(vm) == []
    vm.succeed("journalctl", "--verify", "--quiet")
    numbers = vm.read("/var/lib/numbers").splitlines()
    assert numbers == [str(number) for number in range(len(numbers))]
    assert vm.succeed("systemctl list-units --failed --no-legend --plain") == ""
    vm.shutdown()  # a disk of another size is nothing for the next test


@pytest.mark.slow
def test_a_machine_that_was_not_powered_off_has_something_to_repair(vm: Machine) -> None:
    load(vm)
    vm.succeed("sync")
    vm.power_cut()
    vm.wait_unit("multi-user.target")
    assert repairs(vm) != []

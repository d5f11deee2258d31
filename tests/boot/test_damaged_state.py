"""A later boot of a machine whose state partition was damaged while it was off: repaired, or stopped with a reason.

The machine is made once; each damage is done to a copy of its disk. What the check alone makes of many more of them is
looked at in ``tests/image/test_damaged_state.py``: here it is the kernel that comes upon them. What the machine wrote
at its first boot is looked at as well, at some of the moments at which the power might have gone.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from builder.core.errors import VmError
from builder.core.store import Store
from builder.core.tools import Tools
from tests.boot.test_every_moment_of_a_first_boot import Watched, each_moment, raw_disk, spread
from tests.support.machines import WITHOUT_CONTAINER, started
from tests.support.state_partition import DAMAGES, State
from vm.disks import tamper
from vm.machine import Machine
from vm.spec import Disk, Fault

pytestmark = pytest.mark.boot

FOLDER = Path(__file__).parents[2] / "out" / "boot-tests" / "damaged-state"
NUMBERS = range(400)
PRECIOUS = {"etc/upper/hostname": "precious\n", **{f"var/lib/app/{n}": f"file {n}" for n in NUMBERS}}
CONFIG = """\
variant: buildos
version: 1.0.0
hostname: precious
storage:
  files:
    - {path: /etc/ssh/key, mode: 0600, contents: {inline: "secret\\n"}}
    - {path: /var/lib/large, contents: {inline: "large enough to have blocks of its own"}}
""" + "".join(f"    - {{path: /var/lib/app/{n}, contents: {{inline: 'file {n}'}}}}\n" for n in NUMBERS)
ANYTHING = re.compile("")
MOMENTS = 12  # all of them are looked at by `make slow-test`


class Case:
    """A machine that was made, and a copy of its disk that can be damaged."""

    def __init__(self, machine: Machine, whole: Path, log: Path, tools: Tools) -> None:
        self.machine, self.whole, self.log, self.tools = machine, whole, log, tools
        self.disk = Disk(whole.with_name("disk.raw"), format="raw")
        self._since = 0

    def fresh(self) -> State:
        """The disk as it was when the machine was switched off in good order."""
        if not self.machine.is_off:
            self.machine.unplug()
        subprocess.run(["cp", "--sparse=always", self.whole, self.disk.path], check=True)
        self.machine.spec = replace(self.machine.spec, disks=(self.disk,))
        return self.state()

    def state(self) -> State:
        place = tamper.find_partition(tamper.list_partitions(self.disk, self.tools), "state")
        return State(self.disk.path, self.tools, place.start)

    def boot(self, *, faults: tuple[Fault, ...] = (), read_only: bool = False) -> None:
        if not self.machine.is_off:
            self.machine.unplug()
        disk = replace(self.disk, faults=faults, read_only=read_only)
        self.machine.spec = replace(self.machine.spec, disks=(disk,))
        self._since = self.machine.transcript.position
        self.machine.transcript.expect(ANYTHING)
        self.machine.boot()

    def shown(self, text: str) -> str:
        """This boot's console once it shows a text."""
        while True:
            over = self.machine.is_off or self.machine.deadline.expired
            lines = "\n".join(line.text for line in self.machine.transcript.list_lines(self._since))
            if text in lines:
                return lines
            assert not over, f"{text!r} is not on the console:\n{lines}"
            time.sleep(0.2)

    def ends(self) -> str:
        """This boot's console once the machine runs or has stopped."""
        while True:
            lines = "\n".join(line.text for line in self.machine.transcript.list_lines(self._since))
            if "stopped before its root was started" in lines or self.machine.probe.hello is not None:
                return lines
            assert not self.machine.is_off, lines
            assert not self.machine.deadline.expired, lines
            time.sleep(0.5)

    def stops(self, text: str) -> str:
        """The machine stops before its root is started, and says why; returns what its console shows."""
        lines = self.shown("stopped before its root was started")
        assert text in lines
        assert "login:" not in lines
        self.machine.release_boot_slot()
        return lines

    def everything_is_there(self, scratch: Path) -> None:
        """Nothing was thrown away: a repair by hand brings all of it back, with the names or in lost+found."""
        self.machine.unplug()
        state = self.state()
        subprocess.run(self.tools.make_argv("e2fsck", "-f", "-y", state.device), check=False, stdout=subprocess.DEVNULL)
        found, _ = state.files(scratch)
        contents = sorted(found.values())
        for text in PRECIOUS.values():
            assert text in contents


@pytest.fixture(scope="module")
def case(demo: Path, store: Store, tools: Tools) -> Iterator[Case]:
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    config = FOLDER.with_name("damaged-state.yaml")
    config.write_text(CONFIG, encoding="utf-8")
    options: dict[str, Any] = {"boot": "kernel", "arguments": WITHOUT_CONTAINER, "memory": 1024, "seconds": 900}
    with started(demo, FOLDER, store, config=config, log_writes=True, **options) as machine:
        machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        assert machine.succeed("systemctl list-units --failed --no-legend --plain") == ""
        for place in ("/etc", "/var", "/run/state"):
            options = machine.succeed("findmnt", "--noheadings", "--output", "OPTIONS", place).split(",")
            assert {"nosuid", "nodev"} <= {*options}, place
        machine.shutdown()
        whole = FOLDER.with_name("damaged-state.whole.raw")
        tools.run("qemu-img", "convert", "-O", "raw", machine.spec.disks[0].path, whole)
        log = FOLDER / "disk0.writes"
        yield Case(machine, whole, log, tools)
    for path in (whole, whole.with_name("disk.raw"), log):
        path.unlink(missing_ok=True)


def test_no_moment_of_its_first_boot_was_that_of_a_machine_that_is_half_provisioned(
    case: Case, demo: Path, tools: Tools, tmp_path: Path
) -> None:
    watched = Watched(tools, raw_disk(demo, tools, tmp_path / "disk.raw"))
    for _, moment in each_moment(watched, case.log, spread(case.log, tmp_path / "count", MOMENTS)):
        if not moment.first:
            assert json.loads((moment.files / "firstboot/complete").read_text())["config_sha256"]
            assert [(moment.files / path).read_text() for path in PRECIOUS] == [*PRECIOUS.values()]
    print(f"{watched.moments} moments, {watched.whole} of them with a machine that is whole")
    assert 0 < watched.whole < watched.moments


def test_one_unreadable_block_does_not_wipe_the_machine(case: Case, tmp_path: Path) -> None:
    """The directory that has the mark of the first boot cannot be read: neither is it begun again, nor gone on."""
    state = case.fresh()
    DAMAGES["directory firstboot: one byte"](state)
    case.boot()
    shown = case.stops("the state partition cannot be used: firstboot")
    assert "Bad message (EBADMSG)" in shown
    assert "Start the machine again" in shown
    # The kernel has noted it: the next boot looks at everything, and will not throw anything away.
    case.boot()
    case.stops("the state partition cannot be repaired without losing data")
    case.everything_is_there(tmp_path / "found")


def test_what_is_found_while_the_machine_runs_stops_writing_and_is_repaired_by_the_next_boot(case: Case) -> None:
    machine = case.machine
    state = case.fresh()
    number = str(state.number("var/lib/app/7"))
    state.flip(state.inode("var/lib/app/7") + 0x7C, 2)
    case.boot()
    machine.wait_unit("multi-user.target")
    assert machine.succeed("systemctl is-system-running --wait") == "running"
    machine.fail("cat", "/var/lib/app/7")
    machine.fail("touch", "/var/lib/new")
    assert machine.unit("state-health.timer")["ActiveState"] == "active"
    # Not waiting for the timer's two minutes.
    machine.succeed("/bin/sh", "-c", "systemctl start state-health.service; true")
    case.shown("the file system of the state partition (/dev/vda")
    assert machine.run("systemctl", "is-system-running").stdout.strip() == "degraded"
    assert "state-health.service" in machine.succeed("systemctl list-units --failed --no-legend --plain")

    case.boot()
    shown = case.shown("the state partition was damaged and has been repaired; what e2fsck did:")
    machine.wait_unit("multi-user.target")
    machine.succeed("/bin/sh", "-c", "systemctl start state-health.service; true")
    assert "state-health.service" in machine.succeed("systemctl list-units --failed --no-legend --plain")
    said = "\n".join(machine.journal("--unit=state-health.service"))
    assert number in shown
    assert number in said
    assert machine.read("/var/lib/app/8") == "file 8"
    assert machine.read("/etc/hostname") == "precious\n"


def test_a_disk_that_cannot_be_written_stops_the_machine(case: Case) -> None:
    case.fresh()
    case.boot(read_only=True)
    case.stops("build-os: the state partition")


def faulty(kind: Literal["read", "write"], state: State, at: int) -> tuple[Fault, ...]:
    """A block of the state partition that fails, given by the place of its first byte."""
    return tuple(Fault(kind, (state.offset + at) // 512 + sector) for sector in range(8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "ends"),
    [
        ("superblock: magic", "the state partition cannot be repaired"),
        ("group descriptors: zeros", "the state partition cannot be repaired"),
        ("inode of var: zeros", "the state partition cannot be used"),
        ("inode of the mark: zeros", "the state partition cannot be used"),
        ("directory of the root: zeros", "the state partition cannot be used"),
        ("directory etc/upper: zeros", ""),
        ("inode bitmap: zeros", "login:"),
        ("journal: its superblock", "login:"),
    ],
)
def test_each_kind_of_damage_ends_in_a_repair_or_in_a_stop(case: Case, tmp_path: Path, damage: str, ends: str) -> None:
    state = case.fresh()
    DAMAGES[damage](state)
    for boot in range(3):
        case.boot()
        shown = case.ends()
        told = [line for line in shown.splitlines() if "state partition" in line or "build-os" in line]
        print(f"| {damage} | boot {boot + 1} | {'; '.join(told) or 'runs'} |")
        case.machine.release_boot_slot()
        if "stopped" not in shown:
            break
    assert ends == "" or ends in shown or ends == "login:"
    case.everything_is_there(tmp_path / "found")


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda state: state.block("firstboot"), id="directory of the mark"),
        pytest.param(lambda state: state.inode("firstboot/complete"), id="inode of the mark"),
        pytest.param(lambda state: 4096, id="group descriptors"),
    ],
)
def test_a_sector_that_cannot_be_read_stops_the_machine_and_nothing_is_thrown_away(
    case: Case, tmp_path: Path, place: Callable[[State], int]
) -> None:
    state = case.fresh()
    for boot in range(2):
        case.boot(faults=faulty("read", state, place(state) & ~4095))
        shown = case.stops("the state partition cannot be")
        told = [line for line in shown.splitlines() if "state partition" in line]
        print(f"| unreadable: {place} | boot {boot + 1} | {'; '.join(told)} |")
    case.everything_is_there(tmp_path / "found")


@pytest.mark.slow  # several boots, and not seen to pass on a machine yet
def test_a_first_boot_that_cannot_write_everything_says_so(
    case: Case, demo: Path, store: Store, tools: Tools, tmp_path: Path
) -> None:
    """Contents go to the disk when everything else is done: what cannot be written then is noticed all the same."""
    data = base64.b64encode(gzip.compress(bytes(96 << 20))).decode()
    config = tmp_path / "large.yaml"
    config.write_text(
        "variant: buildos\nversion: 1.0.0\nstorage:\n  files:\n    - path: /var/large\n      contents:\n"
        f"        compression: gzip\n        source: data:;base64,{data}\n"
    )
    # What is free on a machine like this one was written by nobody who made its file system.
    state = case.fresh()
    free = {int(word) for word in state.debugfs(f"ffb {1 << 20}").split() if word.isdigit()}
    faults = [Fault("write", (state.offset + block * 4096) // 512) for block in free if block % 2048 == 0]
    assert faults != []
    case.machine.release_boot_slot()

    def fails(disk: Disk) -> Disk:
        return replace(disk, faults=tuple(faults))

    folder = FOLDER.with_name("failing-disk")
    with started(demo, folder, store, config=config, boot="kernel", memory=1024, disk=fails) as machine:
        machine.transcript.expect(ANYTHING)
        with pytest.raises(VmError) as caught:
            machine.wait_firstboot()
        assert "what was written did not reach the disk" in str(caught.value)
        shown = "\n".join(line.text for line in machine.transcript.list_lines())
        assert "A disk of this machine cannot be read or written as it should" in shown
        machine.unplug()
        raw = tmp_path / "disk.raw"
        tools.run("qemu-img", "convert", "-O", "raw", machine.spec.disks[0].path, raw)
        found, _ = State(raw, tools, state.offset).files(tmp_path / "found")
        assert "firstboot/attempt" in found
        assert "firstboot/complete" not in found

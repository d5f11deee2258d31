"""Snapshots, crashes, disks and cables of a machine that runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.core.errors import InputError, VmError
from tests.unit.vm.machine.conftest import RUN, Start, commands, soon
from vm.network.segment import Segment
from vm.qemu import snapshots
from vm.spec import Disk

if TYPE_CHECKING:
    from tests.unit.vm.conftest import FakeQemu

pytestmark = pytest.mark.unit


def test_a_snapshot_is_kept_in_all_written_disks_and_gone_back_to(start: Start, qemu: FakeQemu, folder: Path) -> None:
    disks = (
        Disk(folder / "disk0.qcow2", base=Path("/out/demo.qcow2")),
        Disk(folder / "disk1.qcow2", size=1 << 30),
        Disk(folder / "seed.raw", "raw", read_only=True, size=1 << 20),
    )
    with start(changes={"disks": disks}) as machine:
        machine.snapshot("before")
        machine.restore("before")
    jobs = [
        (command["execute"], command["arguments"])
        for command in qemu.commands
        if command["execute"].startswith("snapshot-")
    ]
    assert [name for name, _ in jobs] == ["snapshot-delete", "snapshot-save", "snapshot-load"]
    assert all(arguments["devices"] == ["disk0", "disk1"] for _, arguments in jobs)
    assert all(arguments["tag"] == "before" for _, arguments in jobs)
    assert commands(qemu)[-6:] == ["stop", "snapshot-load", "query-jobs", "job-dismiss", "cont", "quit"]
    assert "---- restored before ----" in (folder / "serial.log").read_text()


def test_a_machine_that_went_back_before_a_reboot_runs_the_probe_of_then(
    start: Start, qemu: FakeQemu, folder: Path
) -> None:
    disks = (Disk(folder / "disk0.qcow2", base=Path("/out/demo.qcow2")),)
    with start(changes={"disks": disks}) as machine:
        qemu.reports(event="finished", result="ok")
        qemu.greets()
        machine.wait_firstboot()
        before = machine.wait_probe()
        machine.snapshot()
        qemu.answer["reboot"] = lambda _: qemu.happens("RESET") or qemu.greets()
        machine.reboot()
        machine.restore()
        assert machine.wait_probe() == before
        assert machine.wait_firstboot().message["result"] == "ok"
        qemu.answer["run"] = lambda _: qemu.greets(before.boot_id)
        with pytest.raises(VmError, match="the probe was started again before it answered"):
            machine.run("true")


def test_a_snapshot_that_is_not_there_says_so(start: Start, qemu: FakeQemu) -> None:
    qemu.job_errors["snapshot-load"] = "Snapshot 'x' does not exist in one or more devices"
    with start() as machine, pytest.raises(VmError, match="snapshot-load failed: Snapshot 'x' does not exist"):
        machine.restore("x")


@pytest.mark.parametrize(
    ("disk", "complaint"),
    [
        (Disk(Path("data.raw"), "raw"), "raw, which cannot hold a snapshot"),
        (Disk(Path("disk0.qcow2"), bus="nvme"), "NVMe"),
        (Disk(Path("ro.qcow2"), read_only=True), "nowhere to keep a snapshot"),
    ],
)
def test_a_machine_that_cannot_be_kept_says_why(disk: Disk, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        snapshots.list_nodes([disk])


def test_a_crash_is_what_was_asked_for_and_no_bad_sign(start: Start, qemu: FakeQemu) -> None:
    def panic(_: dict[str, Any]) -> object:
        soon(lambda: qemu.says("Kernel panic - not syncing: sysrq triggered crash\n"))
        return {}

    qemu.answer["crash"] = panic
    with start() as machine:
        qemu.greets()
        machine.crash()
        machine.wait_console("Kernel panic")
        assert machine.sightings == ()


def test_a_disk_is_plugged_into_the_next_slot(start: Start, qemu: FakeQemu, folder: Path) -> None:
    with start(changes={"hotplug": 2}) as machine:
        machine.add_disk(1 << 30, "first")
        machine.add_disk(1 << 30, "second")
    plugged = [command["arguments"] for command in qemu.commands if command["execute"] == "device_add"]
    assert [(device["bus"], device["serial"]) for device in plugged] == [("slot0", "first"), ("slot1", "second")]
    assert [command[-2:] for command in RUN[1:]] == [
        [str(folder / "disk1.qcow2"), str(1 << 30)],
        [str(folder / "disk2.qcow2"), str(1 << 30)],
    ]


def test_the_cable_of_a_machine_of_a_cluster_is_the_one_to_the_others(start: Start, qemu: FakeQemu) -> None:
    with Segment() as segment, start(cables=[(segment, segment.make_nic("web"))]) as machine:
        machine.net_down()
    links = [command["arguments"] for command in qemu.commands if command["execute"] == "set_link"]
    assert links == [{"name": "cable0", "up": False}]


def test_the_cable_the_clock_and_the_processors(start: Start, qemu: FakeQemu) -> None:
    qemu.answer["run"] = lambda _: {"status": 0, "stdout": "", "stderr": ""}
    with start() as machine:
        qemu.greets()
        machine.net_down()
        machine.net_up()
        machine.pause()
        machine.resume()
        machine.clock(datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC))
    links = [command["arguments"] for command in qemu.commands if command["execute"] == "set_link"]
    assert links == [{"name": "net0", "up": False}, {"name": "net0", "up": True}]
    assert commands(qemu)[-3:] == ["stop", "cont", "quit"]
    assert qemu.requests[-1]["argv"] == ["date", "--utc", "--set", "@2147483648"]

"""Directories that were made for mounts in a home belong to its user."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from firstboot.apply.action import Machine
from firstboot.apply.disks.mounts import make_mount_point
from firstboot.cli import stage_state
from firstboot.engine.compile import load
from firstboot.engine.plan import plan

pytestmark = pytest.mark.unit

CONFIG = "variant: buildos\nversion: 1.0.0\npasswd: {users: [{name: core}]}\n"


def test_they_are_given_to_the_user_once_there_is_one(
    accounts: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (accounts / "var/home").mkdir(parents=True)
    (accounts / "home").symlink_to("var/home")
    make_mount_point("/var/home/core/data", machine)
    make_mount_point("/var/lib/data", machine)
    owners: dict[str, tuple[int, int]] = {}
    change = machine.root.change

    def recorded(path: str, *, uid: int, gid: int, mode: int | None) -> None:
        owners[path] = (uid, gid)
        change(path, mode=mode)

    monkeypatch.setattr(machine.root, "change", recorded)
    for action in plan(load(CONFIG, "m.yaml"), machine):
        action.perform(machine)
    assert owners == {"/var/home/core": (1000, 1000), "/var/home/core/data": (1000, 1000)}
    modes = [stat.S_IMODE((accounts / each).stat().st_mode) for each in ("var/home/core/data", "var/lib/data")]
    assert modes == [0o700, 0o755]


def test_a_later_stage_knows_them(machine: Machine) -> None:
    make_mount_point("/data", machine)
    later = Machine(machine.root)
    stage_state.load(later, stage_state.dump(machine))
    assert later.mount_points == ["/data"]

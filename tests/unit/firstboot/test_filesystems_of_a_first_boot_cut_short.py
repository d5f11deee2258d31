"""A first boot that was cut short has filled a filesystem by half: the next one makes it anew."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from firstboot import report
from firstboot.apply.root import Root
from firstboot.log import Log
from firstboot.prepare import prepare
from tests.support.guest import Guest
from tests.unit.firstboot.conftest import FakePrograms

pytestmark = pytest.mark.unit

CONFIG = """variant: buildos
version: 1.0.0
storage:
  filesystems: [{device: /dev/one, format: ext4, path: /var/lib/data, with_mount_unit: true}]
  files: [{path: /var/lib/data/file, contents: {inline: mine}}]
"""


class PowerCut(BaseException):
    """Nothing is done after it."""


class OneDisk(FakePrograms):
    """A machine with a disk, on which a filesystem is a directory."""

    disk: Path
    made: list[str]

    @classmethod
    def at(cls, root: Path, disk: Path) -> OneDisk:
        programs = cls()
        programs.__dict__.update(FakePrograms.below(root).__dict__)
        programs.disk, programs.made = disk, []
        return programs

    def run_for_status(self, argv: Sequence[str]) -> tuple[int, str]:
        place = Path(argv[-1])
        match argv[0]:
            case "wipefs" if "--parsable" in argv:
                return 0, f"ext4,,{self.made[-1]}" if self.disk.exists() else ""
            case "wipefs":
                shutil.rmtree(self.disk, ignore_errors=True)
            case "mkfs.ext4":
                self.disk.mkdir()
                self.made.append(f"uuid-{len(self.made)}")
            case "mount":
                place.rmdir()
                self.disk.rename(place)
            case "umount":
                place.rename(self.disk)
                place.mkdir()
            case _:
                pass
        return super().run_for_status(argv)


@pytest.fixture
def guest(accounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    for module in ("beforehand", "filesystems", "mounts"):
        monkeypatch.setattr(f"firstboot.apply.disks.{module}.wait_for", lambda device: device)
    guest = Guest(accounts, OneDisk.at(accounts, tmp_path / "disk"))
    guest.give(CONFIG)
    return guest


def begin(guest: Guest) -> None:
    """What the initrd does before a first boot: the machine's own ``/var`` is the state partition's."""
    state = guest.root / "run/state"
    assert prepare(guest.places, Log()) == 0
    shutil.rmtree(guest.root / "var")
    (state / "var").rename(guest.root / "var")
    (state / "var").mkdir()


def cut(guest: Guest, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def power_cut(*_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(report, function, power_cut)
        with pytest.raises(PowerCut):
            guest.boot()


def test_a_filesystem_that_was_filled_by_half_is_made_anew(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(guest)
    cut(guest, monkeypatch, "write_marker")
    assert (guest.programs.disk / "file").read_text() == "mine"
    begin(guest)
    assert guest.boot() == 0, guest.console()
    assert (guest.programs.disk / "file").read_text() == "mine"
    assert guest.programs.made == ["uuid-0", "uuid-1"]


def test_a_config_that_is_corrected_gets_another_filesystem(guest: Guest) -> None:
    guest.give(CONFIG.replace("format: ext4", "format: ext4, label: one"))
    guest.programs.failing.add("systemctl")
    begin(guest)
    assert guest.boot() == 1
    assert "Disks were set up already" in guest.console()
    guest.give(CONFIG.replace("format: ext4", "format: ext4, label: two"))
    guest.programs.failing.clear()
    begin(guest)
    assert guest.boot() == 0, guest.console()
    assert guest.programs.made == ["uuid-0", "uuid-1"]


def test_what_was_there_before_stays_and_a_reset_forgets_what_was_made(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.programs.disk.mkdir()
    (guest.programs.disk / "kept").touch()
    guest.programs.made.append("of-another-machine")
    begin(guest)
    cut(guest, monkeypatch, "write_marker")
    (guest.programs.disk / "file").unlink()
    begin(guest)
    assert guest.boot() == 0, guest.console()
    assert (guest.programs.disk / "kept").exists()
    with Root(guest.root) as root:
        assert "made" not in root.read("/run/state/firstboot/complete").decode()

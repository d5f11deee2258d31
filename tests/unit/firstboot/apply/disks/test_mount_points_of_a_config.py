"""Mount points of a config: what is refused before a disk is touched, and which ``/var`` is written to."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.stages.seal import MOVED
from firstboot.apply.action import Machine
from firstboot.apply.root import Root
from firstboot.config.mount_points import LINKS
from firstboot.config.origins import ConfigError
from firstboot.config.text import LocatedError
from firstboot.drift.reapply import prepare_again, read_recorded_config
from firstboot.engine.compile import load
from firstboot.engine.record import read_record
from tests.support.guest import Guest
from tests.support.logins import KEY
from tests.unit.firstboot.conftest import FakePrograms

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[5] / "configs" / "machines" / "encrypted-var.yaml"
CONFIG = f"""variant: buildos
version: 1.0.0
passwd: {{users: [{{name: core, ssh_authorized_keys: [{KEY}]}}]}}
storage:
  filesystems:
    - {{device: /dev/sdb, format: ext4, path: PATH, with_mount_unit: true}}
  files:
    - {{path: /var/lib/token, contents: {{inline: secret}}}}
"""
TANG = """  luks:
    - {name: box, device: /dev/sdb, clevis: {tang: [{url: "http://tang", thumbprint: abc}]}}
"""


def config(path: str) -> str:
    return CONFIG.replace("PATH", path)


def refusal(text: str) -> str:
    with pytest.raises(LocatedError) as caught:
        load(text, "m.yaml")
    return str(caught.value)


class Disks(FakePrograms):
    """Programs of a machine on which ``mount`` really puts another directory in place, and ``umount`` takes it away."""

    @classmethod
    def at(cls, root: Path) -> Disks:
        made = cls()
        made.__dict__.update(FakePrograms.below(root).__dict__)
        return made

    def run_for_status(self, argv: Sequence[str]) -> tuple[int, str]:
        place = Path(argv[-1])
        if argv[0] == "mount":
            place.rename(place.with_name("hidden"))
            place.mkdir()
        if argv[0] == "umount":
            place.rename(place.with_name("on-the-device"))
            place.with_name("hidden").rename(place)
        return super().run_for_status(argv)


@pytest.fixture
def guest(accounts: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    for module in ("beforehand", "filesystems", "mounts"):
        monkeypatch.setattr(f"firstboot.apply.disks.{module}.wait_for", lambda device: device)
    return Guest(accounts, Disks.at(accounts))


def started(guest: Guest) -> list[str]:
    return [argv[0] for argv in guest.programs.calls]


def test_links_of_an_image_are_those_that_are_refused() -> None:
    assert {link: posixpath.normpath(posixpath.join(posixpath.dirname(link), to)) for link, to in MOVED} == LINKS


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("form", ["{}", "{}/below/it"])
def test_a_link_is_refused_on_the_host_with_the_path_to_use(link: str, form: str) -> None:
    path = form.format(link)
    said = refusal(config(path))
    assert f"{link} is a link to {LINKS[link]}" in said
    assert f"mount it at {LINKS[link]}{'/below/it' * path.endswith('/it')}\n" in said + "\n"
    load(config(LINKS[link]), "m.yaml")


def test_a_link_that_only_this_image_has_is_refused_before_a_disk_is_touched(guest: Guest) -> None:
    (guest.root / "data").symlink_to("var/data")
    guest.give(config("/data/mine"))
    assert guest.boot() == 1
    assert "nothing can be mounted at /data/mine: /data is a link to /var/data" in guest.console()
    assert "mount it at /var/data/mine" in guest.console()
    assert started(guest) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("passwd: {users: [{name: core, groups: [nobody-has]}]}", "there is no group 'nobody-has'"),
        ("systemd: {units: [{name: absent.service, enabled: true}]}", "there is no unit 'absent.service'"),
        ("timezone: Mars/Olympus", "there is no time zone 'Mars/Olympus'"),
    ],
)
def test_nothing_is_done_to_a_disk_for_a_config_that_cannot_be_carried_out(guest: Guest, wrong: str, says: str) -> None:
    (guest.root / "usr/share/zoneinfo").mkdir(parents=True)
    text = config("/var/lib/data")
    if wrong.startswith("passwd"):
        text = "\n".join(line for line in text.splitlines() if not line.startswith("passwd"))
    guest.give(f"{text}\n{wrong}\n")
    assert guest.boot() == 1
    assert says in guest.console()
    assert {*started(guest)} <= {"systemctl"}
    assert "Disks were set up already" not in guest.console()


def test_the_image_s_files_below_a_mount_point_are_no_hindrance(guest: Guest) -> None:
    (guest.root / "var/lib").mkdir()
    (guest.root / "var/lib/token").write_text("of the image")
    guest.give(config("/var"))
    assert guest.boot() == 0
    assert (guest.root / "on-the-device/lib/token").read_text() == "secret"
    assert (guest.root / "var/lib/token").read_text() == "of the image"


def test_all_that_a_first_boot_writes_below_var_is_in_the_var_of_the_config(guest: Guest) -> None:
    (guest.root / "home").symlink_to("var/home")
    guest.give(config("/var"))
    assert guest.boot() == 0
    assert [*(guest.root / "var").rglob("*")] == []
    there = guest.root / "on-the-device"
    assert (there / "lib/token").read_text() == "secret"
    assert (there / "lib/firstboot/result.json").exists()
    assert (there / "lib/firstboot/applied.json").exists()
    assert (there / "home/core/.ssh/authorized_keys.d/ignition").exists()
    assert guest.marker.exists()


def test_what_was_applied_to_a_machine_with_its_own_var_can_be_applied_again(guest: Guest) -> None:
    guest.give(config("/var"))
    assert guest.boot() == 0
    (guest.root / "var").rmdir()
    (guest.root / "on-the-device").rename(guest.root / "var")
    with Root(guest.root) as root:
        machine = Machine(root, guest.programs)
        guest.programs.enabled.add("var.mount")
        record = read_record(root)
        assert record is not None
        with prepare_again(read_recorded_config(record), machine, record, None) as again:
            assert again.actions == ()
        (guest.root / "etc/systemd/system/var.mount").unlink()
        with (
            pytest.raises(ConfigError, match="another /var at its next boot"),
            prepare_again(again.whole, machine, None, None),
        ):
            pass


def test_filesystems_are_unmounted_after_a_failure(guest: Guest) -> None:
    guest.programs.failing.add("useradd")
    guest.give(config("/var"))
    assert guest.boot() == 1
    assert "cannot create user core" in guest.console()
    assert started(guest)[-2:] == ["useradd", "umount"]


def test_a_var_that_no_later_boot_would_mount_is_refused() -> None:
    said = refusal(config("/var").replace(", with_mount_unit: true", ""))
    assert "nothing mounts /var after the first boot" in said
    assert "set 'with_mount_unit: true'" in said


def test_a_mount_unit_that_would_hide_what_the_first_boot_writes_is_refused() -> None:
    unit = "systemd: {units: [{name: var.mount, enabled: true, contents: '[Mount]\n\n      What=/dev/sdb'}]}"
    said = refusal(f"variant: buildos\nversion: 1.0.0\n{unit}\n")
    assert "var.mount would hide what the first boot writes to /var" in said


@pytest.mark.parametrize(
    ("line", "status"), [("LABEL=v /var/ ext4", 1), ("#LABEL=v /var ext4", 0), ("LABEL=v /var/lib ext4", 0)]
)
def test_a_var_in_fstab_that_would_be_passed_over_is_refused(guest: Guest, line: str, status: int) -> None:
    files = f"[{{path: /etc/fstab, contents: {{inline: '{line}'}}}}]"
    guest.give(f"variant: buildos\nversion: 1.0.0\nstorage: {{files: {files}}}\n")
    assert guest.boot() == status
    assert ("/etc/fstab cannot give the machine another /var" in guest.console()) is bool(status)


def test_a_var_that_needs_a_network_is_refused() -> None:
    text = config("/var").replace("/dev/sdb", "/dev/mapper/box") + TANG
    assert "it needs a network to be opened, which comes after /var" in refusal(text)
    load(text.replace("path: /var,", "path: /var/lib/data,"), "m.yaml")


def test_fedora_s_way_to_an_encrypted_var_is_accepted_as_it_is() -> None:
    loaded = load(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE.name)
    assert loaded.warnings == ()
    assert [unit.name for unit in loaded.config.systemd.units] == ["var.mount"]


def test_a_root_without_mounts_looks_as_it_is(accounts: Path) -> None:
    from firstboot.apply.disks.foreseen import Mounted

    with Root(accounts) as root:
        later: Any = Mounted(root, ["/var"])
        assert later.read("/etc/passwd") == root.read("/etc/passwd")
        assert later.see("/etc/group") == root.see("/etc/group")
        assert later.see("/var/x").stat is None
        assert later.see("/var").is_directory

"""A whole first boot in a directory: what it leaves behind when it works, and what it says if it does not."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from firstboot import report
from firstboot.apply.programs import ProgramError
from firstboot.places import Places
from firstboot.platforms import vmware
from tests.support.guest import Guest
from tests.support.logins import KEY

pytestmark = pytest.mark.unit

GOOD = f"""variant: buildos
version: 1.0.0
hostname: demo
passwd:
  users:
    - name: core
      password_hash: $6$salt$topsecret
      ssh_authorized_keys: [{KEY}]
storage:
  files:
    - path: /etc/app.conf
      contents:
        inline: topsecret
"""


@pytest.fixture
def guest(accounts: Path, programs: Any) -> Guest:
    return Guest(accounts, programs)


def test_a_machine_becomes_what_its_config_says(guest: Guest) -> None:
    guest.give(GOOD)
    assert guest.boot() == 0
    etc = guest.root / "etc"
    assert (etc / "hostname").read_text() == "demo\n"
    assert (etc / "app.conf").read_text() == "topsecret"
    assert len((etc / "machine-id").read_text()) == 33
    assert (guest.root / "home/core/.ssh/authorized_keys.d/ignition").read_text() == f"{KEY}\n"
    marker = json.loads(guest.marker.read_text())
    assert marker["image"] == {"id": "demo", "version": "1.2.3"}
    assert len(marker["config_sha256"]) == 64
    assert guest.console() == ""


def test_a_unit_of_another_system_is_told_on_the_console_and_the_machine_starts(guest: Guest) -> None:
    guest.give("variant: fcos\nversion: 1.5.0\nsystemd: {units: [{name: docker.service, enabled: true}]}\n")
    assert guest.boot() == 0
    said = "warning: there is no unit 'docker.service' in the image"
    assert said in guest.console()
    assert said in guest.log
    assert any(said in each for each in guest.result()["warnings"])
    assert "[{name: docker.service" in guest.console()


def test_the_result_is_for_root_only_and_says_what_was_applied(guest: Guest) -> None:
    guest.give(GOOD)
    guest.boot()
    for name in ("run/firstboot/result.json", "var/lib/firstboot/result.json"):
        path = guest.root / name
        assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)] == [0o700, 0o600]
        result = json.loads(path.read_text())
        assert (result["result"], result["platform"], result["userConfigProvided"]) == ("ok", "qemu", True)
        assert result["config"]["name"] == "fw_cfg opt/com.coreos/config"


def test_the_hash_of_a_config_that_stays_visible_is_kept(guest: Guest) -> None:
    guest.give(GOOD)
    guest.boot()
    kept = (guest.root / "var/lib/firstboot/config.sha256").read_text()
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    assert kept == f"{digest}  /sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw\n"


def test_the_port_hears_of_the_start_and_the_end(guest: Guest) -> None:
    guest.give(GOOD)
    guest.boot()
    started, finished = guest.events()
    assert started == {"event": "started", "image": {"id": "demo", "version": "1.2.3"}}
    assert (finished["event"], finished["result"]) == ("finished", "ok")
    assert finished["seconds"] >= 0


def test_secrets_are_in_no_log_result_or_event(guest: Guest) -> None:
    guest.give(GOOD)
    guest.boot()
    said = guest.log + (guest.root / "dev/vport1p2").read_text() + guest.marker.read_text()
    said += (guest.root / "run/firstboot/result.json").read_text()
    assert "topsecret" not in said


def test_a_second_run_does_nothing(guest: Guest) -> None:
    guest.give(GOOD)
    guest.boot()
    before = {path: path.lstat().st_mtime_ns for path in guest.root.rglob("*")}
    guest.give("not: even a config")
    (guest.root / "dev/vport1p2").write_text("")
    assert guest.boot() == 0
    assert "nothing to do" in guest.log
    assert guest.events() == []
    assert {
        path: path.lstat().st_mtime_ns
        for path in guest.root.rglob("*")
        if path in before and "fw_cfg" not in str(path) and path.name != "vport1p2"
    } == {path: time for path, time in before.items() if "fw_cfg" not in str(path) and path.name != "vport1p2"}


def test_a_machine_without_a_config_gets_an_identity_and_is_complete(guest: Guest) -> None:
    assert guest.boot() == 0
    assert guest.marker.exists()
    assert (guest.root / "etc/machine-id").exists()
    assert json.loads((guest.root / "run/firstboot/result.json").read_text())["userConfigProvided"] is False


def test_an_empty_config_is_none(guest: Guest) -> None:
    guest.give("")
    assert guest.boot() == 0


def test_the_flatcar_key_is_read_too(guest: Guest) -> None:
    guest.give(GOOD, "opt/org.flatcar-linux/config")
    assert guest.boot() == 0
    assert (guest.root / "etc/hostname").exists()


def test_the_images_own_configs_come_first_and_the_platforms_wins(guest: Guest) -> None:
    guest.base("20-b.ign", json.dumps({"ignition": {"version": "3.6.0"}, "storage": {"files": [{"path": "/etc/b"}]}}))
    guest.base("10-a.yaml", "variant: buildos\nversion: 1.0.0\nhostname: image\nstorage: {files: [{path: /etc/a}]}\n")
    guest.base("README", "not a config")
    guest.give(GOOD)
    assert guest.boot() == 0
    etc = guest.root / "etc"
    assert (etc / "hostname").read_text() == "demo\n"
    assert (etc / "a").exists()
    assert (etc / "b").exists()


def test_what_qemu_adds_is_merged_under_the_machines_own_config(guest: Guest) -> None:
    guest.base("10-a.yaml", "variant: buildos\nversion: 1.0.0\nhostname: image\ntimezone: UTC\n")
    added = "variant: buildos\nversion: 1.0.0\nhostname: added\nstorage: {files: [{path: /etc/added}]}\n"
    guest.give(added, "opt/org.buildos/base/login")
    assert guest.boot() == 0
    assert (guest.root / "etc/hostname").read_text() == "added\n"
    guest.marker.unlink()
    guest.give(GOOD)
    assert guest.boot() == 0
    assert (guest.root / "etc/hostname").read_text() == "demo\n"
    assert (guest.root / "etc/added").exists()
    result = json.loads((guest.root / "run/firstboot/result.json").read_text())
    assert [each["name"] for each in result["base"]][-1] == "fw_cfg opt/org.buildos/base/login"
    assert result["config"]["sha256"] == hashlib.sha256(GOOD.encode()).hexdigest()


def test_the_machines_own_lines_are_named_whatever_qemu_adds(guest: Guest) -> None:
    guest.give("variant: buildos\nversion: 1.0.0\n", "opt/org.buildos/base/login")
    guest.give(GOOD.replace("hostname: demo", "hostnam: demo"))
    assert guest.boot() == 1
    assert "fw_cfg opt/com.coreos/config:3:1: unknown setting" in guest.console()


def test_the_platform_can_be_named_on_the_kernel_command_line(guest: Guest) -> None:
    guest.give("broken: [")
    (guest.root / "proc/cmdline").write_text("quiet ignition.platform.id=qemu ignition.platform.id=metal\n")
    assert guest.boot() == 0
    (guest.root / "proc/cmdline").write_text("ignition.platform.id=moon\n")
    guest.marker.unlink()
    assert guest.boot() == 1
    assert "the platform 'moon' is not supported" in guest.console()


def test_a_broken_config_shows_one_screen_everywhere_and_leaves_nothing(guest: Guest) -> None:
    guest.give(GOOD.replace("hostname: demo", "hostnam: demo").replace("path: /etc/app.conf", "path: etc/app.conf"))
    before = sorted(path.name for path in (guest.root / "etc").rglob("*"))
    assert guest.boot() == 1
    assert sorted(path.name for path in (guest.root / "etc").rglob("*")) == before
    assert not guest.marker.exists()
    console = guest.console()
    assert "build-os first boot failed" in console
    assert "fw_cfg opt/com.coreos/config:3:1: unknown setting" in console
    assert "did you mean 'hostname'?" in console
    assert "fw_cfg opt/com.coreos/config:11:13: the path 'etc/app.conf' is not absolute" in console
    assert len(console.splitlines()) <= 25
    failure = guest.root / "run/firstboot/failure.txt"
    assert stat.S_IMODE(failure.stat().st_mode) == 0o600
    assert "unknown setting" in failure.read_text()
    last = guest.events()[-1]
    assert (last["event"], last["result"]) == ("finished", "failed")
    assert last["message"] == "fw_cfg opt/com.coreos/config:3:1: unknown setting"
    assert last["screen"].strip() == console.strip()
    assert "topsecret" not in console + guest.log + failure.read_text() + last["screen"]


@pytest.mark.parametrize(
    ("program", "config", "where"),
    [
        ("systemctl", "systemd: {units: [{name: a.service, enabled: false}]}", ":3:"),
        ("systemctl", "systemd: {units: [{name: a.service, enabled: true, contents: '[Service]'}]}", ":3:"),
        ("useradd", "passwd: {users: [{name: core}]}", ":3:"),
        ("groupadd", "passwd: {groups: [{name: ops}]}", ":3:"),
    ],
)
def test_a_program_that_is_missing_is_said_at_the_line_before_anything_is_done(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, program: str, config: str, where: str
) -> None:
    find = guest.programs.find
    monkeypatch.setattr(type(guest.programs), "find", lambda _, name: None if name == program else find(name))
    guest.give(f"variant: buildos\nversion: 1.0.0\n{config}\nhostname: demo\n")
    assert guest.boot() == 1
    assert f"config{where}" in guest.console()
    assert f"needs the program {program}, which is not in the image" in guest.console()
    assert "bug" not in guest.console()
    assert not (guest.root / "etc/hostname").exists()
    assert not (guest.root / "etc/machine-id").exists()


def test_a_program_that_cannot_be_started_while_planning_is_no_bug_of_ours(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> tuple[int, str]:
        raise ProgramError("systemctl cannot be started: Exec format error")

    monkeypatch.setattr(type(guest.programs), "run_for_status", broken)
    guest.give("variant: buildos\nversion: 1.0.0\nsystemd: {units: [{name: a.service, enabled: false}]}\n")
    assert guest.boot() == 1
    assert "systemctl cannot be started: Exec format error" in guest.console()
    assert "bug" not in guest.console()


def test_a_long_list_of_problems_still_fits_one_screen(guest: Guest) -> None:
    guest.give("variant: buildos\nversion: 1.0.0\n" + "".join(f"wrong{number}: 1\n" for number in range(50)))
    guest.boot()
    assert len(guest.console().splitlines()) <= 25
    assert "more lines; 'build-os check --config FILE' shows them all" in guest.console()
    assert "wrong49" in (guest.root / "run/firstboot/failure.txt").read_text()


def test_a_program_that_fails_is_shown_with_what_it_said(guest: Guest) -> None:
    guest.give(GOOD)
    guest.programs.failing.add("useradd")
    assert guest.boot() == 1
    assert "fw_cfg opt/com.coreos/config:6:7: cannot create user core: useradd failed with status 9" in guest.console()
    assert "it went wrong" in guest.console()
    assert not guest.marker.exists()


def test_after_a_failure_a_later_run_starts_again(guest: Guest) -> None:
    guest.give("variant: nope\n")
    assert guest.boot() == 1
    guest.give(GOOD)
    assert guest.boot() == 0
    assert not (guest.root / "run/firstboot/failure.txt").exists()


def test_a_bug_shows_its_traceback_and_says_that_it_is_one(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_places: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("firstboot.engine.provision.read_base_configs", bug)
    assert guest.boot() == 1
    assert "This is a bug in build-os" in guest.console()
    assert guest.events()[-1]["message"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("é".encode("utf-16"), "UTF-16"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8"),
        (b"variant: buildos\0", "NUL"),
        (GOOD.encode()[:61], "first boot failed"),
        (b"x" * 10_000_001, "at most 10000000 are read"),
    ],
)
def test_garbage_is_refused_readably(guest: Guest, data: bytes, says: str) -> None:
    guest.give(data)
    assert guest.boot() == 1
    assert says in guest.console()
    assert "bug" not in guest.console()


def test_a_config_that_is_cut_short_by_the_platform_is_noticed(guest: Guest) -> None:
    guest.give(GOOD)
    (guest.root / "sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/size").write_text("9999\n")
    assert guest.boot() == 1
    assert "is cut short" in guest.console()


def test_the_marker_is_written_after_everything_else_is_on_the_disk(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    status = guest.programs.run_for_status

    def run(argv: Sequence[str]) -> tuple[int, str]:
        order.append(argv[0])
        return status(argv)

    monkeypatch.setattr(type(guest.programs), "run_for_status", lambda _self, argv: run(argv))
    real = os.rename

    def rename(source: str, target: str, **options: int) -> None:
        order.append(target)
        real(source, target, **options)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "fsync", lambda _fd: order.append("fsync"))
    guest.give(GOOD)
    guest.boot()
    durable = ["fsync", "fsync"]
    last = max(at for at, done in enumerate(order) if done == "sync")
    assert order[last:] == ["sync", "attempt", *durable, "complete", "fsync", "provisioned", *durable]


def test_what_does_not_reach_the_disk_fails_the_first_boot(guest: Guest) -> None:
    guest.give(GOOD)
    guest.programs.failing.add("sync")
    assert guest.boot() == 1
    assert not guest.marker.exists()
    assert "what was written did not reach the disk\n  it went wrong" in guest.console()
    assert "A disk of this machine cannot be read or written as it should" in guest.console()
    assert not guest.result()["bug"]
    (synced,) = {argv for argv in guest.programs.calls if argv[0] == "sync"}
    assert {str(guest.root / "run/state"), str(guest.root / "etc"), str(guest.root / "var")} < {*synced}


def test_configs_of_the_image_that_cannot_be_read_are_not_left_out(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.base("10-a.yaml", "variant: buildos\nversion: 1.0.0\nhostname: image\n")
    real = Path.iterdir

    def failing(path: Path) -> Any:
        if path.name == "base.d":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", failing)
    assert guest.boot() == 1
    assert "/usr/lib/firstboot/base.d cannot be read: Input/output error" in guest.console()
    assert not guest.marker.exists()


def test_that_a_config_is_to_be_deleted_is_noted_before_the_mark(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut, or an error of the platform, between the mark and the deletion must not leave it for ever."""

    class PowerCut(BaseException):
        pass

    def cut(*_arguments: object) -> None:
        raise PowerCut

    (guest.root / "proc/cmdline").write_text("ignition.platform.id=vmware\n")
    monkeypatch.setattr(vmware.PLATFORM, "fetch_config", lambda *_arguments: None)
    monkeypatch.setattr(vmware.PLATFORM, "delete_config", cut)
    with pytest.raises(PowerCut):
        guest.boot()
    assert guest.marker.exists()
    note = guest.root / "run/state/firstboot/config-to-delete"
    assert note.read_text() == "vmware\n"
    monkeypatch.setattr(vmware.PLATFORM, "delete_config", lambda *_arguments: None)
    guest.marker.unlink()
    assert guest.boot() == 0
    assert not note.exists()


def test_a_power_cut_before_the_marker_means_starting_again(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCut(BaseException):
        pass

    def cut(*_arguments: object) -> None:
        raise PowerCut

    guest.give(GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(report, "write_marker", cut)
        with pytest.raises(PowerCut):
            guest.boot()
    assert not guest.marker.exists()


def test_a_computer_that_is_no_image_of_ours_is_left_alone(guest: Guest) -> None:
    (guest.root / "usr/lib/os-release").write_text("ID=debian\n")
    guest.give(GOOD)
    before = sorted(guest.root.rglob("*"))
    assert guest.boot() == 1
    assert "this is not a build-os image" in guest.log
    assert sorted(guest.root.rglob("*")) == before


def test_nobody_listening_is_fine(guest: Guest) -> None:
    (guest.root / "dev/vport1p2").unlink()
    (guest.root / "dev/console").unlink()
    assert guest.boot() == 0


def test_a_port_that_nobody_empties_does_not_hold_up_the_boot(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    port = guest.root / "dev/vport1p2"
    port.unlink()
    os.mkfifo(port)
    monkeypatch.setattr(report, "_PORT_SECONDS", 0.05)
    reader = os.open(port, os.O_RDONLY | os.O_NONBLOCK)
    try:
        places = Places(guest.root, guest.programs)
        report.Port(places).send({"event": "x" * 200_000})
    finally:
        os.close(reader)

"""``config apply --root`` and ``config plan --root``: the same whoever calls, without this machine's programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from builder.provisioning.offline import OfflinePrograms
from firstboot.apply.programs import ProgramError
from firstboot.apply.root import Root
from tests.support.command import run_command

pytestmark = pytest.mark.unit

CONFIG = """\
variant: buildos
version: 1.0.0
hostname: web-1
passwd:
  users:
    - name: core
      groups: [adm]
      ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc a]
storage:
  files:
    - path: /etc/app.conf
      contents: {inline: "topsecret\\n"}
    - path: /etc/hosts
      append: [{inline: "192.0.2.1 db\\n"}]
systemd:
  units:
    - name: app.service
      enabled: true
      contents: "[Service]\\nExecStart=/bin/x\\n[Install]\\nWantedBy=multi-user.target\\n"
"""


class Directory:
    """A directory that is somebody's root, and what the command says about it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.config = path.with_name("machine.yaml")
        self.capsys = capsys
        (path / "etc").mkdir(parents=True)
        (path / "etc/group").write_text("adm:x:4:\n")

    def call(self, action: str, text: str = CONFIG, *options: str) -> tuple[int, str, str]:
        self.config.write_text(text)
        return run_command(self.capsys, "config", action, "--root", str(self.path), *options, str(self.config))

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.path)): path.read_text()
            for path in self.path.rglob("*")
            if path.is_file() and "firstboot" not in path.parts
        }


@pytest.fixture
def directory(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Directory:
    return Directory(tmp_path / "root", capsys)


def test_a_plan_writes_nothing_and_applying_does_what_it_says(directory: Directory) -> None:
    status, planned, _ = directory.call("plan")
    assert status == 0
    assert directory.files() == {"etc/group": "adm:x:4:\n"}
    assert directory.call("apply")[:2] == (0, planned)
    files = directory.files()
    assert files["etc/hostname"] == "web-1\n"
    assert files["etc/hosts"] == "192.0.2.1 db\n"
    assert files["home/core/.ssh/authorized_keys.d/ignition"].startswith("ssh-ed25519 ")
    assert (directory.path / "etc/systemd/system/multi-user.target.wants/app.service").is_symlink()
    assert "adm:x:4:core\n" in files["etc/group"]


def test_the_second_time_there_is_nothing_to_do(directory: Directory) -> None:
    directory.call("apply")
    before = directory.files()
    assert directory.call("plan")[:2] == (0, "nothing\n")
    assert directory.call("apply")[:2] == (0, "nothing\n")
    assert json.loads(directory.call("plan", CONFIG, "--json")[1])["steps"] == []
    assert directory.files() == before


def test_without_what_is_remembered_the_second_time_there_is_nothing_to_do_either(directory: Directory) -> None:
    directory.call("apply")
    (directory.path / "var/lib/firstboot/applied.json").unlink()
    assert directory.call("plan")[:2] == (0, "nothing\n")


def test_a_changed_config_changes_that_alone(directory: Directory) -> None:
    directory.call("apply")
    _, out, _ = directory.call("plan", CONFIG.replace("topsecret", "other"), "--json")
    assert [each["what"] for each in json.loads(out)["steps"]] == ["replace file /etc/app.conf 0644 (6 bytes)"]
    assert json.loads(out)["steps"][0]["line"] == 11


def test_an_ordinary_user_gets_the_same_but_for_owners(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    text = CONFIG.replace("path: /etc/app.conf", "path: /etc/app.conf\n      user: {name: core}")
    assert directory.call("apply", text)[0] == 0
    assert directory.call("plan", text)[:2] == (0, "nothing\n")
    assert (directory.path / "etc/app.conf").stat().st_uid == os.getuid()


def test_a_failure_puts_everything_back_and_points_at_the_line(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.call("apply")
    before = directory.files()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "symlink", full)
    text = CONFIG.replace("topsecret", "other").replace("systemd:", "  links: [{path: /etc/l, target: x}]\nsystemd:")
    status, out, err = directory.call("apply", text)
    assert (status, out) == (1, "")
    assert "machine.yaml:15:11: cannot make link /etc/l -> x" in err
    assert "as it was before" in err
    assert directory.files() == before


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("hostnam: x\n", 2, "machine.yaml:3:1: unknown setting"),
        ("storage: {files: [{path: /etc/group, contents: {inline: x}}]}\n", 2, "a file is there already"),
        ("storage: {disks: [{device: /dev/vda}]}\n", 2, "cannot be carried out in a directory"),
        ("storage: {files: [{path: /etc/x, user: {name: nobody}}]}\n", 2, "there is no user 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    directory: Directory, text: str, status: int, message: str
) -> None:
    found, out, err = directory.call("apply", f"variant: buildos\nversion: 1.0.0\n{text}")
    assert (found, out) == (status, "")
    assert message in err
    assert directory.files() == {"etc/group": "adm:x:4:\n"}


def test_wrong_directories_are_refused(directory: Directory, capsys: pytest.CaptureFixture[str]) -> None:
    directory.config.write_text(CONFIG)
    for path, message in ((directory.path / "gone", "is no directory"), (Path("/"), "own root is not for trying")):
        outcome = run_command(capsys, "config", "apply", "--root", str(path), str(directory.config))
        assert outcome.status == 2
        assert message in outcome.err


def test_a_path_cannot_leave_the_directory(directory: Directory, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (directory.path / "etc/out").symlink_to(tmp_path / "outside")
    text = "variant: buildos\nversion: 1.0.0\nstorage: {files: [{path: /etc/out/x, contents: {inline: x}}]}\n"
    assert directory.call("apply", text)[0] == 0
    assert list((tmp_path / "outside").iterdir()) == []


# --- programs ---


@pytest.fixture
def programs(directory: Directory) -> OfflinePrograms:
    etc = directory.path / "etc"
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\nold:x:1000:1000::/home/old:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nold:x:1000:\nadm:x:4:old\n")
    (etc / "subuid").write_text("old:100000:65536\n")
    return OfflinePrograms.make(Root(directory.path))


def rows(directory: Directory, name: str) -> list[str]:
    return (directory.path / "etc" / name).read_text().splitlines()


def test_a_user_gets_the_next_ids_a_group_and_ids_for_containers(
    programs: OfflinePrograms, directory: Directory
) -> None:
    programs.run(["useradd", "--root", "/r", "--create-home", "--password", "*", "--groups", "adm", "new"])
    assert rows(directory, "passwd")[-1] == "new:x:1001:1001::/home/new:/bin/sh"
    assert rows(directory, "group") == ["root:x:0:", "old:x:1000:", "adm:x:4:old,new", "new:x:1001:"]
    assert rows(directory, "shadow")[-1] == "new:*::0:99999:7:::"  # no day: the same bits on any day
    assert rows(directory, "subuid") == ["old:100000:65536", "new:165536:65536"]
    assert (directory.path / "home/new").stat().st_mode & 0o777 == 0o700


def test_a_system_user_is_numbered_downwards(programs: OfflinePrograms, directory: Directory) -> None:
    programs.run(["useradd", "--no-create-home", "--system", "--shell", "/usr/sbin/nologin", "svc"])
    assert rows(directory, "passwd")[-1] == "svc:x:999:999::/home/svc:/usr/sbin/nologin"
    assert len(rows(directory, "subuid")) == 1
    assert not (directory.path / "home").exists()


def test_a_user_is_changed_and_deleted(programs: OfflinePrograms, directory: Directory) -> None:
    (directory.path / "home/old").mkdir(parents=True)
    programs.run(["usermod", "--uid", "1234", "--shell", "/bin/bash", "--comment", "Old", "--groups", "root", "old"])
    assert rows(directory, "passwd")[-1] == "old:x:1234:1000:Old:/home/old:/bin/bash"
    assert rows(directory, "group") == ["root:x:0:old", "old:x:1000:", "adm:x:4:"]
    programs.run(["userdel", "--remove", "old"])
    assert rows(directory, "passwd") == ["root:x:0:0::/root:/bin/sh"]
    assert rows(directory, "group") == ["root:x:0:", "adm:x:4:"]
    assert not (directory.path / "home/old").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["useradd", "old"], "already exists"),
        (["useradd", "--uid", "1000", "new"], "not unique"),
        (["groupadd", "adm"], "exists already"),
        (["groupadd", "--gid", "4", "new"], "already exists"),
        (["usermod", "--uid", "5", "nobody"], "'nobody' is not in /etc/passwd"),
        (["groupmod", "--gid", "5", "none"], "'none' is not in /etc/group"),
    ],
)
def test_what_the_real_programs_refuse_is_refused(
    programs: OfflinePrograms, directory: Directory, argv: list[str], message: str
) -> None:
    before = directory.files()
    with pytest.raises(ProgramError, match=message):
        programs.run(argv)
    assert directory.files() == before


def test_units_are_enabled_as_their_install_section_says(programs: OfflinePrograms, directory: Directory) -> None:
    units = directory.path / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "a@.service").write_text("[Install]\nWantedBy=x.target for-%i.target\nAlias=b.service\n")
    systemctl = ["systemctl", f"--root={directory.path}"]
    assert programs.run_for_status([*systemctl, "is-enabled", "--", "a@one.service"])[0] == 1
    programs.run([*systemctl, "enable", "--", "a@one.service"])
    links = {str(path.relative_to(units)): str(path.readlink()) for path in units.rglob("*") if path.is_symlink()}
    target = "/etc/systemd/system/a@.service"
    assert links == {
        "x.target.wants/a@one.service": target,
        "for-one.target.wants/a@one.service": target,
        "b.service": target,
    }
    assert programs.run_for_status([*systemctl, "is-enabled", "--", "a@one.service"])[0] == 0
    programs.run([*systemctl, "disable", "--", "a@one.service"])
    assert programs.run_for_status([*systemctl, "is-enabled", "--", "a@one.service"])[0] == 1


def test_other_programs_are_not_started(programs: OfflinePrograms) -> None:
    assert programs.find("mkfs.ext4") is None
    with pytest.raises(ProgramError):
        programs.run(["mkfs.ext4", "/dev/vda"])


@pytest.mark.parametrize("action", ["plan", "apply"])
def test_a_program_that_fails_while_planning_is_no_bug_of_ours(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> tuple[int, str]:
        raise ProgramError("systemctl took longer than 120 s")

    directory = Directory(tmp_path / "root", capsys)
    monkeypatch.setattr(OfflinePrograms, "run_for_status", broken)
    text = "variant: buildos\nversion: 1.0.0\nsystemd: {units: [{name: a.service, enabled: false}]}\n"
    status, _, err = directory.call(action, text)
    assert status == 1
    assert "systemctl took longer than 120 s" in err
    assert "Traceback" not in err
    assert "bug" not in err

"""Users and groups: which programs are started with which arguments, and where keys go."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from firstboot.apply.action import Machine
from firstboot.apply.programs import Programs, redact_command
from firstboot.config.loaded import LoadedConfig
from firstboot.config.origins import ConfigError
from firstboot.engine.compile import load
from firstboot.engine.errors import ActionFailed
from firstboot.engine.perform import carry_out
from firstboot.engine.plan import plan
from firstboot.log import Log

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("accounts")]


def config(**passwd: Any) -> LoadedConfig:
    return load(json.dumps({"ignition": {"version": "3.6.0"}, "passwd": passwd}), "x.ign")


def make(loaded: LoadedConfig, machine: Machine) -> str:
    """Carry out; what was logged."""
    log = io.StringIO()
    carry_out(plan(loaded, machine), loaded, machine, Log(log, priorities=False))
    return log.getvalue()


@pytest.mark.parametrize(
    ("user", "argv"),
    [
        ({}, "useradd --create-home --password * u"),
        ({"passwordHash": ""}, "useradd --create-home --password * u"),
        ({"passwordHash": "$6$x"}, "useradd --create-home --password $6$x u"),
        (
            {"uid": 0, "gecos": "A B", "shell": "/x", "primaryGroup": "sudo", "groups": ["root"]},
            "useradd --create-home --password * --uid 0 --comment A B --gid sudo --groups root --shell /x u",
        ),
        (
            {"homeDir": "/h", "noCreateHome": True, "noUserGroup": True, "system": True, "noLogInit": True},
            "useradd --home-dir /h --no-create-home --no-user-group --system --no-log-init --password * u",
        ),
        ({"shouldExist": True}, "useradd --create-home --password * u"),
    ],
)
def test_a_new_user_is_added(machine: Machine, programs: Any, user: dict[str, Any], argv: str) -> None:
    make(config(users=[{"name": "u", **user}]), machine)
    assert programs.commands() == [argv]


@pytest.mark.parametrize(
    ("user", "argv"),
    [
        ({}, []),
        ({"passwordHash": ""}, ["usermod --password * daemon"]),
        ({"homeDir": "/h", "shell": "/bin/x"}, ["usermod --home /h --move-home --shell /bin/x daemon"]),
        ({"noCreateHome": True, "system": True}, []),
        ({"shouldExist": False}, ["userdel --remove daemon"]),
    ],
)
def test_a_user_who_is_there_is_changed(machine: Machine, programs: Any, user: dict[str, Any], argv: list[str]) -> None:
    make(config(users=[{"name": "daemon", **user}]), machine)
    assert programs.commands() == argv


@pytest.mark.parametrize(
    ("group", "argv"),
    [
        ({"name": "g"}, ["groupadd g"]),
        ({"name": "g", "passwordHash": ""}, ["groupadd g"]),
        # What is no password takes none away.
        ({"name": "sudo", "passwordHash": ""}, []),
        ({"name": "sudo", "passwordHash": "x"}, ["groupmod --password x sudo"]),
        (
            {"name": "g", "gid": 7, "system": True, "passwordHash": "x"},
            ["groupadd --gid 7 --password x --system g"],
        ),
        ({"name": "sudo"}, []),
        ({"name": "sudo", "gid": 7}, ["groupmod --gid 7 sudo"]),
        ({"name": "sudo", "shouldExist": False}, ["groupdel sudo"]),
        ({"name": "g", "shouldExist": False}, []),
    ],
)
def test_groups_are_added_changed_and_deleted(
    machine: Machine, programs: Any, group: dict[str, Any], argv: list[str]
) -> None:
    make(config(groups=[group]), machine)
    assert programs.commands() == argv


def test_programs_are_told_the_root_unless_it_is_the_running_system(
    tree: Path, machine: Machine, programs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = config(users=[{"name": "u"}])
    make(loaded, machine)
    assert programs.calls[0][1:3] == ("--root", str(tree))
    monkeypatch.setattr(machine.root, "directory", "/")
    assert "--root" not in plan(config(users=[{"name": "v"}]), machine)[0].argv  # type: ignore[attr-defined]


def test_groups_come_before_the_users_that_are_in_them(machine: Machine, programs: Any) -> None:
    make(config(users=[{"name": "u", "groups": ["g"]}], groups=[{"name": "g"}]), machine)
    assert [each.split()[0] for each in programs.commands()] == ["groupadd", "useradd"]


def test_a_group_that_nobody_makes_is_refused(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="there is no group 'wheel'"):
        plan(config(users=[{"name": "u", "groups": ["sudo", "wheel"]}]), machine)


@pytest.mark.parametrize("name", ["", "-rf", "a:b", "a/b", "a\nb"])
def test_names_that_are_no_names_never_reach_a_program(machine: Machine, programs: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=r"needs a name|cannot be the name"):
        plan(config(users=[{"name": name}]), machine)
    assert programs.calls == []


def test_keys_are_written_for_their_user_only(tree: Path, machine: Machine) -> None:
    make(config(users=[{"name": "u", "sshAuthorizedKeys": ["ssh-ed25519 A", "ssh-ed25519 B"]}]), machine)
    keys = tree / "home/u/.ssh/authorized_keys.d/ignition"
    assert keys.read_text() == "ssh-ed25519 A\nssh-ed25519 B\n"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (keys, keys.parent, keys.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


def test_keys_go_into_one_file_where_that_is_wanted(
    tree: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IGNITION_WRITE_AUTHORIZED_KEYS_FRAGMENT", "false")
    make(config(users=[{"name": "u", "sshAuthorizedKeys": ["k"]}]), machine)
    assert (tree / "home/u/.ssh/authorized_keys").read_text() == "k\n"


def test_homes_behind_a_link_to_nothing_yet_can_be_made(tree: Path, machine: Machine) -> None:
    (tree / "home").symlink_to("var/home")
    make(config(users=[{"name": "u"}]), machine)
    assert (tree / "var/home").is_dir()


def test_the_keys_of_root_go_to_a_home_that_is_a_link_to_nothing_yet(tree: Path, machine: Machine) -> None:
    (tree / "root").symlink_to("var/roothome")
    make(config(users=[{"name": "root", "sshAuthorizedKeys": ["k"]}]), machine)
    home = tree / "var/roothome"
    assert (home / ".ssh/authorized_keys.d/ignition").read_text() == "k\n"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_homes_are_where_useradd_makes_them(tree: Path, machine: Machine) -> None:
    (tree / "etc/default").mkdir()
    (tree / "etc/default/useradd").write_text("SHELL=/bin/sh\nHOME=/var/people\n")
    make(config(users=[{"name": "u"}]), machine)
    assert (tree / "var/people").is_dir()


def test_files_may_belong_to_users_that_the_config_makes(tree: Path, machine: Machine) -> None:
    loaded = load(
        json.dumps(
            {
                "ignition": {"version": "3.6.0"},
                "passwd": {"users": [{"name": "u"}], "groups": [{"name": "g"}]},
                "storage": {"files": [{"path": "/f", "user": {"name": "u"}, "group": {"name": "g"}}]},
            }
        ),
        "x.ign",
    )
    make(loaded, machine)
    assert (tree / "f").exists()


def test_password_hashes_are_neither_logged_nor_in_errors(machine: Machine, programs: Any) -> None:
    programs.failing.add("useradd")
    loaded = config(
        users=[{"name": "u", "passwordHash": "$6$secret"}],
        groups=[{"name": "g", "passwordHash": "$6$secret"}],
    )
    log = io.StringIO()
    with pytest.raises(ActionFailed) as caught:
        carry_out(plan(loaded, machine), loaded, machine, Log(log))
    assert "it went wrong" in str(caught.value)
    assert "secret" not in log.getvalue() + str(caught.value)
    assert redact_command(["useradd", "--password", "$6$secret", "u"]) == "useradd --password (not shown) u"


def test_on_a_running_system_no_hash_is_an_argument(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """journald keeps the command lines of those who write to it, and everybody can list processes."""
    monkeypatch.setattr(machine.root, "directory", "/")
    groups = [{"name": "g", "passwordHash": "$6$secret"}]
    users = [{"name": "u", "passwordHash": "$6$secret"}, {"name": "v"}, {"name": "w", "passwordHash": "a\nroot:x"}]
    made: list[Any] = [each for each in plan(config(users=users, groups=groups), machine) if each.at]
    assert made[0].argv == ("groupadd", "--password", "*", "g")
    assert made[1].argv == ("useradd", "--create-home", "--password", "*", "u")
    assert [each.secret for each in made] == [("chgpasswd", "g:$6$secret"), ("chpasswd", "u:$6$secret"), None, None]
    given: list[tuple[tuple[str, ...], bytes]] = []
    monkeypatch.setattr(machine.programs, "run", lambda argv, stdin=b"": given.append((tuple(argv), stdin)))
    made[1].perform(machine)
    assert given[1] == (("chpasswd", "--encrypted"), b"u:$6$secret\n")


def test_the_log_pairs_every_start_with_an_end(machine: Machine, programs: Any) -> None:
    lines = make(config(users=[{"name": "u"}]), machine).splitlines()
    assert lines == ["started: create user u", "finished: create user u"]
    programs.failing.add("useradd")
    log = io.StringIO()
    loaded = config(users=[{"name": "v"}])
    with pytest.raises(ActionFailed):
        carry_out(plan(loaded, machine), loaded, machine, Log(log, priorities=True))
    assert [line[:12] for line in log.getvalue().splitlines()] == ["<6>started: ", "<3>failed: c"]


def test_a_program_can_be_overridden_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "groupadd"
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Programs().find("groupadd") == str(stub)
    other = stub.rename(tmp_path / "other")
    monkeypatch.setenv("FIRSTBOOT_GROUPADD", str(other))
    assert Programs().find("groupadd") == str(other)
    monkeypatch.setenv("FIRSTBOOT_GROUPADD", "/elsewhere/groupadd")
    assert Programs().find("groupadd") is None
    assert Programs().find("no-such-program") is None

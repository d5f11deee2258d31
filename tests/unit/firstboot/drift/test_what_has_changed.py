"""``firstboot diff`` and ``apply``: every kind of change is seen, made good, and then is no change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from firstboot.apply.action import Machine
from firstboot.apply.root import Root
from firstboot.config.models import Config
from firstboot.drift.settle import settle
from firstboot.engine.compile import load
from firstboot.engine.record import make_record, read_record
from tests.unit.firstboot.drift.conftest import CONFIG, Damage, Guest

pytestmark = pytest.mark.unit

WANTS = "/etc/systemd/system/multi-user.target.wants/app.service"
KEYS = "/home/core/.ssh/authorized_keys.d/ignition"


def replace(path: str, old: str, new: str) -> Damage:
    def damage(guest: Guest) -> None:
        file = guest.at(path)
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return damage


def by_directory(path: str) -> Damage:
    def damage(guest: Guest) -> None:
        guest.at(path).unlink()
        guest.at(path).mkdir()
        (guest.at(path) / "inside").touch()

    return damage


DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "contents": (replace("/etc/app/settings", "two", "2"), "/etc/app/settings", "contents"),
    "gone": (lambda guest: guest.at("/etc/app/settings").unlink(), "/etc/app/settings", "is gone"),
    "mode": (lambda guest: guest.at("/etc/hostname").chmod(0o600), "/etc/hostname", "mode 0644 -> 0600"),
    "default-mode": (
        lambda guest: guest.at("/etc/app/settings").chmod(0o666),
        "/etc/app/settings",
        "mode 0644 -> 0666",
    ),
    "kind": (by_directory("/etc/app/settings"), "/etc/app/settings", "is a directory and was a file"),
    "directory": (lambda guest: shutil.rmtree(guest.at("/var/lib/app")), "/var/lib/app", "is gone"),
    "directory-mode": (lambda guest: guest.at("/var/lib/app").chmod(0o777), "/var/lib/app", "mode 0750 -> 0777"),
    "link": (lambda guest: guest.at("/etc/app/link").unlink(), "/etc/app/link", "is gone"),
    "appended": (replace("/etc/hosts", "192.0.2.1", "192.0.2.9"), "/etc/hosts", "contents"),
    "unit": (replace("/etc/systemd/system/app.service", "cat", "rm"), "/etc/systemd/system/app.service", "contents"),
    "drop-in": (
        lambda guest: guest.at("/etc/systemd/system/app.service.d/a.conf").unlink(),
        "/etc/systemd/system/app.service.d/a.conf",
        "is gone",
    ),
    "disabled": (lambda guest: guest.at(WANTS).unlink(), "unit app.service", "is no longer enabled"),
    "unmasked": (
        lambda guest: guest.at("/etc/systemd/system/noise.service").unlink(),
        "/etc/systemd/system/noise.service",
        "is gone",
    ),
    "shell": (replace("/etc/passwd", "/bin/bash", "/bin/sh"), "user core", "another shell"),
    "password": (replace("/etc/shadow", "$6$salt$topsecret", "*"), "user core", "another password"),
    "groups": (replace("/etc/group", "ops:x:2000:core", "ops:x:2000:"), "user core", "other groups"),
    "user": (replace("/etc/passwd", "core:", "cora:"), "user core", "is gone"),
    "keys": (lambda guest: guest.at(KEYS).write_text("mine\n"), KEYS, "contents"),
}


@pytest.mark.parametrize(("damage", "subject", "what"), DAMAGES.values(), ids=DAMAGES)
def test_a_change_is_seen_and_made_good(made: Guest, damage: Damage, subject: str, what: str) -> None:
    assert made.changed() == {}
    damage(made)
    assert what in made.changed()[subject]
    before = made.everything()
    status, planned, _ = made.call("apply", "--check")
    assert status == 3
    assert made.everything() == before
    if what == "is gone" and subject == "user core":
        return  # its home and its group are in the way, as useradd says
    status, done, err = made.call("apply", "--apply")
    assert (status, done, err) == (0, planned, "")
    # What a config adds to a file is added again; the line that took its place stays.
    assert made.changed() == {}
    assert made.call("apply", "--check")[:2] == (0, "nothing\n")


def test_all_of_it_at_once_is_made_good(made: Guest) -> None:
    for name, (damage, _, _) in DAMAGES.items():
        if name not in ("kind", "gone", "user", "directory-mode"):
            damage(made)
    assert len(made.changed()) >= 10
    assert made.call("apply", "--apply")[0] == 0
    assert made.changed() == {}


def test_text_is_shown_as_a_unified_diff(made: Guest) -> None:
    DAMAGES["contents"][0](made)
    _, out, _ = made.call("diff")
    assert out.splitlines() == [
        "/etc/app/settings: contents",
        "    --- applied/etc/app/settings",
        "    +++ now/etc/app/settings",
        "    @@ -1,3 +1,3 @@",
        "     one",
        "    -two",
        "    +2",
        "     three",
    ]


def test_what_was_only_added_to_is_shown_whole(made: Guest) -> None:
    DAMAGES["appended"][0](made)
    _, out, _ = made.call("diff")
    assert "    -192.0.2.1 db" in out.splitlines()
    assert "     127.0.0.1 localhost" in out.splitlines()


def test_contents_that_not_everybody_may_read_are_never_shown(made: Guest) -> None:
    replace("/etc/app/key", "topsecret", "othersecret")(made)
    replace("/etc/shadow", "topsecret", "othersecret")(made)
    made.at("/etc/app/settings").write_text("othersecret")
    made.at("/etc/app/settings").chmod(0o600)  # now it is a secret
    for command in (("diff",), ("diff", "--json"), ("status",), ("status", "--json"), ("apply", "--check")):
        _, out, err = made.call(*command)
        assert "secret" not in out + err, command
    assert made.changed()["/etc/app/key"] == ["contents"]
    made.at("/etc/app/key").chmod(0o644)  # that it can be read now does not make public what was not
    assert "topsecret" not in made.call("diff")[1]


def test_binary_files_are_not_shown(made: Guest) -> None:
    made.at("/etc/app/settings").write_bytes(b"\xff\xfe")
    assert made.call("diff")[1] == "/etc/app/settings: contents\n"


def test_data_in_a_directory_of_the_config_is_left_alone(guest: Guest) -> None:
    text = CONFIG.replace("{path: /var/lib/app, mode: 0750}", "{path: /var/lib/app, mode: 0750, overwrite: true}")
    guest.first_boot(text)
    guest.at("/var/lib/app/data").write_text("mine")
    guest.at("/var/lib/app").chmod(0o700)
    assert guest.call("apply", "--apply")[:2] == (0, "make directory /var/lib/app 0750\n")
    assert guest.at("/var/lib/app/data").read_text() == "mine"


def test_a_changed_config_replaces_what_the_old_one_made(made: Guest, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(CONFIG.replace("two", "2").replace("Nice=5", "Nice=6").replace("uid: 1001", "uid: 1005"))
    status, out, _ = made.call("apply", "--check", str(new))
    assert status == 3
    assert out.splitlines() == [
        "change user core",
        "replace file /etc/app/settings 0644 (12 bytes)",
        "write unit app.service.d/a.conf",
    ]
    assert made.call("apply", "--apply", str(new))[0] == 0
    assert made.at("/etc/app/settings").read_text() == "one\n2\nthree\n"
    assert made.call("apply", "--check", str(new))[:2] == (0, "nothing\n")
    assert made.changed() == {}  # since the new one


def test_a_config_does_not_take_over_what_is_not_its_own(made: Guest, tmp_path: Path) -> None:
    made.at("/etc/mine").write_text("mine")
    new = tmp_path / "new.yaml"
    new.write_text(CONFIG.replace("/etc/app/settings", "/etc/mine"))
    status, _, err = made.call("apply", "--apply", str(new))
    assert status == 2
    assert "'/etc/mine': a file is there already" in err
    assert made.at("/etc/mine").read_text() == "mine"


def test_a_wrong_config_is_refused_at_its_line(made: Guest, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text("variant: buildos\nversion: 1.0.0\nhostnam: x\n")
    before = made.everything()
    status, out, err = made.call("apply", "--apply", str(new))
    assert (status, out) == (2, "")
    assert f"{new}:3:1: unknown setting" in err
    assert made.everything() == before


def test_status_says_what_was_applied_and_how_much_has_changed(made: Guest) -> None:
    status, out, _ = made.call("status")
    assert status == 0
    assert "by demo 1.2.3" in out
    assert "fw_cfg opt/com.coreos/config (sha256 " in out
    assert "changed    nothing since" in out
    DAMAGES["contents"][0](made)
    assert "1 thing since: see 'firstboot diff'" in made.call("status")[1]
    data = json.loads(made.call("status", "--json")[1])
    assert (data["changed"], data["firstboot"]["result"], data["interrupted"]) == (["/etc/app/settings"], "ok", False)


def test_who_may_not_read_it_is_told_to_become_root(made: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/var/lib/firstboot/applied.json")

    monkeypatch.setattr("firstboot.cli.drift.read_record", refuse)
    status, out, err = made.call("diff")
    assert (status, out) == (1, "")
    assert err == "/var/lib/firstboot/applied.json: only root may do this\n"


def made_config(data: dict[str, Any]) -> Config:
    text = json.dumps({"ignition": {"version": "3.6.0+buildos"}, **data})
    return load(text, "x").config


def test_an_archive_is_unpacked_once(made: Guest) -> None:
    archive = {
        "path": "/var/lib/x",
        "source": "https://example.org/a.tar",
        "verification": {"hash": "sha256-" + "0" * 64},
    }
    config = made_config({"storage": {"archives": [archive]}})
    with Root(made.root) as root:
        machine = Machine(root, made.places.programs)
        before = read_record(root)
        assert len(settle(config, machine, before).storage.archives) == 1
        after = make_record(config, root, machine.names, time="now", image={})
        assert settle(config, machine, after).storage.archives == ()
        assert "archives" not in after.config.get("storage", {})

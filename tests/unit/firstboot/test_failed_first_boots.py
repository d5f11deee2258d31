"""A first boot that fails says the same to everyone: what, where in the user's own text, and what to do."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.guest import Guest

pytestmark = pytest.mark.unit

HEAD = "variant: buildos\nversion: 1.0.0\n"
WRONG = HEAD + "hostnam: demo\nstorage:\n  files:\n    - path: etc/app.conf\n      contents: {inline: topsecret}\n"
SHELL = "storage:\n  files:\n    - path: /etc/firstboot/emergency-shell\n"
IMPOSSIBLE = "    - path: /etc/passwd\n      contents: {inline: 'there is one already'}\n"


@pytest.fixture
def guest(accounts: Path, programs: Any) -> Guest:
    return Guest(accounts, programs)


@pytest.fixture
def journal(guest: Guest) -> Iterator[socket.socket]:
    """journald's socket in the guest."""
    path = guest.root / "run/systemd/journal/socket"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(5)
        yield listening


def entry(data: bytes) -> dict[str, str]:
    """The fields of an entry (systemd's JOURNAL_NATIVE_PROTOCOL)."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + length], data[8 + length + 1 :]
        fields[name.decode()] = value.decode()
    return fields


def test_the_result_names_every_problem_with_its_place(guest: Guest) -> None:
    guest.give(WRONG)
    assert guest.boot() == 1
    result = guest.result()
    assert (result["result"], result["platform"], result["bug"]) == ("failed", "qemu", False)
    assert result["message"] == "fw_cfg opt/com.coreos/config:3:1: unknown setting"
    assert result["config"]["name"] == "fw_cfg opt/com.coreos/config"
    where = [(each["line"], each["column"], each["path"]) for each in result["problems"]]
    assert where == [(3, 1, "$.hostnam"), (6, 13, "$.storage.files[0].path")]
    assert result["problems"][0]["hint"] == "did you mean 'hostname'?"
    assert not (guest.root / "var/lib/firstboot").exists()
    path = guest.root / "run/firstboot/result.json"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)] == [0o700, 0o600]
    assert "topsecret" not in path.read_text()


def test_the_journal_has_one_entry_that_programs_find(guest: Guest, journal: socket.socket) -> None:
    guest.give(WRONG)
    guest.boot()
    fields = entry(journal.recv(1 << 17))
    assert fields["MESSAGE_ID"] == "42dd22d2dc2e454093124a2f222b3ab0"
    assert fields["MESSAGE"] == "first boot failed: fw_cfg opt/com.coreos/config:3:1: unknown setting"
    assert (fields["PRIORITY"], fields["FIRSTBOOT_LINE"], fields["FIRSTBOOT_PATH"]) == ("2", "3", "$.hostnam")
    assert "etc/app.conf" in fields["FIRSTBOOT_TEXT"]
    assert "topsecret" not in fields["FIRSTBOOT_TEXT"]


def test_a_long_failure_still_fits_the_journal(guest: Guest, journal: socket.socket) -> None:
    guest.give(HEAD + "".join(f"wrong{number}: 1\n" for number in range(800)))
    guest.boot()
    assert entry(journal.recv(1 << 18))["FIRSTBOOT_LINE"] == "3"
    assert len(guest.result()["problems"]) == 800


def test_console_port_result_and_journal_say_the_same(guest: Guest, journal: socket.socket) -> None:
    guest.give(WRONG)
    guest.boot()
    message = guest.events()[-1]["message"]
    assert message == guest.result()["message"]
    assert message in guest.console()
    assert message in entry(journal.recv(1 << 17))["MESSAGE"]


def test_what_to_do_fits_what_is_wrong(guest: Guest) -> None:
    guest.give(WRONG)
    guest.boot()
    assert "Correct the config" in guest.console()
    (guest.root / "dev/console").write_text("")
    (guest.root / "sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/size").write_text("9999\n")
    guest.boot()
    assert "Correct the config" not in guest.console()
    assert "start it again" in guest.console()
    assert guest.result()["problems"] == []


@pytest.mark.parametrize(
    ("config", "allowed"),
    [
        pytest.param(HEAD + SHELL + IMPOSSIBLE, True, id="it could not be carried out"),
        pytest.param(HEAD + SHELL + "hostnam: x\n", False, id="it is wrong and allows nothing"),
        pytest.param(HEAD + "storage:\n  files:\n" + IMPOSSIBLE, False, id="it does not say so"),
        pytest.param(HEAD + "hostname: [\n", False, id="it cannot be read"),
    ],
)
def test_a_shell_only_if_the_config_allows_it(guest: Guest, config: str, allowed: bool) -> None:
    guest.give(config)
    assert guest.boot() == 1
    assert (guest.root / "run/firstboot/shell").exists() is allowed
    assert guest.result()["shell"] is allowed


def test_the_image_may_allow_a_shell_whatever_the_config_is(guest: Guest) -> None:
    guest.base("10-image.yaml", HEAD + SHELL)
    guest.give(HEAD + "hostname: [\n")
    assert guest.boot() == 1
    assert (guest.root / "run/firstboot/shell").exists()


def test_a_later_success_leaves_nothing_of_the_failure(guest: Guest) -> None:
    guest.give(HEAD + SHELL + IMPOSSIBLE)
    assert guest.boot() == 1
    guest.give(HEAD + SHELL)
    assert guest.boot() == 0
    assert sorted(path.name for path in (guest.root / "run/firstboot").iterdir()) == ["result.json"]
    assert guest.result()["result"] == "ok"


def test_a_full_disk_is_no_reason_to_say_nothing(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the failure itself cannot be written down."""
    guest.give(WRONG)
    monkeypatch.setattr("firstboot.apply.root.Root.write", full)
    assert guest.boot() == 1
    assert "unknown setting" in guest.console()
    assert guest.events()[-1]["result"] == "failed"
    assert not guest.marker.exists()


def full(*_arguments: object, **_options: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_first_boot_that_takes_too_long_says_what_it_was_doing(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd sends SIGTERM when the time that the unit has is over."""
    guest.give(HEAD + "passwd: {users: [{name: core}]}\n")
    run = type(guest.programs).run
    before = signal.getsignal(signal.SIGTERM)

    def slow(programs: Any, argv: list[str], *rest: Any) -> str:
        if argv[0] == "useradd":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)  # until the signal is heard
        return str(run(programs, argv, *rest))

    monkeypatch.setattr(type(guest.programs), "run", slow)
    assert guest.boot() == 1
    assert "the first boot was stopped after 0 s, before it could create user core" in guest.console()
    assert not guest.result()["bug"]
    assert not guest.marker.exists()
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_screen_is_valid_json_on_the_port(guest: Guest) -> None:
    guest.give(HEAD + 'hostname: "\\u001b[31m\\ud83d"\n')
    guest.boot()
    for line in (guest.root / "dev/vport1p2").read_bytes().splitlines():
        json.loads(line.decode("ascii"))
    assert "\x1b" not in guest.console()

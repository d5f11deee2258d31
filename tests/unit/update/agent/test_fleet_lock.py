"""Machines that share a lock reboot one after the other, and wait where nobody gives it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.update.agent.conftest import FakeMachine
from update.agent.command import main
from update.agent.fleet_lock import NOTE, derive_id
from update.agent.online import AGAIN
from vm.fakes.web import HttpRequest, Reply, WebServer

pytestmark = pytest.mark.unit

Make = Callable[..., Path]
IDS = ("0123456789abcdef" * 2, "fedcba9876543210" * 2)
REBOOT = ["systemctl", "reboot", "--no-block"]
LATER = ["systemctl", "restart", "--no-block", AGAIN]


class Locks:
    """A server with one lock, which can be out of order."""

    def __init__(self, web: WebServer) -> None:
        self.web = web
        self.holder: str | None = None
        self.loses_answers = False
        web.fallback = self.answer

    def answer(self, request: HttpRequest) -> Reply:
        assert request.headers["fleet-lock-protocol"] == "true"
        client = json.loads(request.body)["client_params"]
        assert client["group"] == "web"
        if request.path == "/v1/steady-state":
            self.holder = None if self.holder == client["id"] else self.holder
            return Reply()
        assert request.path == "/v1/pre-reboot"
        if self.holder not in (None, client["id"]):
            return Reply(b'{"kind": "failed_lock", "value": "somebody\\u001b else has it"}', 409)
        self.holder = client["id"]
        return Reply(status=502) if self.loses_answers else Reply()


@pytest.fixture
def locks() -> Iterator[Locks]:
    with WebServer() as web:
        yield Locks(web)


@pytest.fixture
def machines(tmp_path: Path, payload: Make, locks: Locks) -> list[FakeMachine]:
    """Two, with version 2 written and nobody who minds a reboot."""
    made = []
    for number, machine_id in enumerate(IDS):
        machine = FakeMachine(tmp_path / f"machine-{number}")
        (machine.root / "etc").mkdir()
        (machine.root / "etc/machine-id").write_text(f"{machine_id}\n")
        machine.answers = {"loginctl": "[]", "busctl": '{"data": [[]]}'}
        settings(machine, fleet_lock={"url": locks.web.url("/"), "group": "web"})
        assert main(["apply", "--from", str(payload("2"))], machine.host) == 0
        made.append(machine)
    return made


def settings(machine: FakeMachine, **said: Any) -> None:
    (machine.root / "etc/os-update.json").write_text(json.dumps(said))


def start_version_2(machine: FakeMachine) -> None:
    machine.count_boot()
    machine.boot("2", "b" * 32, counted=True)
    assert main(["boot"], machine.host) == 0


def is_noted(machine: FakeMachine) -> bool:
    return (machine.root / NOTE.lstrip("/")).exists()


def test_a_machine_is_known_by_an_id_that_is_derived_from_its_own() -> None:
    # As systemd-id128 257 has it: machine-id --app-specific=5bfb2e5c-0fd9-4f52-8a36-0dc4ce9ae0b2
    assert derive_id(IDS[0]) == "f27717fbc29b4f6c92ad6c9fd8449fb0"


def test_the_second_machine_waits_until_the_first_has_proven_itself(
    machines: list[FakeMachine], locks: Locks, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = machines
    assert main(["auto"], one.host) == 0
    assert one.calls[-1] == REBOOT
    capsys.readouterr()
    assert main(["auto"], two.host) == 0
    assert "the machine reboots later: the lock's server" in (said := capsys.readouterr().out)
    assert "says no: somebody  else has it" in said
    assert two.calls[-1] == LATER
    assert not is_noted(two)
    start_version_2(one)
    # It is on trial: whoever starts this now, and whatever the timer does, the lock stays.
    assert main(["steady"], one.host) == 0
    assert locks.holder == derive_id(IDS[0])
    assert main(["bless"], one.host) == 0
    capsys.readouterr()
    assert main(["status"], one.host) == 0
    assert "locked    a reboot of the group web" in capsys.readouterr().out
    assert main(["steady"], one.host) == 0
    assert (locks.holder, is_noted(one)) == (None, False)
    assert main(["auto"], two.host) == 0
    assert two.calls[-1] == REBOOT
    assert locks.holder == derive_id(IDS[1])


def test_a_machine_whose_version_failed_gives_the_lock_back(machines: list[FakeMachine], locks: Locks) -> None:
    one, _ = machines
    assert main(["auto"], one.host) == 0
    for _ in range(3):
        start_version_2(one)
    one.boot("1", "c" * 32)
    assert main(["boot"], one.host) == 0
    assert main(["steady"], one.host) == 0
    assert (locks.holder, is_noted(one)) == (None, False)


def test_without_the_server_a_machine_waits_and_gives_nothing_back_for_lost(
    machines: list[FakeMachine], locks: Locks, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = machines
    locks.web.die()
    assert main(["auto"], one.host) == 0
    assert one.calls[-1] == LATER
    assert "does not answer (it cannot be reached, or has ended the connection)" in capsys.readouterr().out
    locks.web.revive()
    assert main(["auto"], one.host) == 0
    assert one.calls[-1] == REBOOT
    start_version_2(one)
    assert main(["bless"], one.host) == 0
    locks.web.die()
    # The unit that starts this tries again: the status says that it is to.
    assert main(["steady"], one.host) == 1
    assert is_noted(one)
    locks.web.revive()
    assert main(["steady"], one.host) == 0
    assert main(["auto"], two.host) == 0
    assert two.calls[-1] == REBOOT


def test_a_lock_whose_answer_got_lost_is_given_back_when_the_machine_does_not_reboot(
    machines: list[FakeMachine], locks: Locks
) -> None:
    one, _ = machines
    locks.loses_answers = True
    assert main(["auto"], one.host) == 0
    assert one.calls[-1] == LATER
    assert locks.holder == derive_id(IDS[0])
    # The window has closed meanwhile: others must not wait for that.
    window = {"days": ["mon"], "begin": "02:00", "end": "02:01", "timezone": "UTC"}
    settings(one, window=window, fleet_lock={"url": locks.web.url("/"), "group": "web"})
    assert main(["auto"], one.host) == 0
    assert (locks.holder, is_noted(one)) == (None, False)


def test_a_refusal_that_cannot_be_read_is_none_and_the_machine_waits(
    machines: list[FakeMachine], locks: Locks, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = machines
    locks.web.fallback = lambda _: Reply(b"no gzip", 409, {"Content-Encoding": "gzip"})
    assert main(["auto"], one.host) == 0
    assert one.calls[-1] == LATER
    assert "does not answer" in capsys.readouterr().out


def test_a_lock_is_given_back_to_the_server_that_gave_it(
    machines: list[FakeMachine], locks: Locks, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = machines
    assert main(["auto"], one.host) == 0
    with WebServer() as other:
        settings(one, fleet_lock={"url": other.url("/"), "group": "web"})
        assert main(["auto"], one.host) == 0
        assert "says no: HTTP 404" in capsys.readouterr().out
    assert locks.holder is None


def test_a_server_that_is_gone_for_good_keeps_no_machine_from_the_new_one(
    machines: list[FakeMachine], locks: Locks, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = machines
    with WebServer() as gone:
        settings(one, fleet_lock={"url": gone.url("/"), "group": "web"})
        gone.die()
        assert main(["auto"], one.host) == 0
        assert "does not answer" in capsys.readouterr().out
    settings(one, fleet_lock={"url": locks.web.url("/"), "group": "web"})
    assert main(["auto"], one.host) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the machine reboots into the new version"
    assert locks.holder is not None


def test_a_machine_says_its_group_and_the_image_the_server(
    machines: list[FakeMachine], locks: Locks, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = machines
    image = {"arch": "amd64", "fleet_lock": {"url": locks.web.url("/"), "group": "default"}}
    (one.root / "usr/lib/build-os/updates.json").write_text(json.dumps(image))
    settings(one, fleet_lock={"group": "web"})
    assert main(["auto"], one.host) == 0
    assert one.calls[-1] == REBOOT
    for said, message in (
        ({"fleet_lock": {"group": "a b"}}, "fleet_lock: group: 'a b' is not letters"),
        ({"fleet_lock": {"url": "lock.example"}}, "fleet_lock: url: 'lock.example': this is no URL"),
        ({"pin": "no version"}, "pin: 'no version' is not a version"),
    ):
        settings(one, **said)
        assert main(["auto"], one.host) == 1
        assert message in capsys.readouterr().err


def test_a_machine_that_takes_nothing_by_itself_does_not_reboot_either(
    machines: list[FakeMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = machines
    settings(one, enabled=False)
    capsys.readouterr()
    assert main(["auto"], one.host) == 0
    assert "takes no versions by itself: /etc/os-update.json says so" in capsys.readouterr().out
    assert one.calls[-1] not in (REBOOT, LATER)


def test_a_machine_s_file_can_pin_it(
    machines: list[FakeMachine], payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = machines
    settings(one, pin="2")
    assert main(["apply", "--from", str(payload("3"))], one.host) == 1
    assert "pinned to version 2; /etc/os-update.json says so" in capsys.readouterr().err
    assert main(["unpin"], one.host) == 0
    assert "pins it to version 2 still" in capsys.readouterr().out

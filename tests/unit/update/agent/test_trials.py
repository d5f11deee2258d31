"""A version on trial proves itself, or the one before it runs again and says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.update.agent.conftest import FakeMachine
from update.agent.command import main
from update.agent.state import STATE, read_state

pytestmark = pytest.mark.unit

Make = Callable[..., Path]


def take(machine: FakeMachine, directory: Path) -> None:
    assert main(["apply", "--from", str(directory)], machine.host) == 0


def on_trial(machine: FakeMachine, version: str, boot_id: str) -> None:
    machine.count_boot()
    machine.boot(version, boot_id, counted=True)
    assert main(["boot"], machine.host) == 0


def status(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["status", "--json"], machine.host) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_version_that_becomes_well_is_blessed(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    take(machine, payload("2"))
    on_trial(machine, "2", "b" * 32)
    found = status(machine, capsys)
    assert (found["running"], found["on_trial"], found["tries_left"], found["other"]) == ("2", True, 2, "1")
    assert main(["bless"], machine.host) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2.efi"]
    assert json.loads((machine.root / "run/update/result.json").read_text())["outcome"] == "good"
    found = status(machine, capsys)
    assert (found["on_trial"], found["pending"]) == (False, None)


def test_a_mistake_in_the_machine_s_own_file_stops_no_trial(machine: FakeMachine, payload: Make) -> None:
    take(machine, payload("2"))
    (machine.root / "etc").mkdir()
    (machine.root / "etc/os-update.json").write_text("{")
    on_trial(machine, "2", "b" * 32)
    assert main(["bless"], machine.host) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2.efi"]


def test_status_says_that_the_image_trusts_development_keys(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    root = machine.root / "usr/share/build-os/updates/root.json"
    root.parent.mkdir(parents=True)
    texts = {'{"signed": {"x-build-os-development": true}}': True, '{"signed": {}}': False, "[": False}
    for text, expected in texts.items():
        root.write_text(text)
        assert status(machine, capsys)["development_keys"] is expected
        assert main(["status"], machine.host) == 0
        assert ("keys      for development" in capsys.readouterr().out) is expected


def test_a_unit_that_fails_is_the_reason_on_the_version_before(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    take(machine, payload("2"))
    machine.answers = {
        "systemctl list-units": "shop.service loaded failed failed A shop",
        "journalctl -b -o cat -n 20 -u shop.service": "Starting shop.service\nno database\nshop.service: Failed",
    }
    for boot_id in "bcd":
        on_trial(machine, "2", boot_id * 32)
        assert main(["give-up"], machine.host) == 0
        assert machine.calls[-1] == ["systemctl", "reboot", "--no-block"]
    assert machine.list_images() == ["demo_1.efi", "demo_2+0-3.efi"]
    machine.boot("1", "e" * 32)
    capsys.readouterr()
    assert main(["boot"], machine.host) == 0
    reason = "shop.service failed (no database)"
    assert capsys.readouterr().out == f"version 2 has failed, and version 1 runs: {reason}\n"
    result = json.loads((machine.root / "run/update/result.json").read_text())
    assert result == {"outcome": "failed", "running": "1", "version": "2", "reason": reason}
    assert status(machine, capsys)["failed"]["2"]["reason"] == reason
    assert main(["apply", "--from", str(payload("2"))], machine.host) == 1
    assert f"version 2 has failed on this machine and is skipped: {reason}" in capsys.readouterr().err
    take(machine, payload("2.1"))
    assert main(["apply", "--again", "--from", str(payload("2"))], machine.host) == 0


def test_what_hangs_is_named(machine: FakeMachine, payload: Make) -> None:
    take(machine, payload("2"))
    on_trial(machine, "2", "b" * 32)
    jobs = (
        "11 update-give-up.service start running",
        "12 slow.service start running",
        "13 boot-complete.target start waiting",
    )
    machine.answers = {"systemctl list-jobs": "\n".join(jobs)}
    assert main(["give-up"], machine.host) == 0
    pending = read_state(machine.host).pending
    assert pending is not None
    assert pending.reason == "boot-complete.target was not reached in time; still starting: slow.service"


def test_a_version_that_never_speaks_is_told_apart(machine: FakeMachine, payload: Make) -> None:
    take(machine, payload("2"))
    for _ in range(3):
        machine.count_boot()
    machine.boot("1", "c" * 32)
    assert main(["boot"], machine.host) == 0
    reason = read_state(machine.host).failed["2"].reason
    assert reason.startswith("after 3 starts it had not come as far as its own log")


def test_a_version_that_panics_late_is_quoted(machine: FakeMachine, payload: Make) -> None:
    take(machine, payload("2"))
    for boot_id in "bcd":
        on_trial(machine, "2", boot_id * 32)
    machine.answers = {"journalctl -b " + "d" * 32: "the last words\n"}
    machine.boot("1", "e" * 32)
    assert main(["boot"], machine.host) == 0
    reason = read_state(machine.host).failed["2"].reason
    assert reason.startswith("after 3 starts it had not become well")
    assert reason.endswith("the last line of its log: the last words")


def test_a_version_with_tries_left_is_not_given_up_by_a_boot_of_the_other(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    take(machine, payload("2"))
    machine.boot("1", "b" * 32)
    assert main(["boot"], machine.host) == 0
    found = status(machine, capsys)
    assert (found["pending"]["version"], found["failed"]) == ("2", {})


def test_power_that_goes_between_the_blessing_and_its_note_is_made_up_for(machine: FakeMachine, payload: Make) -> None:
    take(machine, payload("2"))
    on_trial(machine, "2", "b" * 32)
    machine.rename("demo_2+2-1.efi", "demo_2.efi")
    machine.boot("2", "c" * 32)
    assert main(["boot"], machine.host) == 0
    assert read_state(machine.host).pending is None


@pytest.mark.parametrize("name", ["demo_2+3-0.efi", "demo_2.efi"], ids=["when-written", "when-blessed"])
def test_a_kernel_image_that_lost_its_content_while_it_was_renamed_is_written_once_more(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The power went: FAT has the new name then, and not what is in the file."""
    take(machine, payload("2"))
    if name == "demo_2.efi":
        on_trial(machine, "2", "b" * 32)
        machine.rename("demo_2+2-1.efi", name)
    (machine.esp / "EFI/Linux" / name).write_bytes(b"")
    machine.boot("1", "c" * 32)
    capsys.readouterr()
    assert main(["boot"], machine.host) == 0
    assert capsys.readouterr().out == "version 2 was not written to its end\n"
    assert status(machine, capsys)["pending"] is None
    take(machine, payload("2"))
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]
    assert (machine.esp / "EFI/Linux/demo_2+3-0.efi").stat().st_size > 0


def test_a_machine_that_is_on_no_trial_is_never_restarted(machine: FakeMachine, payload: Make) -> None:
    assert main(["give-up"], machine.host) == 0
    take(machine, payload("2"))
    on_trial(machine, "2", "b" * 32)
    assert main(["bless"], machine.host) == 0
    calls = len(machine.calls)
    assert main(["give-up"], machine.host) == 0
    assert machine.calls[calls:] == []


def test_where_emergency_lets_nobody_reboot_it_is_forced(machine: FakeMachine, payload: Make) -> None:
    take(machine, payload("2"))
    on_trial(machine, "2", "b" * 32)
    forced: list[list[str]] = []
    real = machine.run

    def refuse(argv: list[str], timeout: float = 0) -> str:
        if argv[:2] == ["systemctl", "reboot"] and "--force" in argv:
            forced.append(argv)
            return ""
        if argv[:2] == ["systemctl", "reboot"]:
            machine.fail["systemctl"] = "Transaction is destructive"
        return real(argv, timeout)

    machine.run = refuse  # type: ignore[method-assign,assignment]
    assert main(["give-up"], machine.host) == 0
    assert forced == [["systemctl", "reboot", "--force"]]


def test_a_machine_goes_back_by_hand_and_stays_there(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback"], machine.host) == 1
    assert "there is no other version to go back to: version 1 is the only one" in capsys.readouterr().err
    take(machine, payload("2"))
    on_trial(machine, "2", "b" * 32)
    assert main(["bless"], machine.host) == 0
    assert main(["rollback", "--once"], machine.host) == 0
    assert machine.calls[-2][2:] == ["set-oneshot", "demo_1.efi"]
    assert main(["rollback", "--now"], machine.host) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2+0-1.efi"]
    machine.boot("1", "c" * 32)
    found = status(machine, capsys)
    assert (found["running"], found["failed"]["2"]["reason"]) == ("1", "rolled back by hand")
    assert main(["rollback"], machine.host) == 1
    assert "version 2 cannot be gone back to, for it has failed: rolled back by hand" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "pending": 3}'])
def test_a_state_that_is_damaged_is_named_with_what_to_do(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = machine.root / STATE.lstrip("/")
    path.parent.mkdir()
    path.write_text(text)
    assert main(["status"], machine.host) == 1
    assert f"{STATE} " in capsys.readouterr().err


def test_status_says_it_in_words(machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]) -> None:
    take(machine, payload("2"))
    capsys.readouterr()
    assert main(["status"], machine.host) == 0
    assert capsys.readouterr().out == "running   demo 1 (good)\nother     2 (is started at the next boot)\n"


def test_rolling_back_a_version_that_has_not_run_yet_keeps_the_one_that_runs(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    take(machine, payload("2"))
    assert main(["rollback", "--once"], machine.host) == 1
    assert "version 2 waits for its first start: there is no version before it" in capsys.readouterr().err
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]
    assert main(["rollback"], machine.host) == 0
    assert capsys.readouterr().out == "version 1 is started at the next boot\n"
    assert machine.list_images() == ["demo_1.efi"]
    found = status(machine, capsys)
    assert (found["pending"], list(found["failed"])) == (None, ["2"])
    assert main(["apply", "--from", str(payload("2"))], machine.host) == 1


def test_a_trial_that_was_rolled_back_is_not_blessed(machine: FakeMachine, payload: Make) -> None:
    take(machine, payload("2"))
    on_trial(machine, "2", "b" * 32)
    assert main(["rollback"], machine.host) == 0
    assert main(["bless"], machine.host) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2+0-1.efi"]


def test_a_look_at_the_state_leaves_the_partition_to_an_update_that_is_written(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    take(machine, payload("2"))
    on_trial(machine, "2", "b" * 32)
    other = machine.root / "run/update/esp.1"  # of process 1, which lives
    other.symlink_to(machine.esp)
    assert status(machine, capsys)["tries_left"] == 2
    assert other.is_symlink()
    assert [call[-1] for call in machine.calls if call[0] == "umount" and call[-1] == str(other)] == []

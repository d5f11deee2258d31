"""A version is taken whole or not at all, and what runs is not touched."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.update.agent.conftest import SLOT, FakeMachine
from update.agent.command import main
from update.agent.lock import hold_lock
from update.agent.state import read_state
from update.gpt import HEAD, parse_gpt

pytestmark = pytest.mark.unit

Make = Callable[..., Path]
BEFORE = ["esp", *["demo_1"] * 3, *["_empty"] * 3]


def apply(machine: FakeMachine, directory: Path, *more: str) -> int:
    return main(["apply", "--from", str(directory), *more], machine.host)


def test_the_other_slot_is_written_and_the_kernel_image_last_with_tries(machine: FakeMachine, payload: Make) -> None:
    before = machine.disk.read_bytes()
    assert apply(machine, payload("2")) == 0
    assert machine.list_labels() == ["esp", *["demo_1"] * 3, "demo_2", "demo_2", "_empty"]
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]
    after = machine.disk.read_bytes()
    slot = parse_gpt(after[:HEAD])[4]
    assert after[slot.start :].startswith(b"root of 2")
    assert before[HEAD : slot.start] == after[HEAD : slot.start]
    written = [" ".join(call) for call in machine.calls if call[0] == "systemd-sysupdate"]
    assert ["/sysupdate/slot" in each for each in written] == [True, False]
    assert not list((machine.root / "var/lib/update/staged").iterdir())
    state = read_state(machine.host)
    assert state.pending is not None
    assert (state.pending.version, state.pending.source) == ("2", "1")


def test_the_version_before_makes_room_first(machine: FakeMachine, payload: Make) -> None:
    machine.add_image("demo_0.efi", "0")
    machine.add_image("other_9.efi", "9")
    for number in (5, 6):
        machine.set_label(number, "demo_0")
    assert apply(machine, payload("2")) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi", "other_9.efi"]


def test_a_reboot_is_asked_for_only_with_now(machine: FakeMachine, payload: Make) -> None:
    assert apply(machine, payload("2")) == 0
    assert not [call for call in machine.calls if call[0] == "systemctl"]
    assert apply(machine, payload("3"), "--now") == 0
    assert machine.calls[-1] == ["systemctl", "reboot", "--no-block"]


REFUSED = {
    "older": ({"version": "0.9"}, "version 0.9 is older than 1, which runs"),
    "the same": ({"version": "1"}, "version 1 is what runs"),
    "of another image": ({"name": "other"}, "the update is of the image 'other', and this machine runs 'demo'"),
    "for another architecture": ({"arch": "arm64"}, "the update is for arm64, and this machine is amd64"),
    "too big": ({"root": bytes(SLOT + 1)}, f"root of version 2 has {SLOT + 1} bytes, and partition 5 of /dev/vda has"),
    "mixed": (
        {"uki": b"kernel of 2 roothash=" + b"f" * 64},
        "this kernel image does not start the root 0123456789abcdef",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_version_is_refused_before_a_slot_is_written(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    arguments, message = REFUSED[why]
    before = machine.disk.read_bytes()
    assert apply(machine, payload(**arguments)) == 1
    assert message in capsys.readouterr().err
    assert machine.disk.read_bytes() == before
    assert machine.list_images() == ["demo_1.efi"]
    assert read_state(machine.host).pending is None


@pytest.mark.parametrize("file", ["root.zst", "verity.zst", "uki.zst", "release.json"])
@pytest.mark.parametrize("harm", ["changed", "cut", "longer", "gone"])
def test_damage_is_found_before_a_slot_is_written(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str], file: str, harm: str
) -> None:
    directory = payload("2")
    path, before = directory / file, machine.disk.read_bytes()
    data = path.read_bytes()
    changes = {"changed": bytes([data[0] ^ 1]) + data[1:], "cut": data[:-1], "longer": data + b"}"}
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(changes[harm])
    if (file, harm) == ("release.json", "cut"):
        path.write_bytes(data[:-2])  # its last byte ends a line
    assert apply(machine, directory) == 1
    assert file in capsys.readouterr().err
    assert machine.disk.read_bytes() == before


def test_what_unpacks_to_more_than_it_should_is_cut_off(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.decompress = lambda path: iter([b"x" * 5000] * 1_000_000)  # type: ignore[method-assign]
    assert apply(machine, payload("2")) == 1
    assert "root: more than the 900 bytes that release.json says come out of it" in capsys.readouterr().err


def test_room_is_asked_for_with_needed_and_free_bytes(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.statvfs", lambda path: type("Usage", (), {"f_bavail": 1, "f_frsize": 512}))
    assert apply(machine, payload("2")) == 1
    assert "/var/lib/update/staged has no room: 999 bytes are needed, and 512 are free" in capsys.readouterr().err


def test_nothing_is_written_where_there_is_nothing_to_go_back_to(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.rename("demo_1.efi", "foreign.efi")
    assert apply(machine, payload("2")) == 1
    assert "no kernel image demo_1.efi: there would be nothing to go back to" in capsys.readouterr().err
    machine.rename("foreign.efi", "demo_1+1-2.efi")
    assert apply(machine, payload("2")) == 1
    assert "version 1 has not proven itself yet" in capsys.readouterr().err
    assert machine.list_labels() == BEFORE


def test_a_disk_that_does_not_give_back_what_was_written_gets_no_kernel_image(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    real = machine._transfer

    def lose_a_bit(path: Path, version: str) -> None:
        real(path, version)
        if "root" not in path.name:
            return
        data = bytearray(machine.disk.read_bytes())
        data[parse_gpt(bytes(data[:HEAD]))[4].start] ^= 1
        machine.disk.write_bytes(data)

    machine._transfer = lose_a_bit  # type: ignore[method-assign]
    assert apply(machine, payload("2")) == 1
    assert "/dev/vda does not give back what was written to it: root in partition 5" in capsys.readouterr().err
    assert machine.list_images() == ["demo_1.efi"]


def test_a_program_that_fails_is_quoted(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.fail["systemd-sysupdate"] = "No space left on device"
    assert apply(machine, payload("2")) == 1
    assert capsys.readouterr().err.endswith("systemd-sysupdate failed with status 1\n  No space left on device\n")
    assert machine.list_images() == ["demo_1.efi"]


def test_one_update_at_a_time(machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]) -> None:
    with hold_lock(machine.host):
        assert apply(machine, payload("2")) == 1
    assert "another update is running" in capsys.readouterr().err


def test_a_pinned_machine_takes_its_version_and_no_other(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pin", "3"], machine.host) == 0
    assert apply(machine, payload("2")) == 1
    assert "this machine is pinned to version 3; 'os-update unpin' lets it go on" in capsys.readouterr().err
    assert apply(machine, payload("3")) == 0
    assert main(["unpin"], machine.host) == 0
    assert apply(machine, payload("4")) == 0
    capsys.readouterr()
    assert main(["history", "--json"], machine.host) == 0
    events = json.loads(capsys.readouterr().out)
    assert [(each["what"], each["version"]) for each in events] == [
        ("pinned", "3"),
        ("written", "3"),
        ("unpinned", "3"),
        ("written", "4"),
    ]


def pack(directory: Path, *names: str) -> Path:
    with tarfile.open(directory.with_suffix(".tar"), "w") as archive:
        for name in names or sorted(path.name for path in directory.iterdir()):
            archive.add(directory / name, name)
    return directory.with_suffix(".tar")


def test_a_version_may_be_one_file(machine: FakeMachine, payload: Make) -> None:
    assert apply(machine, pack(payload("2"))) == 0
    assert machine.list_images() == ["demo_1.efi", "demo_2+3-0.efi"]
    assert not (machine.root / "var/lib/update/archive").exists()


def test_a_file_that_is_no_version_is_refused(
    machine: FakeMachine, payload: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("text")
    for path, message in {
        tmp_path / "text": "text cannot be unpacked",
        tmp_path / "nothing": "nothing cannot be unpacked",
        pack(payload("2"), "root.zst"): "has no release.json: it is no version of an image",
        pack(payload("3"), "release.json", "root.zst"): "has no verity.zst",
    }.items():
        assert apply(machine, path) == 1
        assert message in capsys.readouterr().err
    assert machine.list_labels() == BEFORE


def test_a_kernel_image_is_searched_in_pieces(
    machine: FakeMachine, payload: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is looked for lies across many of them.
    monkeypatch.setattr("update.agent.payload._CHUNK", 7)
    assert apply(machine, payload("2", uki=b"x" * 40)) == 1
    assert apply(machine, payload("2")) == 0

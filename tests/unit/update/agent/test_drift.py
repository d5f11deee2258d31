"""Files of ``/etc`` that machine and new version have both changed are listed until somebody has seen to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.unit.update.agent.conftest import FakeMachine
from update.agent.command import main
from update.errors import UpdateError

pytestmark = pytest.mark.unit

Make = Callable[..., Path]


class Etc:
    """What the image has, and what the machine has in its place: what everybody sees is made of both."""

    def __init__(self, machine: FakeMachine) -> None:
        self.image = machine.image / "etc"
        self.upper = machine.root / "run/state/etc/upper"
        self.seen = machine.root / "etc"
        self.state = machine.root / "kept"

    def put(self, path: str, text: str | None, *, machine: bool) -> None:
        for directory in (self.upper, self.seen) if machine else (self.image,):
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if text is not None:
                target.write_text(text)


@pytest.fixture
def etc(machine: FakeMachine) -> Etc:
    etc = Etc(machine)
    for name in ("both", "mine", "theirs", "same", "sub/both"):
        etc.put(name, "1\n", machine=False)
    for name in ("both", "mine", "same", "sub/both", "own", "ssh/ssh_host_ed25519_key"):
        etc.put(name, "machine\n", machine=True)
    return etc


def update(machine: FakeMachine, etc: Etc, directory: Path, version: str, change: Callable[[], None]) -> None:
    assert main(["apply", "--from", str(directory)], machine.host) == 0
    change()
    machine.count_boot()
    # /run is new, and the state partition is mounted below it again.
    etc.upper.rename(etc.state)
    machine.boot(version, version * 32, counted=True)
    etc.upper.parent.mkdir(parents=True)
    etc.state.rename(etc.upper)
    assert main(["boot"], machine.host) == 0
    assert main(["bless"], machine.host) == 0


def change_to_2(etc: Etc) -> None:
    for name in ("both", "theirs", "same", "sub/both"):
        etc.put(name, "2\n", machine=False)
    etc.put("same", "2\n", machine=True)
    etc.put("ssh/ssh_host_ed25519_key", "2\n", machine=False)


def listed(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert main(["drift"], machine.host) == 0
    return capsys.readouterr().out.split()


def test_what_both_have_changed_is_listed_until_somebody_has_seen_to_it(
    machine: FakeMachine, etc: Etc, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    update(machine, etc, payload("2"), "2", lambda: change_to_2(etc))
    assert "2 files of /etc changed in the image and on this machine: see 'os-update drift'" in capsys.readouterr().out
    assert listed(machine, capsys) == ["/etc/both", "/etc/sub/both"]
    assert main(["status"], machine.host) == 0
    assert "drift     2 files of /etc changed" in capsys.readouterr().out
    assert main(["drift", "--show", "/etc/both"], machine.host) == 0
    assert capsys.readouterr().out == "--- 2/etc/both\n+++ machine/etc/both\n@@ -1 +1 @@\n-2\n+machine\n"
    assert main(["drift", "--show", "/etc/mine"], machine.host) == 1
    assert "/etc/mine is not one of the files" in capsys.readouterr().err
    assert main(["drift", "--keep", "/etc/both"], machine.host) == 0
    assert listed(machine, capsys) == ["/etc/sub/both"]
    # Somebody has merged the two by hand.
    etc.put("sub/both", "machine and 2\n", machine=True)
    assert listed(machine, capsys) == []


def test_what_nobody_has_seen_to_is_listed_after_the_next_update_as_well(
    machine: FakeMachine, etc: Etc, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    update(machine, etc, payload("2"), "2", lambda: change_to_2(etc))
    assert main(["drift", "--keep", "/etc/sub/both"], machine.host) == 0
    update(machine, etc, payload("3"), "3", lambda: etc.put("mine", "3\n", machine=False))
    assert listed(machine, capsys) == ["/etc/both", "/etc/mine"]
    # Of a version that no longer runs there is nothing to say.
    machine.boot("2", "d" * 32)
    assert listed(machine, capsys) == []


def test_the_image_s_file_is_taken_with_its_mode(
    machine: FakeMachine, etc: Etc, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    update(machine, etc, payload("2"), "2", lambda: change_to_2(etc))
    (etc.image / "both").chmod(0o600)
    assert main(["drift", "--take", "/etc/both"], machine.host) == 0
    assert (etc.seen / "both").read_text() == "2\n"
    assert (etc.seen / "both").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in etc.seen.iterdir()) == ["both", "mine", "own", "same", "ssh", "sub"]
    etc.put("both", "2\n", machine=True)  # an overlay writes it there
    assert listed(machine, capsys) == ["/etc/sub/both"]
    (etc.image / "sub/both").unlink()
    assert main(["drift", "--take", "/etc/sub/both"], machine.host) == 0
    assert not (etc.seen / "sub/both").exists()


def test_a_link_and_a_file_that_was_removed_are_compared_as_well(
    machine: FakeMachine, etc: Etc, payload: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    (etc.image / "link").symlink_to("one")
    (etc.upper / "link").symlink_to("own")
    etc.put("both", None, machine=True)

    def change() -> None:
        (etc.image / "link").unlink()
        (etc.image / "link").symlink_to("two")
        (etc.image / "mine").unlink()

    update(machine, etc, payload("2"), "2", change)
    capsys.readouterr()
    assert main(["drift", "--json"], machine.host) == 0
    assert json.loads(capsys.readouterr().out) == {"version": "2", "source": "1", "paths": ["/etc/link", "/etc/mine"]}


def test_a_file_that_is_closed_to_the_agent_is_compared_by_its_size(
    machine: FakeMachine, etc: Etc, payload: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "both":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    update(machine, etc, payload("2"), "2", lambda: etc.put("both", "longer\n", machine=False))
    assert listed(machine, capsys) == ["/etc/both"]
    update(machine, etc, payload("3"), "3", lambda: etc.put("mine", "3\n", machine=False))
    assert listed(machine, capsys) == ["/etc/both", "/etc/mine"]


@pytest.mark.parametrize("notes", ["{", "[]", "{}", '{"version": "1", "defaults": 3}'])
def test_notes_that_cannot_be_read_keep_no_version_from_being_good(
    machine: FakeMachine, etc: Etc, payload: Make, capsys: pytest.CaptureFixture[str], notes: str
) -> None:
    def change() -> None:
        (machine.root / "var/lib/update/etc.json").write_text(notes)

    update(machine, etc, payload("2"), "2", change)
    assert "what it changes in /etc cannot be compared" in capsys.readouterr().out
    assert machine.list_images() == ["demo_1.efi", "demo_2.efi"]


def test_a_machine_that_cannot_compare_takes_the_version_all_the_same(
    machine: FakeMachine, etc: Etc, payload: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = machine.run

    def refuse(argv: Sequence[str], timeout: float = 0) -> str:
        if "--bind" in argv:
            raise UpdateError("mount failed with status 32")
        return run(argv, timeout)

    monkeypatch.setattr(machine, "run", refuse)
    update(machine, etc, payload("2"), "2", lambda: change_to_2(etc))
    assert "cannot be told afterwards: mount failed with status 32" in capsys.readouterr().out
    assert machine.list_images() == ["demo_1.efi", "demo_2.efi"]

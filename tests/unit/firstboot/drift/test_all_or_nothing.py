"""Applying again either happens or does not, whatever fails, and also if the plug is pulled; beginning again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import pytest

from firstboot.apply.action import Action, Machine
from firstboot.apply.root import Root
from firstboot.drift import undo
from firstboot.engine import perform
from firstboot.places import KEPT_RESULT, MARKER, RESET
from tests.unit.firstboot.drift.conftest import CONFIG, Guest

pytestmark = pytest.mark.unit

BIGGER = CONFIG.replace("two", "2").replace("name: core", "name: cora").replace("uid: 1001", "uid: 1002") + (
    '    - {name: more.service, enabled: true, contents: "[Install]\\nWantedBy=a.target\\n"}\n'
)
ACTIONS = 7


@pytest.fixture
def bigger(tmp_path: Path) -> str:
    """A config that changes, adds and enables things on a machine that :data:`CONFIG` made."""
    path = tmp_path / "bigger.yaml"
    path.write_text(BIGGER.replace("  links:\n", "    - {path: /var/lib/new/deep/file}\n  links:\n"))
    return str(path)


class Pulled(BaseException):
    """The plug."""


def stop_after(number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> list[Action]:
    """Fail once that many actions are done."""
    done: list[Action] = []
    real = perform.carry_out

    def carry_out(actions: list[Action], loaded: object, machine: Machine, log: object) -> None:
        for action in actions:
            if len(done) == number:
                raise error
            real([action], loaded, machine, log)  # type: ignore[arg-type]
            done.append(action)

    monkeypatch.setattr("firstboot.drift.reapply.carry_out", carry_out)
    return done


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_keys_are_not_written_where_the_users_own_link_leads(made: Guest, tmp_path: Path) -> None:
    ssh = made.at("/home/core/.ssh")
    for name in ("ignition", "x"):
        with contextlib.suppress(FileNotFoundError):
            (ssh / "authorized_keys.d" / name).unlink()
    (ssh / "authorized_keys.d").rmdir()
    (ssh / "authorized_keys.d").symlink_to("/etc/app")
    os.chown(ssh / "authorized_keys.d", 1001, 1001, follow_symlinks=False)
    before = made.everything()
    for how in ("--check", "--apply"):
        status, _, err = made.call("apply", how)
        assert status == 2
        assert "nothing is written to '/home/core/.ssh/authorized_keys.d/ignition'" in err
        assert "'/home/core/.ssh/authorized_keys.d' is a link that user 1001 can change" in err
    assert made.everything() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_made_meanwhile_keeps_nothing_else_from_being_put_back(
    made: Guest, bigger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.everything()
    stop_after(ACTIONS - 1, OSError("no"), monkeypatch)
    real = undo.undo

    def turned(root: Root) -> list[str]:
        made.at("/var/lib/home").mkdir()
        os.chown(made.at("/var/lib/home"), 1001, 1001)
        made.at("/var/lib/home/new").symlink_to("/etc")
        index = json.loads(made.at(undo.INDEX).read_text())
        index.append({"path": "/var/lib/home/new/app/settings", "kind": "absent"})
        made.at(undo.INDEX).write_text(json.dumps(index))
        return real(root)

    monkeypatch.setattr(undo, "undo", turned)
    status, _, err = made.call("apply", "--apply", bigger)
    assert status == 1
    assert "not put back, because a user's link is on the way now: /var/lib/home/new/app/settings" in err
    shutil.rmtree(made.at("/var/lib/home"))
    assert made.everything() == before


def test_there_are_as_many_actions_as_the_next_test_stops_at(made: Guest, bigger: str) -> None:
    assert len(made.call("apply", "--check", bigger)[1].splitlines()) == ACTIONS


@pytest.mark.parametrize("number", range(ACTIONS))
def test_whatever_fails_everything_is_as_it_was(
    made: Guest, bigger: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = made.everything()
    done = stop_after(number, OSError(28, "No space left on device", "/x"), monkeypatch)
    status, out, err = made.call("apply", "--apply", bigger)
    assert (status, out, len(done)) == (1, "", number)
    assert "No space left on device" in err
    assert made.everything() == before


def test_a_run_that_was_cut_short_is_undone_by_the_next(
    made: Guest, bigger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.everything()
    with monkeypatch.context() as patch:
        stop_after(ACTIONS - 1, Pulled(), patch)
        patch.setattr(undo, "undo", lambda _root: None)  # nobody is there to do it
        with pytest.raises(Pulled):
            made.call("apply", "--apply", bigger)
    assert made.everything() != before
    assert json.loads(made.call("status", "--json")[1])["interrupted"]
    assert made.call("apply", "--check")[0] == 1
    status, out, err = made.call("apply", "--apply")
    assert (status, out) == (0, "nothing\n")
    assert "cut short" in err
    after = made.everything()
    assert after.pop("/var/lib/firstboot/applied.json")
    del before["/var/lib/firstboot/applied.json"]  # it says when
    assert after == before


def test_no_room_to_keep_what_is_there_changes_nothing(
    made: Guest, bigger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.everything()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/var/lib/firstboot/undo/index.json")

    with monkeypatch.context() as patch:
        patch.setattr("firstboot.apply.root.Root.write_durably", full)
        assert made.call("apply", "--apply", bigger)[0] == 1
    after = {path: entry for path, entry in made.everything().items() if "/undo" not in path}
    assert after == before
    assert made.call("apply", "--apply", bigger)[0] == 0


# --- beginning again ---


def test_a_reset_is_asked_for_and_taken_back(made: Guest) -> None:
    marker = made.at(MARKER).read_text()
    assert made.call("factory-reset", "--yes")[0] == 0
    assert not made.at(MARKER).exists()
    assert json.loads(made.call("status", "--json")[1])["factoryReset"]
    assert "--cancel" in made.call("status")[1]
    assert made.call("factory-reset", "--yes")[0] == 0
    assert made.call("factory-reset", "--cancel")[0] == 0
    assert made.at(MARKER).read_text() == marker
    assert not made.at(RESET).exists()
    status, _, err = made.call("factory-reset", "--cancel")
    assert (status, "no factory reset was asked for" in err) == (1, True)


@pytest.mark.parametrize(("answer", "status"), [("demo\n", 0), ("yes\n", 1), ("", 1)])
def test_a_reset_asks_for_the_name_of_the_image(
    made: Guest, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert made.call("factory-reset")[0] == status
    assert made.at(MARKER).exists() == bool(status)


def test_a_machine_that_was_never_made_cannot_be_reset(guest: Guest) -> None:
    status, _, err = guest.call("factory-reset", "--yes")
    assert (status, "nothing to reset" in err) == (1, True)


def test_it_is_told_if_the_platform_no_longer_has_the_config(made: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    result = made.at(KEPT_RESULT)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "no longer has" not in made.call("factory-reset")[1]
    result.write_text(json.dumps({**json.loads(result.read_text()), "platform": "vmware"}))
    assert "no longer has this machine's config" in made.call("factory-reset")[1]

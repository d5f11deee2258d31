"""What a first boot writes down about what it made: enough to see changes, nothing more, for root alone."""

from __future__ import annotations

import json
import os
import stat

import pytest

from firstboot.apply.root import Root
from firstboot.engine import record
from firstboot.engine.record import read_record
from tests.unit.firstboot.drift.conftest import CONFIG, Guest

pytestmark = pytest.mark.unit

APPLIED = "var/lib/firstboot/applied.json"


def test_it_is_for_root_alone_and_holds_what_was_made(made: Guest) -> None:
    path = made.root / APPLIED
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)] == [0o700, 0o600]
    data = json.loads(path.read_text())
    assert data["image"] == {"id": "demo", "version": "1.2.3"}
    assert {"/etc/hostname", "/etc/app/key", "/var/lib/app", "/etc/systemd/system/app.service"} <= data[
        "entries"
    ].keys()


def test_nothing_is_remembered_of_a_machine_without_a_config(guest: Guest) -> None:
    assert guest.first_boot("") == 0
    assert not (guest.root / APPLIED).exists()
    status, _, err = guest.call("status")
    assert (status, "nothing was applied" in err) == (1, True)


def test_disks_and_keys_to_them_are_left_out(made: Guest) -> None:
    text = json.dumps(
        {
            "ignition": {"version": "3.6.0", "config": {"merge": [{"source": "data:,%7B%7D"}]}},
            "storage": {
                "luks": [{"name": "a", "device": "/dev/vdb", "keyFile": {"source": "data:,topsecret"}}],
                "disks": [{"device": "/dev/vdb"}],
            },
        }
    )
    from firstboot.config.document import read

    config = read(text, "x").config
    assert config is not None
    data = record._again(config)
    assert "topsecret" not in json.dumps(data)
    assert data["storage"] == {}
    assert "config" not in data["ignition"]


def test_a_large_file_is_told_apart_without_hashing_it(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "HASHED_BYTES", 4)
    guest.first_boot(CONFIG)
    assert guest.changed() == {}
    path = guest.at("/etc/app/settings")
    os.utime(path, (1, 1))
    assert guest.changed() == {"/etc/app/settings": ["contents"]}


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99}', '{"schema": 1}', '{"schema": 1, "entries": {"/a": [1]}}'])
def test_a_damaged_record_is_told_and_nothing_is_done(made: Guest, text: str) -> None:
    (made.root / APPLIED).write_text(text)
    before = made.everything()
    for command in (("status",), ("diff",), ("apply", "--check"), ("apply", "--apply")):
        status, out, err = made.call(*command)
        assert (status, out) == (1, "")
        assert "applied.json" in err
    assert made.everything() == before


def test_what_is_written_can_be_read_again(made: Guest) -> None:
    with Root(made.root) as root:
        found = read_record(root)
    assert found is not None
    assert found.entries["/etc/app/link"].target == "settings"
    assert found.texts == {"/etc/hosts": "127.0.0.1 localhost\n192.0.2.1 db\n"}
